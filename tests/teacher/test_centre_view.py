"""The centre view is open_clip's own, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_images import make_photo

from edgedistill.teacher.centre_view import CentreView
from edgedistill.teacher.torchvision_ops import ensure_torchvision

SIZE = 33
SHAPES = [(1, 1), (1, 40), (200, 3), (33, 33), (34, 33), (32, 31), (101, 67), (67, 102), (640, 479), (20, 24), (66, 33)]


@pytest.mark.parametrize("fill", [0, 127])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_it_is_what_open_clip_makes_of_an_image_of_any_shape(mode: str, interpolation: str, fill: int) -> None:
    ensure_torchvision()
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from torchvision.transforms import Compose

    settings = {"size": SIZE, "interpolation": interpolation, "resize_mode": mode, "fill_color": fill}
    cfg = PreprocessCfg(mean=(0.5,) * 3, std=(0.5,) * 3, **settings)
    theirs = Compose(image_transform_v2(cfg, is_train=False).transforms[:-3])  # less: to RGB, to tensor, normalise
    ours = CentreView.of(settings)
    for k, shape in enumerate(SHAPES):
        photo = make_photo("yellow bars", k, size=shape)
        if mode == "longest" and max(shape) > 2 * SIZE * min(shape):
            continue  # open_clip has no pixel left there, and Pillow refuses
        np.testing.assert_array_equal(ours(photo), np.array(theirs(photo)), err_msg=str(shape))


def test_an_image_of_a_hairs_width_keeps_one_pixel() -> None:
    seen = CentreView(SIZE, "bicubic", "longest")(make_photo("red disc", 0, size=(1, 400)))
    assert seen.shape == (SIZE, SIZE, 3)
