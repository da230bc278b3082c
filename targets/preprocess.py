"""From a file to the pixels a model sees: the one resize rule, and what counts as an image.

The rule: apply the EXIF turn, take the centre square, `resize((S, S), BILINEAR, box=square)` with Pillow. It is used
where the pool is read, where the golden set is made, in `Classifier` and in `run.py predict`, so it stands here once.

Pillow is imported on first use only: a board that reads ready-made check pixels needs none. JetPack 6 ships 9.0.1,
which names filters and turns otherwise than later ones and gives the same pixels. HEIC is read where pillow-heif is
installed.

Nothing here changes the program that calls it: its warning filters and PIL.Image.MAX_IMAGE_PIXELS stay as they are and
are heeded. Several threads may decode at once.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
import zlib
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

RESIZE_RULE = "EXIF turn, centre square, Pillow resize(BILINEAR, box=square)"
MIN_SIDE = 16
MAX_PIXELS = 100_000_000
MAX_FILE_BYTES = 1 << 30  # 100 megapixels of uncompressed 16-bit RGB are 0.6 GB

# Photographs and drawings by content, whatever the extension says. Left out on purpose: formats that start another
# program (EPS runs Ghostscript) and ones whose samples are not colours.
_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")

# What Pillow's decoders raise on damaged files; it has no common base class. Of AttributeError only theirs: a Pillow
# that lacks what is used here is found out before any file is opened (`_pillow`).
_PILLOW_RAISES = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    ArithmeticError,
    AssertionError,
    BufferError,
    RuntimeError,
    struct.error,
    zlib.error,
    Warning,  # where the calling program turned warnings into errors
)

_EXIF_ORIENTATION = 0x0112
_MAX_SAMPLE_VALUE = 281  # a tag of TIFF 6.0: how large a sample may be
_LEAST_OF_16_BIT = 16  # of 256; below it 12 bits or fewer were used, and eight of them are gone

TOO_LARGE = "over 100 megapixels"
NOT_ALLOWED = "larger than this program allows (PIL.Image.MAX_IMAGE_PIXELS)"

# ISO 14496-12 files name their kind in a first box "ftyp": one major brand, then the compatible ones. "mif1" and
# "msf1" stand for still images of either codec, so the codec's own brands are asked first.
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_STILL_BRANDS = {b"mif1", b"msf1"}


class BadImage(Exception):
    """An image that is not used. `reason` is short and the same for every such file, `detail` is about this one.

    Reasons: "not a regular file", "unreadable", "not an image", "truncated", "side under 16 px",
    "over 100 megapixels", "larger than this program allows (PIL.Image.MAX_IMAGE_PIXELS)",
    "unsupported pixel format", "HEIC needs pillow-heif", "AVIF needs a newer Pillow".
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason = reason
        self.detail = detail


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file (links are followed). Never blocks: a FIFO, device or folder is BadImage."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # before open: opening a device can already act on it
            raise BadImage("not a regular file", Path(path).name)
        with open(os.open(path, flags), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise BadImage("not a regular file", Path(path).name)
            if facts.st_size > MAX_FILE_BYTES:
                raise BadImage("unreadable", f"{facts.st_size:,} bytes, the limit is {MAX_FILE_BYTES:,}")
            return file.read()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise BadImage("unreadable", getattr(error, "strerror", None) or str(error)) from error


def decode(data: bytes) -> Image:
    """File bytes -> PIL RGB image, upright, 8 bit.

    First frame of an animation, EXIF turn applied, grey, palette and CMYK converted, alpha laid over white, 16-bit
    samples scaled to 8: colour by its high byte, as Pillow does it; grey by the range that its samples use. The size is
    checked from the header, before anything is decoded. Raises BadImage.
    """
    if iso_image(data) == "HEIC":
        return from_pil(_heic_pixels(data))
    with _open(data) as image:
        return from_pil(image)


def check_header(data: bytes) -> None:
    """Raise BadImage for what the header of a file already gives away, by the rules and in the words of `decode`.

    No pixel is decoded, so a file that passes may still turn out to be truncated.
    """
    if iso_image(data) == "HEIC":
        _open_heic(data)
    else:
        with _open(data) as image:
            _check_size(*image.size)


def iso_image(data: bytes) -> str | None:
    """Which of "HEIC" and "AVIF" a file is, or None for any other file, by the brands in its first bytes."""
    if data[4:8] != b"ftyp":
        return None
    box = data[8 : min(int.from_bytes(data[:4], "big"), 1024)]
    brands = {box[:4]} | {box[start : start + 4] for start in range(8, len(box), 4)}  # after the major one: a version
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if brands & (_HEIC_BRANDS | _STILL_BRANDS) else None


def _open(data: bytes) -> Image:
    """The image that Pillow sees in these bytes, not yet decoded."""
    if not data:
        raise BadImage("not an image", "empty file")
    pillow, formats, _, _ = _pillow()
    if "AVIF" not in formats and iso_image(data) == "AVIF":
        raise BadImage("AVIF needs a newer Pillow", f"this one is {sys.modules['PIL'].__version__}")
    try:
        return pillow.open(BytesIO(data), formats=formats)
    except (pillow.DecompressionBombError, *_PILLOW_RAISES) as error:
        raise _bad(error) from error


def _open_heic(data: bytes) -> Any:
    """The primary image of a HEIC file as pillow-heif's HeifFile, not yet decoded. Pillow itself is not told of it."""
    heif, why_not = _pillow_heif()
    if heif is None:
        raise BadImage("HEIC needs pillow-heif", why_not)
    try:
        file = heif.open_heif(data)  # 10 and 12 bit come as 8
        size = file.size
    except _PILLOW_RAISES as error:
        raise _bad(error) from error
    _check_size(*size)
    limit = _pillow().image.MAX_IMAGE_PIXELS
    if limit is not None and size[0] * size[1] > 2 * limit:  # where Pillow's own check refuses, too
        raise BadImage(NOT_ALLOWED, f"{size[0]} x {size[1]}")
    return file


def _heic_pixels(data: bytes) -> Image:
    """Upright: libheif applies the file's own turn, which its EXIF only repeats, and the result carries no EXIF."""
    file = _open_heic(data)
    try:
        return file.to_pillow()
    except _PILLOW_RAISES as error:
        raise _bad(error) from error


def from_pil(image: Image) -> Image:
    """A PIL image of any mode, loaded or not -> upright RGB, 8 bit, as `decode` describes. Raises BadImage."""
    _check_size(*image.size)
    wide = any(";16" in str(tile) for tile in getattr(image, "tile", ()))  # known until it is loaded
    try:
        image.load()
        if wide and not image.mode.startswith(("I", "F")):
            _refuse_low_bits(image)
        return _to_rgb(image)
    except (_pillow().image.DecompressionBombError, *_PILLOW_RAISES) as error:
        raise _bad(error) from error


def _refuse_low_bits(image: Image) -> None:
    """Of 16-bit colour Pillow keeps the high byte: samples of 12 bits would be a nearly black picture of 16 levels."""
    extrema: Any = image.getextrema()
    colours = extrema[: len(image.getbands()) - ("A" in image.getbands())] if len(image.getbands()) > 1 else (extrema,)
    if 0 < max(high for _, high in colours) < _LEAST_OF_16_BIT:
        raise BadImage("unsupported pixel format", "16-bit colour whose samples use the low bits alone")


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadImage(TOO_LARGE, f"{width} x {height}")
    if min(width, height) < MIN_SIDE:
        raise BadImage("side under 16 px", f"{width} x {height}")


def from_array(array: np.ndarray) -> Image:
    """uint8 [H,W,3] RGB, [H,W] grey or [H,W,4] with alpha -> RGB image. Raises BadImage."""
    pillow = _pillow().image
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        found = f"{array.dtype} {list(array.shape)}, not uint8 [H,W,3], [H,W] or [H,W,4]"
        raise BadImage("unsupported pixel format", found)
    _check_size(array.shape[1], array.shape[0])  # before it is copied: a view may be far larger than its memory
    return from_pil(pillow.fromarray(np.ascontiguousarray(array)))


def _to_rgb(image: Image) -> Image:
    pillow = _pillow().image
    turn = _pillow().turns.get(_orientation(image))
    if image.mode.startswith(("I", "F")):
        image = _from_wide_samples(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", image.size, (255, 255, 255, 255)), image)
    if image.mode != "RGB":
        try:
            image = image.convert("RGB")
        except ValueError as error:
            raise BadImage("unsupported pixel format", image.mode) from error
    return image.transpose(turn) if turn is not None else image


def to_pixels(image: Image, size: int) -> np.ndarray:
    """RGB image -> uint8 [size, size, 3]: the centre square, resized (see RESIZE_RULE)."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = (left, top, left + side, top + side)
    return np.array(image.resize((size, size), _pillow().bilinear, box=square))


def _from_wide_samples(image: Image) -> Image:
    """16-bit grey (mode I;16*, or I where an older Pillow reads a PNG) -> L; a colour-keyed sample becomes white.

    Cameras of 10, 12 or 14 bits write their samples into the low bits: the range is what a TIFF states
    (MaxSampleValue), else of 10, 12, 14 and 16 bits the first that holds them all. 32-bit and float samples (some
    TIFFs) have no range we could know, so nothing is guessed.
    """
    pillow = _pillow().image
    samples = np.asarray(image)
    if image.mode == "F" or samples.min() < 0 or samples.max() > 0xFFFF:
        raise BadImage("unsupported pixel format", f"mode {image.mode}, samples without a known range")
    grey = (samples.astype(np.uint16) >> (_bits_of(image, int(samples.max())) - 8)).astype(np.uint8)
    if "transparency" in image.info:
        grey[samples == image.info["transparency"]] = 255
    return pillow.fromarray(grey)


def _bits_of(image: Image, largest: int) -> int:
    """How many bits the samples of a 16-bit grey image use, 10 to 16."""
    stated = getattr(image, "tag_v2", {}).get(_MAX_SAMPLE_VALUE, ())  # one for each of the samples of a pixel
    if isinstance(stated, tuple) and len(stated) == 1 and largest <= stated[0] <= 0xFFFF:
        largest = int(stated[0])
    return next(bits for bits in (10, 12, 14, 16) if largest < 1 << bits)


def _orientation(image: Image) -> int:
    """EXIF orientation 1..8; damaged EXIF counts as upright, since the pixels are still good."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except _PILLOW_RAISES:
        return 1


class _Pillow(NamedTuple):
    """The PIL.Image module, those of our formats that it can read, the filter, and the turn of an EXIF orientation."""

    image: Any
    formats: list[str]
    bilinear: Any
    turns: dict[int, Any]


@lru_cache(maxsize=1)
def _pillow() -> _Pillow:
    """Raises ImportError where there is no Pillow, or one that lacks what is used here: that one counts as none."""
    from PIL import Image

    Image.init()
    # Until 9.1 the constants stood in the module itself.
    turn, filters = getattr(Image, "Transpose", Image), getattr(Image, "Resampling", Image)
    try:
        turns = {
            2: turn.FLIP_LEFT_RIGHT,
            3: turn.ROTATE_180,
            4: turn.FLIP_TOP_BOTTOM,
            5: turn.TRANSPOSE,
            6: turn.ROTATE_270,
            7: turn.TRANSVERSE,
            8: turn.ROTATE_90,
        }
        probe = Image.new("RGBA", (16, 16)).convert("RGB").transpose(turns[7])
        probe.resize((2, 2), filters.BILINEAR, box=(1, 1, 15, 15)).getexif()
    except (AttributeError, TypeError) as error:
        raise ImportError(f"this Pillow cannot be used: {error}") from error
    formats = [name for name in _FORMATS if name in Image.OPEN]
    if not getattr(sys.modules.get("PIL.AvifImagePlugin"), "SUPPORTED", True):  # there, but built without its library
        formats.remove("AVIF")
    return _Pillow(Image, formats, filters.BILINEAR, turns)


@lru_cache(maxsize=1)
def _pillow_heif() -> tuple[Any, str]:
    """(the pillow_heif module, "") or (None, why it cannot be had). It is used beside Pillow, not registered in it."""
    try:
        import pillow_heif
    except ImportError as error:
        return None, str(error)
    return pillow_heif, ""


def _bad(error: Exception) -> BadImage:
    """What a decoder raised, as one of our reasons."""
    pillow = _pillow().image
    if isinstance(error, (pillow.DecompressionBombError, pillow.DecompressionBombWarning)):
        # Pillow refuses above twice its limit, and warns above it: of a lowered limit the file may be within ours.
        refused_above = (pillow.MAX_IMAGE_PIXELS or 0) * (2 if isinstance(error, pillow.DecompressionBombError) else 1)
        return BadImage(TOO_LARGE if refused_above >= MAX_PIXELS else NOT_ALLOWED)
    if isinstance(error, pillow.UnidentifiedImageError):
        return BadImage("not an image")
    words = " ".join(str(error).split())
    cut_short = isinstance(error, EOFError) or any(said in words.lower() for said in ("truncated", "end of file"))
    return BadImage("truncated" if cut_short else "unreadable", "" if cut_short else words)
