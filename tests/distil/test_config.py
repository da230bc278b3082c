from __future__ import annotations

from typing import Any

import pytest

from edgedistill.distil.config import batch_for, epochs_for, patient
from edgedistill.errors import InputError

from .colours import config


@pytest.mark.parametrize(
    ("images", "batch", "epochs"), [(40, 10, 100), (1260, 128, 48), (50_000, 128, 20), (9, 2, 100)]
)
def test_defaults_follow_the_size_of_the_pool(images: int, batch: int, epochs: int) -> None:
    assert (batch_for(images), epochs_for(images)) == (batch, epochs)


@pytest.mark.parametrize(("patience", "epochs"), [(None, 48), (1.0, 48), (3.0, 144), (1.01, 48), (2.5, 120)])
def test_patience_multiplies_the_epochs(patience: float | None, epochs: int) -> None:
    assert patient(48, patience) == epochs


@pytest.mark.parametrize("wrong", [{"batch": 1}, {"lr": 0.0}, {"views": "all"}, {"ema": 1.5}, {"epochs": 0}])
def test_settings_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        config(**wrong)
