"""From a file to the pixels a model sees: the one resize rule, and what counts as an image.

The rule: apply the EXIF turn, take the centre square, `resize((S, S), BILINEAR, box=square)` with Pillow. It is used
where the pool is read, where the golden set is made, in `Classifier` and in `run.py predict`, so it stands here once.

Pillow is imported on first use only: a board that reads ready-made check pixels needs none.
"""

from __future__ import annotations

import os
import stat
import struct
import warnings
import zlib
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

# What Pillow's decoders raise on damaged files; it has no common base class.
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
)

_EXIF_ORIENTATION = 0x0112


class BadImage(Exception):
    """An image that is not used. `reason` is short and the same for every such file, `detail` is about this one.

    Reasons: "not a regular file", "unreadable", "not an image", "truncated", "side under 16 px",
    "over 100 megapixels", "unsupported pixel format".
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
    samples scaled to 8 (their high byte, as Pillow itself does for 16-bit colour). The size is checked from the
    header, before anything is decoded. Raises BadImage.
    """
    if not data:
        raise BadImage("not an image", "empty file")
    pillow, formats = _pillow()
    try:
        image = pillow.open(BytesIO(data), formats=formats)
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        raise BadImage("over 100 megapixels") from error
    except pillow.UnidentifiedImageError as error:
        raise BadImage("not an image") from error
    except _PILLOW_RAISES as error:
        raise _bad(error) from error
    with image:
        return from_pil(image)


def from_pil(image: Image) -> Image:
    """A PIL image of any mode, loaded or not -> upright RGB, 8 bit, as `decode` describes. Raises BadImage."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadImage("over 100 megapixels", f"{width} x {height}")
    if min(width, height) < MIN_SIDE:
        raise BadImage("side under 16 px", f"{width} x {height}")
    try:
        image.load()
        return _to_rgb(image)
    except _PILLOW_RAISES as error:
        raise _bad(error) from error


def from_array(array: np.ndarray) -> Image:
    """uint8 [H,W,3] RGB, [H,W] grey or [H,W,4] with alpha -> RGB image. Raises BadImage."""
    pillow, _ = _pillow()
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        found = f"{array.dtype} {list(array.shape)}, not uint8 [H,W,3], [H,W] or [H,W,4]"
        raise BadImage("unsupported pixel format", found)
    if min(array.shape[:2]) < MIN_SIDE:
        raise BadImage("side under 16 px", f"{array.shape[1]} x {array.shape[0]}")
    return from_pil(pillow.fromarray(np.ascontiguousarray(array)))


def _to_rgb(image: Image) -> Image:
    pillow, _ = _pillow()
    turn = _turns().get(_orientation(image))
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
    pillow, _ = _pillow()
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = (left, top, left + side, top + side)
    return np.array(image.resize((size, size), pillow.Resampling.BILINEAR, box=square))


def _from_wide_samples(image: Image) -> Image:
    """16-bit grey (mode I;16*, or I where an older Pillow reads a PNG) -> L; a colour-keyed sample becomes white.

    32-bit and float samples (some TIFFs) have no range we could know, so nothing is guessed.
    """
    pillow, _ = _pillow()
    samples = np.asarray(image)
    if image.mode == "F" or samples.min() < 0 or samples.max() > 0xFFFF:
        raise BadImage("unsupported pixel format", f"mode {image.mode}, samples without a known range")
    grey = (samples.astype(np.uint16) >> 8).astype(np.uint8)
    if "transparency" in image.info:
        grey[samples == image.info["transparency"]] = 255
    return pillow.fromarray(grey)


def _orientation(image: Image) -> int:
    """EXIF orientation 1..8; damaged EXIF counts as upright, since the pixels are still good."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except _PILLOW_RAISES:
        return 1


@lru_cache(maxsize=1)
def _turns() -> dict[int, Any]:
    turn = _pillow()[0].Transpose
    return {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }


@lru_cache(maxsize=1)
def _pillow() -> tuple[Any, list[str]]:
    """The PIL.Image module and those of our formats that this Pillow can read."""
    from PIL import Image

    Image.init()
    # decode() checks the size itself and reads past damaged metadata: Pillow's warnings on both would only add noise.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    return Image, [name for name in _FORMATS if name in Image.OPEN]


def _bad(error: Exception) -> BadImage:
    cut_short = isinstance(error, EOFError) or "truncated" in str(error).lower()
    return BadImage("truncated" if cut_short else "unreadable", "" if cut_short else str(error))
