"""Which class vectors a build takes: refined where that can be checked, or where it hardly changes an answer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from edgedistill.classes import stages
from edgedistill.classes.stages import fitted, tell_close
from edgedistill.classes.templates import Templates
from edgedistill.teacher.unit import unit

DIM, CLASSES, ROWS = 12, 4, np.arange(200)


class Store:
    """As far as the class vectors look at it: features [N,D] of centre views, with others around them [N,V,D]."""

    def __init__(self, features: np.ndarray, views: np.ndarray | None = None) -> None:
        self.features = features.astype(np.float32)
        self.views = self.features[:, None] if views is None else views.astype(np.float32)

    def centre(self, rows: np.ndarray) -> np.ndarray:
        return self.features[rows]

    centre_views = mean_views = centre

    def all_views(self, rows: np.ndarray) -> np.ndarray:
        return self.views[rows]


def pool(gap: float) -> tuple[SimpleNamespace, Store]:
    """A text bank whose vectors lie `gap` off the clusters of the pool, and the pool."""
    draw = np.random.default_rng(0)
    centres = unit(draw.normal(size=(CLASSES, DIM)))
    features = unit(centres[draw.integers(0, CLASSES, len(ROWS))] + 0.1 * draw.normal(size=(len(ROWS), DIM)))
    text = unit(centres + gap * draw.normal(size=(CLASSES, DIM)))[:, None].astype(np.float32)
    bank = SimpleNamespace(
        vectors=text, scale=30.0, names=tuple("abcd"), templates=Templates("one", ("a photo of a {}",))
    )
    return bank, Store(features)


@pytest.mark.parametrize(
    ("gap", "accuracy_decides", "takes"),
    [(0.5, True, "prototypes"), (0.5, False, "none"), (0.01, False, "prototypes")],
)
def test_auto_refines_where_it_can_be_checked_or_changes_hardly_an_answer(
    gap: float, accuracy_decides: bool, takes: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    bank, store = pool(gap)
    found = fitted(bank, "uniform", "auto", store, ROWS, None, accuracy_decides=accuracy_decides)  # type: ignore[arg-type]
    assert found.refinement == takes
    assert np.array_equal(found.text, found.baked) == (takes == "none")
    assert ("stay at the words" in caplog.text) == (takes == "none")


def test_auto_keeps_words_that_answer_more_steadily_over_views(caplog: pytest.LogCaptureFixture) -> None:
    """All photos are one crowd that the words give to one class: prototypes would cut it in pieces."""
    caplog.set_level("INFO")
    bank, _ = pool(0.5)
    bank.vectors = np.eye(CLASSES, DIM, dtype=np.float32)[:, None]
    draw = np.random.default_rng(1)
    crowd = unit(np.eye(CLASSES, DIM).sum(axis=0) + 0.2 * np.eye(DIM)[0])
    photos = unit(crowd + 0.03 * draw.normal(size=(len(ROWS), DIM)))
    store = Store(photos, unit(photos[:, None] + 0.03 * draw.normal(size=(len(ROWS), 8, DIM))))
    found = fitted(bank, "uniform", "auto", store, ROWS, None, accuracy_decides=True)  # type: ignore[arg-type]
    assert found.refinement == "none"
    assert "views more are classed otherwise" in caplog.text


@pytest.mark.parametrize("refinement", ["none", "prototypes", "visual"])
def test_what_was_asked_for_is_what_is_taken(refinement: str) -> None:
    bank, store = pool(0.5)
    found = fitted(bank, "uniform", refinement, store, ROWS, None, accuracy_decides=False)  # type: ignore[arg-type]
    assert found.refinement == refinement
    assert np.array_equal(found.text, bank.vectors[:, 0])
    assert np.array_equal(found.text, found.baked) == (refinement == "none")


def test_refined_vectors_answer_as_surely_as_the_words() -> None:
    bank, store = pool(0.5)
    confidence = {}
    for refinement in ("none", "prototypes", "visual"):
        baked = fitted(bank, "uniform", refinement, store, ROWS, None, accuracy_decides=True).baked  # type: ignore[arg-type]
        logits = 30.0 * store.features @ baked.T
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        confidence[refinement] = float((shares.max(axis=1) / shares.sum(axis=1)).mean())
    assert confidence["prototypes"] == pytest.approx(confidence["none"], abs=1e-3)
    assert confidence["visual"] == pytest.approx(confidence["none"], abs=1e-3)


def test_of_many_close_pairs_the_closest_are_told_and_the_others_counted(caplog: pytest.LogCaptureFixture) -> None:
    tell_close([(f"c{k}", f"d{k}", k / 100) for k in range(90)])
    *pairs, rest = caplog.messages
    assert [message.split("'")[1] for message in pairs] == [f"c{k}" for k in range(5)]
    assert rest == "and 85 more pairs like these, of 180 classes together"


@pytest.mark.parametrize(("spread", "strange"), [(0.1, True), (2.0, False)])
def test_words_that_the_teacher_does_not_know_are_seen_by_their_vectors(
    spread: float, strange: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    draw = np.random.default_rng(0)
    vectors = unit(draw.normal(size=DIM) + spread * draw.normal(size=(20, 1, DIM))).astype(np.float32)
    one = Templates("one", ("a photo of a {}",))
    bank = SimpleNamespace(vectors=vectors, scale=100.0, names=tuple(map(str, range(20))), templates=one)
    monkeypatch.setattr(stages, "read_bank", lambda *_: bank)
    stages.text_bank(*[None] * 5)  # type: ignore[arg-type]
    assert ("it may not know the words" in caplog.text) == strange
