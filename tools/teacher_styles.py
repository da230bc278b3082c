"""What makes one photograph look like a sketch, a painting, a cartoon, a night shot ...: picture in, picture out.

The broad pool holds photographs alone. A tower that has only ever seen photographs takes a drawn dog for a comic book,
so every photograph is also shown drawn, painted, cut out on white and so on, with the style's word in the caption.
Nothing here knows a model or a data set; every function is a pure function of its picture and its generator.

Pictures are uint8 [H,W,3] RGB; masks are float32 [H,W] in 0..1, 1 where the object is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter
from scipy import ndimage

Picture = NDArray[np.uint8]
Mask = NDArray[np.float32]


def _grey(picture: Picture) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(picture).convert("L"), np.float32) / 255


def _half(picture: Picture) -> Image.Image:
    return Image.fromarray(picture).reduce(2)


def _rgb(grey: NDArray[np.float32]) -> Picture:
    return np.repeat((np.clip(grey, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def lines(picture: Picture, rng: Generator, mask: Mask | None = None) -> NDArray[np.float32]:
    """Ink in 0..1 [H,W], 1 = paper: extended difference of Gaussians (Winnemoeller 2011), one pen width a drawing."""
    grey = _grey(picture)
    width = rng.uniform(0.8, 2.2)
    fine, coarse = ndimage.gaussian_filter(grey, width), ndimage.gaussian_filter(grey, 1.6 * width)
    edge = fine - rng.uniform(0.96, 0.99) * coarse
    ink = 1 + np.tanh(rng.uniform(20, 80) * np.minimum(edge - rng.uniform(0.0, 0.008), 0))
    if mask is not None:
        ink = 1 - (1 - ink) * mask
    return ink.astype(np.float32)


def contour(picture: Picture, rng: Generator, mask: Mask | None = None) -> NDArray[np.float32]:
    """Only the strong outlines, as a hurried hand draws them: smoothed gradient magnitude, thresholded."""
    smooth = ndimage.gaussian_filter(np.asarray(picture, np.float32) / 255, (*([rng.uniform(1.5, 3.0)] * 2), 0))
    slope = np.sqrt(sum(ndimage.sobel(smooth, axis) ** 2 for axis in (0, 1))).max(axis=2)
    if mask is not None:
        slope = slope * mask
    bar = np.quantile(slope, rng.uniform(0.85, 0.95))
    ink = 1 / (1 + np.exp(np.clip((slope - bar) / max(bar, 1e-3) * 12, -30, 30)))
    return ndimage.gaussian_filter(ink, 0.5).astype(np.float32)


def sketch(picture: Picture, rng: Generator, mask: Mask | None = None) -> Picture:
    """Pencil or ink on white: thin lines, a hurried outline, or soft pencil shading (colour dodge)."""
    kind = rng.integers(3)
    if kind == 0:
        return _rgb(lines(picture, rng, mask))
    if kind == 1:
        return _rgb(contour(picture, rng, mask))
    grey = _grey(picture)
    soft = np.maximum(ndimage.gaussian_filter(grey, rng.uniform(3, 9)), 0.02)
    dodge = np.minimum(grey / soft, 1) ** rng.uniform(1, 3)
    return _rgb(dodge if mask is None else 1 - (1 - dodge) * mask)


def flat(picture: Picture, rng: Generator) -> Picture:
    """Few flat colours: smoothed at half size (a mode filter is slow), reduced to a small palette, brightened."""
    image = _half(picture).filter(ImageFilter.MedianFilter(3)).filter(ImageFilter.ModeFilter(3))
    image = image.resize(picture.shape[1::-1], Image.Resampling.BICUBIC)
    image = image.quantize(int(rng.integers(5, 14)), method=Image.Quantize.MEDIANCUT).convert("RGB")
    image = ImageEnhance.Color(image).enhance(rng.uniform(1.2, 2.5))
    return np.asarray(ImageEnhance.Brightness(image).enhance(rng.uniform(1.0, 1.3)))


def cartoon(picture: Picture, rng: Generator, mask: Mask | None = None) -> Picture:
    """Flat colours with dark outlines, often cut out on white or on one bright colour."""
    ink = (lines(picture, rng) if rng.random() < 0.4 else contour(picture, rng, mask))[..., None]
    colours = flat(picture, rng)
    if mask is not None:
        colours = on_plain(colours, rng, mask)
    return (colours * ink).astype(np.uint8)


def painting(picture: Picture, rng: Generator, mask: Mask | None = None) -> Picture:
    """Brush strokes: a mode filter, colours pulled to a random cast, short strokes smeared along one direction."""
    image = _half(picture).filter(ImageFilter.ModeFilter(int(rng.choice([3, 5]))))
    image = image.resize(picture.shape[1::-1], Image.Resampling.BICUBIC)
    image = ImageEnhance.Color(image).enhance(rng.uniform(0.5, 2.2))
    colours = np.asarray(image, np.float32) / 255
    cast = rng.uniform(0.7, 1.3, 3)
    angle = rng.uniform(0, np.pi)
    shift = rng.uniform(2, 5) * np.array([np.sin(angle), np.cos(angle)])
    grain = ndimage.gaussian_filter(rng.standard_normal(colours.shape[:2]), 1.0)
    stroke = sum(ndimage.shift(grain, k * shift / 3, order=1, mode="wrap") for k in range(-3, 4)) / 7
    colours = colours * cast + rng.uniform(0.1, 0.6) * stroke[..., None]
    return (np.clip(colours, 0, 1) ** rng.uniform(0.8, 1.25) * 255).astype(np.uint8)


def on_plain(picture: Picture, rng: Generator, mask: Mask) -> Picture:
    """Cut out roughly, on white (two thirds) or on one bright colour."""
    ground = np.full(3, 255.0) if rng.random() < 0.67 else rng.uniform(90, 255, 3)
    return (picture * mask[..., None] + ground * (1 - mask[..., None])).astype(np.uint8)


def cut_out(picture: Picture, rng: Generator, mask: Mask | None = None) -> Picture:
    return picture if mask is None else on_plain(picture, rng, mask)


def night(picture: Picture, rng: Generator, mask: Mask | None = None) -> Picture:
    """Dark, bluish, grainy."""
    dark = (picture / 255.0) ** rng.uniform(1.3, 2.2) * rng.uniform(0.25, 0.5) * np.array([0.8, 0.9, 1.15])
    return (np.clip(dark + rng.normal(0, 0.02, dark.shape), 0, 1) * 255).astype(np.uint8)


def blur(picture: Picture, rng: Generator, mask: Mask | None = None) -> Picture:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(float(rng.uniform(2, 4)))))


def grey(picture: Picture, rng: Generator, mask: Mask | None = None) -> Picture:
    return _rgb(np.clip((_grey(picture) - 0.5) * rng.uniform(0.8, 1.6) + 0.5, 0, 1).astype(np.float32))


Style = Callable[[Picture, Generator, Mask | None], Picture]
# style -> (how to draw it, the words that name it in a caption)
STYLES: dict[str, tuple[Style, tuple[str, ...]]] = {
    "sketch": (sketch, ("a sketch of a {}.", "a pencil drawing of a {}.", "a line drawing of a {}.")),
    "cartoon": (cartoon, ("a cartoon of a {}.", "a cartoon {}.", "a clip art picture of a {}.")),
    "painting": (painting, ("a painting of a {}.", "an oil painting of a {}.", "an artwork of a {}.")),
    "cut out": (cut_out, ("a {} on a white background.", "a photo of a {} on a plain background.")),
    "night": (night, ("a {} at night.", "a dark photo of a {}.")),
    "blur": (blur, ("a blurry photo of a {}.", "a {} out of focus.")),
    "grey": (grey, ("a black and white photo of a {}.",)),
}
