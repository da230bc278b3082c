"""Crops: what Pillow makes of the same box, mirrored where the view says so; the same from many boxes at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_images import make_photo
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgedistill.images import crops
from edgedistill.images.crops import cut, spare, write_crop
from edgedistill.images.cuts import Cuts
from edgedistill.images.views import Boxes, View

DTYPES = [torch.float32, torch.float16]  # of the products: a CPU's, and a GPU's worked out on the CPU


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    return [np.asarray(make_photo("red disc", 0, size=(72, 56)))]


def test_a_crop_is_what_pillow_makes_of_the_same_box(photos):
    box = View(5, 3, 50, 41, False)
    crop = np.empty((24, 24, 3), np.uint8)
    write_crop(photos[0], box, crop)
    expected = Image.fromarray(photos[0]).crop(box[:4]).resize((24, 24), Image.Resampling.BILINEAR)
    assert np.abs(crop.astype(int) - np.asarray(expected)).max() <= 1


def test_a_flipped_crop_is_the_mirror_image(photos):
    plain, flipped = np.empty((2, 24, 24, 3), np.uint8)
    write_crop(photos[0], View(5, 3, 50, 41, False), plain)
    write_crop(photos[0], View(5, 3, 50, 41, True), flipped)
    assert np.array_equal(flipped, plain[:, ::-1])


def buffer_of(*images: np.ndarray) -> torch.Tensor:
    """Images one after another, and the spare bytes; these are 255, which would show if they counted."""
    end = np.full(spare(max(image.shape[1] for image in images)), 255, np.uint8)
    return torch.from_numpy(np.concatenate([*(image.ravel() for image in images), end]))


def boxes_in(*images: np.ndarray, boxes: list[View]) -> Cuts:
    """Box k of image k, all in the buffer of these images."""
    sizes = np.array([image.size for image in images])
    corners, flips = np.array([box[:4] for box in boxes]), np.array([box.flip for box in boxes])
    return Cuts.of(Boxes(corners, flips), np.cumsum(sizes) - sizes, np.array([image.shape[1] for image in images]))


def one_by_one(images: list[np.ndarray], boxes: list[View], size: int) -> np.ndarray:
    found = np.empty((len(boxes), size, size, 3), np.uint8)
    for image, box, crop in zip(images, boxes, found, strict=True):
        write_crop(image, box, crop)
    return found


def difference(found: torch.Tensor, expected: np.ndarray) -> int:
    return int(np.abs(found.numpy().astype(int) - expected).max())


def noise(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Any grey level, or black and white only: the steepest there is."""
    pixels = random.integers(0, 256, (height, width, 3), np.uint8)
    return pixels if random.random() < 0.5 else (pixels // 128) * np.uint8(255)


def any_box(random: np.random.Generator, width: int, height: int) -> View:
    """Of every shape, a single pixel and the whole image included."""
    left, right = sorted(random.choice(width + 1, 2, replace=False).tolist())
    top, bottom = sorted(random.choice(height + 1, 2, replace=False).tolist())
    return View(left, top, right, bottom, random.random() < 0.5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("size", "batches"), [(1, 30), (16, 30), (63, 15), (224, 6), (1024, 2)])
def test_boxes_cut_together_are_those_cut_one_by_one(size: int, batches: int, dtype: torch.dtype) -> None:
    random = np.random.default_rng(size)
    count = 5 if size < 1024 else 2
    for _ in range(batches if dtype == torch.float32 else batches // 2):
        sides = np.exp(random.uniform(0, np.log(400), (count, 2))).round().astype(int)
        images = [noise(random, *side) for side in sides]
        boxes = [any_box(random, *side) for side in sides]
        found = cut(buffer_of(*images), boxes_in(*images, boxes=boxes), size, dtype)
        assert difference(found, one_by_one(images, boxes, size)) <= 1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_first_and_the_last_byte_of_a_buffer_count_and_none_beyond(dtype: torch.dtype) -> None:
    """Black photos but for their first and last pixel; the spare bytes behind them are white."""
    images = [np.zeros((9, 5, 3), np.uint8), np.zeros((7, 31, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)]
    images[0][0, 0] = images[1][-1, -1] = 200
    boxes = [View(0, 0, 5, 9, False), View(3, 6, 31, 7, True), View(0, 0, 1, 1, False)]
    found = cut(buffer_of(*images), boxes_in(*images, boxes=boxes), 16, dtype)
    assert difference(found, one_by_one(images, boxes, 16)) <= 1
    assert found[0, 0, 0].min() > 50
    assert found[1, 0, 0].min() > 50
    assert not found[2].any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("grey", [0, 1, 127, 128, 254, 255])
def test_an_even_colour_stays_as_it_is(grey: int, dtype: torch.dtype) -> None:
    images = [np.full((*shape, 3), grey, np.uint8) for shape in [(2, 3), (200, 300), (310, 97), (41, 40)]]
    boxes = [View(0, 0, image.shape[1], image.shape[0], False) for image in images]
    assert (cut(buffer_of(*images), boxes_in(*images, boxes=boxes), 65, dtype) == grey).all()


def test_a_crop_does_not_depend_on_its_company_nor_on_how_many_are_cut_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    images = [noise(random, *side) for side in [(60, 50), (50, 60), (9, 4), (64, 64), (1, 30)]]
    boxes = [any_box(random, image.shape[1], image.shape[0]) for image in images]
    pixels, cuts = buffer_of(*images), boxes_in(*images, boxes=boxes)
    together = cut(pixels, cuts, 24)
    for at_once in (1, 2 * 24 * (64 + 64 + 64 + 3 * 64)):
        monkeypatch.setattr(crops, "_ELEMENTS", at_once)
        assert difference(cut(pixels, cuts, 24), together.numpy()) <= 1  # sums of other lengths may round otherwise
    assert cut(pixels, cuts.part(0, 0), 24).shape == (0, 24, 24, 3)


def test_a_box_beyond_the_pixels_is_refused(photos: list[np.ndarray]) -> None:
    """Before a GPU meets it, where it would end the process's use of that GPU."""
    pixels, cuts = buffer_of(photos[0]), boxes_in(photos[0], boxes=[View(1, 0, 72, 56, False)])
    cut(pixels, cuts, 16)
    with pytest.raises(ValueError, match="buffer"):
        cut(pixels[: photos[0].size], cuts, 16)
    with pytest.raises(ValueError, match="buffer"):
        cut(pixels, Cuts(cuts.start - 4, cuts.stride, cuts.width, cuts.height, cuts.flip), 16)


def test_cutting_reads_no_value(photos: list[np.ndarray]) -> None:
    """torch's fake tensors have shape and dtype, but no values: to read one is an error."""
    pixels, cuts = buffer_of(photos[0]), boxes_in(photos[0], boxes=[View(3, 2, 70, 50, True)])
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        found = cut(fake.from_tensor(pixels), cuts, 16, torch.float16)
        with pytest.raises(DataDependentOutputException):
            found.max().item()


def test_cutting_mixes_no_devices(photos: list[np.ndarray]) -> None:
    """On torch's `meta` device, the only one beside the CPU that every machine has."""
    pixels, cuts = buffer_of(photos[0]).to("meta"), boxes_in(photos[0], boxes=[View(3, 2, 70, 50, True)])
    with Devices() as seen:
        assert cut(pixels, cuts, 16, torch.float16).device.type == "meta"
    assert seen.where == {"cpu", "meta"}  # the boxes' numbers are copied over
    assert seen.mixed == {"aten._to_copy.default"}
    with seen:
        pixels[:1] + torch.ones((), dtype=torch.uint8)
    assert "aten.add.Tensor" in seen.mixed


class Devices(TorchDispatchMode):
    """On which devices the tensors lie that operators take and make, and which operators meet more than one."""

    def __init__(self) -> None:
        super().__init__()
        self.where: set[str] = set()
        self.mixed: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        devices = {x.device.type for x in tree_leaves((args, kwargs, made)) if isinstance(x, torch.Tensor)}
        self.where |= devices
        if len(devices) > 1:
            self.mixed.add(str(func))
        return made
