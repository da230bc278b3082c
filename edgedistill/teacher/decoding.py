"""What happens to a photo before the teacher sees it: decoded once, shrunk to what is kept, its centre view made.

torch is not needed for it and not imported, so that a process that decodes starts at once (decoder.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..images.duplicates import difference_hash
from ..images.pixels import shrink
from ..targets.preprocess import BadImage, decode


@dataclass(frozen=True, eq=False)
class Prepared:
    """One decoded image: `pixels` uint8 [h, w, 3] as they are kept, `dhash`, and `centre` uint8 [S, S, 3]."""

    pixels: np.ndarray
    dhash: int
    centre: np.ndarray


@dataclass(frozen=True)
class Preparation:
    """`centre`: from an upright RGB image to the teacher's centre view; `short_side` of the kept pixels."""

    centre: Callable[[Image.Image], np.ndarray]
    short_side: int

    def __call__(self, data: bytes) -> Prepared | BadImage:
        """Of a file's bytes; an image that cannot be decoded comes back as the reason."""
        try:
            image = decode(data)
        except BadImage as error:
            return error
        pixels = shrink(image, self.short_side)
        return Prepared(pixels, difference_hash(pixels), self.centre(image))
