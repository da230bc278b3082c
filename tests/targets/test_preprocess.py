"""What counts as an image, and that every kind of file ends as the same upright 8-bit RGB pixels."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, features

from edgedistill.targets import preprocess
from edgedistill.targets.preprocess import BadImage, check_header, decode, iso_image, read_file, to_pixels

ORIENTATION = 0x0112


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
    exif[ORIENTATION] = orientation
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
    for width, height in [(10_001, 10_000), (60_000, 60_000)]:  # below and above Pillow's own limit
        assert reason_of(png_header(width, height)) == "over 100 megapixels"


def png_header(width: int, height: int) -> bytes:
    """A PNG that states its size and holds no pixel."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header
    return data + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + struct.pack(">I", 0) + b"IDAT" + bytes(4)


@pytest.fixture
def own_limit() -> Iterator[None]:
    """PIL.Image.MAX_IMAGE_PIXELS as it was, whatever the test does to it."""
    before = Image.MAX_IMAGE_PIXELS
    yield
    Image.MAX_IMAGE_PIXELS = before


def test_a_limit_that_the_program_lowered_is_kept_and_named(own_limit: None) -> None:
    photo = saved(Image.new("RGB", (1900, 1400)), "PNG")  # 2.66 megapixels
    Image.MAX_IMAGE_PIXELS = 1_000_000
    assert reason_of(photo) == "larger than this program allows (PIL.Image.MAX_IMAGE_PIXELS)"
    assert Image.MAX_IMAGE_PIXELS == 1_000_000
    Image.MAX_IMAGE_PIXELS = 3_000_000
    assert decode(photo).size == (1900, 1400)
    Image.MAX_IMAGE_PIXELS = None  # no limit of the program's: ours stays
    assert reason_of(png_header(60_000, 60_000)) == "over 100 megapixels"


def test_a_program_that_turned_pillows_warning_into_an_error_is_obeyed(own_limit: None) -> None:
    photo = saved(Image.new("RGB", (1900, 1400)), "PNG")
    Image.MAX_IMAGE_PIXELS = 2_000_000
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        assert reason_of(photo) == "larger than this program allows (PIL.Image.MAX_IMAGE_PIXELS)"
        Image.MAX_IMAGE_PIXELS = 3_000_000
        assert decode(photo).size == (1900, 1400)


def test_where_every_warning_is_an_error_a_file_is_read_or_refused(own_limit: None) -> None:
    odd = saved(gradient(), "JPEG", quality=95, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09garbage")
    with warnings.catch_warnings(), contextlib.suppress(BadImage):
        warnings.simplefilter("error")
        assert decode(odd).size == gradient().size


def test_the_calling_programs_filters_and_limit_are_left_alone() -> None:
    program = (
        "import sys, warnings\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from io import BytesIO\n"
        "from PIL import Image\n"
        "from edgedistill.targets.preprocess import decode, check_header\n"
        "file = BytesIO(); Image.new('RGB', (300, 200)).save(file, 'PNG'); data = file.getvalue()\n"
        "before = list(warnings.filters), Image.MAX_IMAGE_PIXELS\n"
        "changes = set()\n"
        "def work(_):\n"
        "    decode(data); check_header(data)\n"
        "    changes.add((list(warnings.filters), Image.MAX_IMAGE_PIXELS) == before)\n"
        "with ThreadPoolExecutor(4) as threads: list(threads.map(work, range(200)))\n"
        "print(changes, (list(warnings.filters), Image.MAX_IMAGE_PIXELS) == before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "{True} True\n"


def test_threads_decode_as_one_thread_does() -> None:
    files = [saved(gradient(40 + k, 30), kind) for k in range(6) for kind in ("PNG", "JPEG", "GIF", "WEBP")]
    alone = [np.asarray(decode(data)) for data in files]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda data: np.asarray(decode(data)), files * 4))
    assert all(np.array_equal(one, other) for one, other in zip(alone * 4, together))


def test_the_header_alone_gives_the_reasons_that_decoding_gives() -> None:
    thin, huge, text = saved(Image.new("RGB", (15, 400)), "PNG"), png_header(60_000, 60_000), b"hello" * 20
    for data in (thin, huge, text, b"", saved(gradient(), "TGA")):
        with pytest.raises(BadImage) as caught:
            check_header(data)
        assert caught.value.reason == reason_of(data)
    check_header(saved(gradient(), "JPEG"))


def heic(image: Image.Image, **options: object) -> bytes:
    """A HEIC file as near to lossless as its codec is."""
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=-1, chroma=444, **options)
    return buffer.getvalue()


