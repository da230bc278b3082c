"""Crops: the part of an image that a view names, resized to a model's input.

Resizing is antialiased bilinear: an output pixel is the weighted mean of the box's own pixels, with weights that fall
off in a straight line from its centre to nothing at one output pixel away, or one input pixel if that is more. It is
computed in two ways, which differ by one grey level at most:

`write_crop`, one crop on a CPU, is torch's on uint8: within one grey level of Pillow's on the same crop, and three to
four times as fast (0.12 against 0.42 ms for a 224 px crop on one core). The device's rule, Pillow's resize with a box,
differs from it in the outermost pixels alone, where Pillow also sees what lies beyond the box. Neither cropping nor
resizing starts threads of its own, so `write_crop` may be called from several threads at once.

`cut`, many crops on a GPU, takes them from pixels that already lie there: a crop's weights are two matrices, one for
its rows and one for its columns, so that all crops together are two batched matrix products. Most of a weight matrix is
nothing, which a CPU would feel: there it takes over ten times as long.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .cuts import Cuts
from .mixes import Blends, blend
from .views import View

# Bounds what `cut` works on at once, to some 400 MB on a GPU: 199 crops of 224 pixels from boxes of 264 x 352.
_ELEMENTS = 1 << 27


def write_crop(image: np.ndarray, view: View, out: np.ndarray) -> None:
    """Resize the part of `image` (uint8 [h, w, 3]) that `view` names into `out` (uint8 [S, S, 3])."""
    size = out.shape[0]
    part = np.array(image[view.top : view.bottom, view.left : view.right])  # torch wants writable, packed rows
    nchw = torch.from_numpy(part).permute(2, 0, 1).unsqueeze(0)
    resized = F.interpolate(nchw, size=(size, size), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    out[...] = resized[:, ::-1] if view.flip else resized  # by numpy: a torch copy would start a thread team


def spare(widest: int) -> int:
    """How many bytes must follow the pixels in a buffer, so that `cut` may read boxes up to `widest` pixels wide.

    It reads as many bytes of each row as the widest box takes, wherever the row begins. Their values do not matter.
    """
    return 3 * _padded(widest)


def cut(pixels: Tensor, cuts: Cuts, size: int, dtype: torch.dtype | None = None) -> Tensor:
    """uint8 [n, size, size, 3]: these boxes of `pixels` resized, on the device of `pixels`.

    pixels  uint8 [bytes], the last `spare(widest box)` of them being no pixels
    dtype   of the factors of the matrix products: float16 on a GPU unless given, float32 elsewhere; both stay within
            one grey level of `write_crop`

    Nothing is read back from the device. Raises ValueError for a box that reaches beyond `pixels`.
    """
    crops = torch.empty(len(cuts), size, size, 3, dtype=torch.uint8, device=pixels.device)
    if not len(cuts):
        return crops
    high, wide = _padded(int(cuts.height.max())), _padded(int(cuts.width.max()))
    first, last = int(cuts.start.min()), int((cuts.start + (cuts.height - 1) * cuts.stride).max())
    if first < 0 or last + 3 * wide > len(pixels):
        raise ValueError(f"bytes {first} to {last + 3 * wide} of a buffer of {len(pixels)}")
    dtype = dtype or (torch.float16 if pixels.device.type == "cuda" else torch.float32)
    at_once = max(1, _ELEMENTS // (3 * wide * (high + size) + 2 * size * max(high, wide)))
    for start in range(0, len(cuts), at_once):
        _cut(pixels, cuts.part(start, start + at_once), crops[start : start + at_once], dtype)
    return crops


def mix(crops: Tensor, blends: Blends) -> Tensor:
    """uint8 [n, S, S, 3]: the first n of `crops` [n + m, S, S, 3], the m that are blends with the last m blended in."""
    own, other = crops.split([len(crops) - len(blends), len(blends)])
    which, weight = _on(crops.device, np.stack([blends.which, blends.weight]))
    mixed = blend(own[which].int(), other.int(), weight.int()[:, None, None, None])
    return own.index_copy_(0, which, mixed.to(torch.uint8))


def _cut(pixels: Tensor, cuts: Cuts, crops: Tensor, dtype: torch.dtype) -> None:
    """Fill `crops` with so many boxes that they may be worked on at once."""
    n, size = crops.shape[:2]
    high, wide = _padded(int(cuts.height.max())), _padded(int(cuts.width.max()))
    # A row of a box is a run of bytes, so that an index a row is enough. Runs are as long as the widest box needs and
    # as many as the highest has; what they read beyond a smaller box has no weight.
    start, stride, last = _on(pixels.device, np.stack([cuts.start, cuts.stride, cuts.height - 1]))[..., None]
    rows = start + torch.minimum(torch.arange(high, device=pixels.device), last) * stride
    runs = pixels.as_strided((len(pixels) - 3 * wide + 1, 3 * wide), (1, 1))
    boxes = runs[rows].to(dtype)  # [n, high, 3 * wide]

    extent = np.concatenate([cuts.height, cuts.width])
    weights = _weights(extent, np.concatenate([np.zeros(n, bool), cuts.flip]), size, max(high, wide), pixels.device)
    down, across = weights.to(dtype).split(n)
    low = torch.bmm(down[:, :, :high], boxes).view(n, size, wide, 3)
    low = low.transpose(1, 2).reshape(n, wide, 3 * size)
    columns = torch.bmm(across[:, :, :wide], low).view(n, size, size, 3)
    # Weights are not negative and sum to 1, float16's rounding moves 255 by a quarter at most: no need to clamp.
    crops.copy_(columns.round_().transpose(1, 2))


def _weights(extent: np.ndarray, flip: np.ndarray, size: int, most: int, device: torch.device) -> Tensor:
    """float32 [n, size, most]: the weight of each of a side's `extent` pixels in each output pixel; rows sum to 1.

    Everything is measured in half-widths of a triangle. The centre of output pixel i is `first` + i * `step`, that of
    input pixel k is (k + 1/2) * `unit`.
    """
    scale = extent / size
    unit = 1 / np.maximum(scale, 1)
    step = np.where(flip, -scale, scale) * unit
    first = np.where(flip, extent * unit, 0) + step / 2
    sides = _on(device, np.stack([extent, unit, first, step]).astype(np.float32))[..., None]
    inputs = torch.arange(0.5, most, device=device)
    centres = torch.addcmul(sides[2], sides[3], torch.arange(float(size), device=device))
    places = (inputs * sides[1]).masked_fill_(inputs > sides[0], torch.inf)  # infinitely far: beyond the side
    weights = (1 - (places[:, None] - centres[..., None]).abs_()).clamp_min_(0)
    return weights.div_(weights.sum(-1, keepdim=True))


def _padded(pixels: int) -> int:
    """A multiple of 8: matrices of such sides are multiplied by a GPU's tensor cores, and few shapes occur."""
    return -(-pixels // 8) * 8


def _on(device: torch.device, numbers: np.ndarray) -> Tensor:
    """A copy of `numbers` on `device`; the host does not wait for a GPU to have it."""
    tensor = torch.from_numpy(numbers)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
