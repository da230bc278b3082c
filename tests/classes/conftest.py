"""A bank of three classes and five prompts, and a pool's features."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_bank import make_bank, unit

from edgedistill.classes.text_bank import TextBank


@pytest.fixture
def bank() -> TextBank:
    return make_bank(unit(np.random.default_rng(0).normal(size=(3, 5, 16))).astype(np.float32))


@pytest.fixture
def features() -> np.ndarray:
    random = np.random.default_rng(1)
    return unit(random.normal(size=(40, 16)) + random.normal(size=16)).astype(np.float32)