def differ(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of any sample."""
    assert one.size == other.size
    return int(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max())


def test_heic_is_read_by_its_content_whatever_the_extension(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(heic(gradient(96, 64)))
    data = read_file(tmp_path / "photo.jpg")
    assert iso_image(data) == "HEIC"
    check_header(data)
    assert differ(decode(data), gradient(96, 64)) <= 2
    assert "HEIF" not in Image.OPEN  # Pillow was not taught a format behind the program's back


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_that_bears_its_turn_twice_is_turned_once(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation  # the encoder writes it as the file's own turn (irot, imir) as well
    expected = decode(saved(gradient(96, 64), "PNG", exif=exif))
    assert differ(decode(heic(gradient(96, 64), exif=exif.tobytes())), expected) <= 2


def test_heic_alpha_and_grey_and_ten_bits_end_as_rgb() -> None:
    half = Image.new("RGBA", (64, 64), (255, 0, 0, 128))
    assert np.abs(np.asarray(decode(heic(half)))[0, 0].astype(int) - (255, 127, 127)).max() <= 2
    assert differ(decode(heic(gradient(64, 64).convert("L"))), gradient(64, 64).convert("L").convert("RGB")) <= 2
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    high_bytes = Image.fromarray((ramp >> 8).astype(np.uint8)).convert("RGB")
    assert differ(decode(heic(Image.fromarray(ramp))), high_bytes) <= 4


def test_bad_heic_has_the_same_reasons_as_other_files(own_limit: None) -> None:
    whole = heic(Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)))
    assert reason_of(whole[: len(whole) // 2]) == "truncated"
    assert reason_of(whole[:40]) in ("truncated", "unreadable")
    Image.MAX_IMAGE_PIXELS = 1000
    assert reason_of(whole) == "larger than this program allows (PIL.Image.MAX_IMAGE_PIXELS)"


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_heic_is_decoded_or_refused_but_never_escapes(data: st.DataObject) -> None:
    damaged = bytearray(heic(gradient(64, 64)))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(12, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadImage):
        assert decode(bytes(damaged)).mode == "RGB"


def ftyp(*brands: bytes) -> bytes:
    """The first box of a file of these brands, and nothing after it."""
    return struct.pack(">I", 12 + 4 * len(brands)) + b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:]) + bytes(200)


@pytest.mark.parametrize(
    ("brands", "kind"),
    [
        ((b"heic", b"mif1", b"heic"), "HEIC"),
        ((b"mif1", b"heic", b"miaf"), "HEIC"),
        ((b"msf1", b"hevc"), "HEIC"),
        ((b"avif", b"mif1", b"miaf"), "AVIF"),
        ((b"mif1", b"miaf", b"avif"), "AVIF"),
        ((b"isom", b"mp42"), None),
        ((b"qt  ",), None),
    ],
)
def test_brands_tell_heic_from_avif_and_from_films(brands: tuple[bytes, ...], kind: str | None) -> None:
    assert iso_image(ftyp(*brands)) == kind
    if kind is None:
        assert reason_of(ftyp(*brands)) == "not an image"


def test_without_pillow_heif_the_reason_names_the_extra() -> None:
    program = (
        "import sys\n"
        "sys.modules['pillow_heif'] = None  # as if it were not installed\n"
        "from edgedistill.targets.preprocess import BadImage, check_header, decode\n"
        f"data = {ftyp(b'heic', b'mif1', b'heic')!r}\n"
        "for look in (decode, check_header):\n"
        "    try: look(data)\n"
        "    except BadImage as error: print(error.reason)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["HEIC needs pillow-heif"] * 2


def test_where_pillow_lacks_avif_the_reason_says_so() -> None:
    program = (
        "import PIL.Image\n"
        "PIL.Image.init()\n"
        "PIL.Image.OPEN.pop('AVIF', None)  # as in a Pillow before 11.3\n"
        "from edgedistill.targets.preprocess import BadImage, check_header, decode\n"
        f"data = {ftyp(b'avif', b'mif1')!r}\n"
        "for look in (decode, check_header):\n"
        "    try: look(data)\n"
        "    except BadImage as error: print(error.reason)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["AVIF needs a newer Pillow"] * 2


@pytest.mark.skipif("AVIF" not in Image.registered_extensions().values(), reason="this Pillow does not know AVIF")
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_avif_is_read_upright(orientation: int) -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    expected = decode(saved(gradient(96, 64), "PNG", exif=exif))
    got = decode(saved(gradient(96, 64), "AVIF", quality=100, subsampling="4:4:4", exif=exif))
    assert differ(got, expected) <= 4


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


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_samples_of_a_camera_fill_the_range_that_they_use(bits: int) -> None:
    samples = np.tile(np.linspace(0, (1 << bits) - 1, 64).astype(np.uint16), (20, 1))
    expected = samples >> (bits - 8)
    assert np.array_equal(np.asarray(decode(png16(samples)))[..., 0], expected)
    assert np.array_equal(np.asarray(decode(saved(Image.fromarray(samples), "TIFF")))[..., 0], expected)


def test_a_tiff_says_how_large_a_sample_may_be() -> None:
    night = np.full((20, 20), 900, np.uint16)
    stated = saved(Image.fromarray(night), "TIFF", tiffinfo={281: 4095})
    assert np.asarray(decode(stated)).max() == 900 >> 4
    assert np.asarray(decode(saved(Image.fromarray(night), "TIFF"))).max() == 900 >> 2


def test_16_bit_colour_that_would_be_nearly_black_is_refused() -> None:
    colour = np.full((20, 20, 3), 4095, np.uint16)
    assert reason_of(png16(colour)) == "unsupported pixel format"
    assert np.asarray(decode(png16(colour + 1))).max() == 16
    assert np.asarray(decode(png16(colour * 0))).max() == 0, "a black picture is one"
