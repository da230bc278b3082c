"""What counts as an image, and that every kind of file ends as the same upright 8-bit RGB pixels."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from edgedistill.targets import preprocess
from edgedistill.targets.preprocess import BadImage, decode, read_file, to_pixels


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 40, height: int = 24) -> Image.Image:
    """Red grows to the right, green grows downwards: every turn and flip is visible."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width).astype(np.uint8)
    pixels[..., 1] = np.linspace(0, 255, height).astype(np.uint8)[:, None]
    return Image.fromarray(pixels)


def png16(samples: np.ndarray) -> bytes:
    """A 16-bit PNG written by hand (grey for [H,W], RGB for [H,W,3]): Pillow cannot write the second."""
    height, width = samples.shape[:2]

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if samples.ndim == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def reason_of(data: bytes) -> str:
    with pytest.raises(BadImage) as caught:
        decode(data)
    return caught.value.reason


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_colour_survives_unchanged(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(decode(saved(gradient(), kind, **options)), gradient())


def test_cmyk_becomes_the_colour_it_shows() -> None:
    red = Image.new("RGB", (32, 32), (200, 30, 40)).convert("CMYK")
    pixels = np.asarray(decode(saved(red, "JPEG", quality=95)))
    assert pixels.shape == (32, 32, 3)
    assert np.abs(pixels.astype(int) - (200, 30, 40)).max() < 12


def test_grey_is_repeated_over_the_channels() -> None:
    pixels = np.asarray(decode(saved(gradient().convert("L"), "PNG")))
    assert (pixels[..., 0] == pixels[..., 1]).all()
    assert (pixels[..., 1] == pixels[..., 2]).all()


def test_16_bit_grey_is_scaled_and_not_clipped_to_white() -> None:
    samples = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (20, 1))
    pixels = np.asarray(decode(png16(samples)))
    assert np.array_equal(pixels[..., 0], samples >> 8)


def test_16_bit_grey_and_16_bit_colour_of_one_picture_are_equal() -> None:
    samples = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (20, 1))
    colour = np.repeat(samples[..., None], 3, axis=2)
    assert np.array_equal(decode(png16(samples)), decode(png16(colour)))


def test_samples_without_a_known_range_are_refused() -> None:
    assert reason_of(saved(Image.new("F", (20, 20), 3.5), "TIFF")) == "unsupported pixel format"
    assert reason_of(saved(Image.new("I", (20, 20), 1 << 20), "TIFF")) == "unsupported pixel format"


def test_alpha_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    half = Image.new("RGBA", (20, 20), (255, 0, 0, 128))
    assert (np.asarray(decode(saved(clear, "PNG"))) == 255).all()
    assert np.asarray(decode(saved(half, "PNG")))[0, 0].tolist() == [255, 127, 127]


def test_a_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([9, 9, 9, 200, 0, 0])
    image.paste(0, (0, 0, 10, 20))
    pixels = np.asarray(decode(saved(image, "PNG", transparency=0)))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[0, 19].tolist() == [200, 0, 0]


def test_a_grey_colour_key_is_white() -> None:
    image = gradient().convert("L")
    image.paste(77, (0, 0, 10, 24))
    assert np.asarray(decode(saved(image, "PNG", transparency=77)))[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_turn_is_applied(orientation: int) -> None:
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = gradient() if undo is None else gradient().transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(decode(saved(stored, "PNG", exif=exif)), gradient())


def test_damaged_exif_does_not_lose_the_image() -> None:
    data = saved(gradient(), "JPEG", quality=95, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert decode(data).size == gradient().size


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_used(kind: str) -> None:
    red, blue = Image.new("RGB", (20, 20), (255, 0, 0)), Image.new("RGB", (20, 20), (0, 0, 255))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(red, kind, save_all=True, append_images=[blue], duration=50, **options)
    assert Image.open(BytesIO(data)).n_frames == 2
    assert (np.asarray(decode(data)) == (255, 0, 0)).all()


def test_the_content_counts_and_not_the_extension(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(saved(gradient(), "PNG"))
    assert np.array_equal(decode(read_file(path)), gradient())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_half_a_file_is_truncated_and_never_half_an_image(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    data = saved(noise, kind)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert reason_of(data[: len(data) // 2]) in ("truncated", "unreadable", "not an image")
    if kind in ("JPEG", "PNG", "BMP"):
        assert reason_of(data[: len(data) // 2]) == "truncated"


def test_small_and_huge_sizes_are_told_from_the_header() -> None:
    assert reason_of(saved(Image.new("RGB", (15, 400)), "PNG")) == "side under 16 px"
    assert decode(saved(Image.new("RGB", (16, 16)), "PNG")).size == (16, 16)
    for width, height in [(10_001, 10_000), (60_000, 60_000)]:  # below and above Pillow's own limit; no pixel follows
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header
        data += struct.pack(">I", zlib.crc32(b"IHDR" + header)) + struct.pack(">I", 0) + b"IDAT" + bytes(4)
        assert reason_of(data) == "over 100 megapixels"


def test_what_is_no_image_says_so() -> None:
    assert reason_of(b"") == "not an image"
    assert reason_of(b"hello, this is text\n" * 50) == "not an image"
    assert reason_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n") == "not an image"


def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    caught: list[str] = []

    def read() -> None:
        try:
            read_file(tmp_path / "pipe.jpg")
        except BadImage as error:
            caught.append(error.reason)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(10)
    assert caught == ["not a regular file"]


def test_unreadable_paths_have_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    expected = {
        tmp_path / "a": "unreadable",
        tmp_path / "missing.jpg": "unreadable",
        "nul\0byte": "unreadable",
        tmp_path: "not a regular file",
        "/dev/zero": "not a regular file",
    }
    for path, reason in expected.items():
        with pytest.raises(BadImage) as caught:
            read_file(path)
        assert caught.value.reason == reason


def test_a_link_to_an_image_is_read(tmp_path: Path) -> None:
    (tmp_path / "real.png").write_bytes(saved(gradient(), "PNG"))
    (tmp_path / "link.png").symlink_to("real.png")
    assert read_file(tmp_path / "link.png") == (tmp_path / "real.png").read_bytes()


def test_pixels_are_the_resized_centre_square() -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    pixels = to_pixels(Image.fromarray(wide), 20)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert (pixels == 255).all()


def test_an_image_of_the_right_size_is_not_touched() -> None:
    image = gradient(32, 32)
    assert np.array_equal(to_pixels(image, 32), image)


@pytest.fixture(scope="module")
def good_files() -> list[bytes]:
    image = gradient()
    return [saved(image, kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_are_decoded_or_refused_but_never_escape(good_files: list[bytes], data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(good_files)))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    try:
        image = decode(bytes(damaged))
    except BadImage:
        return
    assert image.mode == "RGB"
    assert min(image.size) >= preprocess.MIN_SIDE


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadImage):
        decode(data)
