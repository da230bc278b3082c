"""An engine that answers wrongly is told from one that rounds, in every precision."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import change_manifest, class_vectors_file, colour_model, write_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedistill.targets.errors import TargetError
from edgedistill.targets.golden import FARTHEST, compare_golden, flaws_of
from edgedistill.targets.head import FILE
from edgedistill.targets.manifest import Manifest, read_manifest
from edgedistill.targets.ort import Session
from edgedistill.targets.session import Outputs

PRECISIONS = ("fp32", "fp16", "int8")
# Far from the fp32 graph: what it calls red is called green, as of an int8 graph that drifted a long way.
DRIFTED = np.array([[0.2, 1, 0], [1, 0.3, 0.1], [0, 0.1, 1]])


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    models = {"fp32": colour_model(), "fp16": colour_model(), "int8": colour_model(extra=DRIFTED)}
    return read_manifest(write_bundle(tmp_path_factory.mktemp("golden") / "bundle", models=models))


@cache
def opened(path: Path) -> Session:
    return Session(path, threads=1)


class Engine:
    """A real session, whose answers may be changed on the way."""

    def __init__(self, manifest: Manifest, precision: str, change: Callable[[Outputs], Outputs] | None = None) -> None:
        self._session = opened(manifest.file(f"models/{precision}.onnx"))
        self._change = change or (lambda answers: answers)

    def run(self, images: np.ndarray) -> Outputs:
        return self._change(self._session.run(images))


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)


def of_embedding(embedding: np.ndarray) -> Outputs:
    """What a graph answers whose backbone gave this."""
    probabilities = softmax(20.0 * embedding)
    return Outputs(probabilities, embedding.astype(np.float32), probabilities.max(axis=1))


BROKEN: dict[str, Callable[[Outputs], Outputs]] = {
    "the answers of the next image": lambda answers: Outputs(*(np.roll(part, 1, axis=0) for part in answers)),
    "two answers changed places": lambda answers: Outputs(*(part[[1, 0, 2, 3]] for part in answers)),
    "one answer for all": lambda answers: Outputs(*(np.repeat(part[:1], len(part), axis=0) for part in answers)),
    "uniform": lambda answers: answers._replace(probabilities=np.full_like(answers.probabilities, 1 / 3)),
    "uniform, of an embedding of zeros": lambda answers: of_embedding(np.zeros_like(answers.embedding)),
    "the classes permuted": lambda answers: answers._replace(probabilities=np.roll(answers.probabilities, 1, axis=1)),
    "another embedding's": lambda answers: of_embedding(np.roll(answers.embedding, 1, axis=1)),
    "no scale": lambda answers: answers._replace(probabilities=softmax(answers.embedding)),
    "zeros": lambda answers: Outputs(*(np.zeros_like(part) for part in answers)),
    "not a number": lambda answers: Outputs(*(np.full_like(part, np.nan) for part in answers)),
    "infinite": lambda answers: answers._replace(embedding=np.full_like(answers.embedding, np.inf)),
}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_engine_that_the_workshop_saw_passes(manifest: Manifest, precision: str) -> None:
    found = compare_golden(manifest, precision, Engine(manifest, precision))
    assert (found["ok"], found["strangers"], flaws_of(found, manifest)) == (True, 0, [])
    assert found["embedding_max_diff"] < 1e-5


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_broken_engine_never_passes(manifest: Manifest, precision: str, how: str) -> None:
    found = compare_golden(manifest, precision, Engine(manifest, precision, BROKEN[how]))
    assert not found["ok"]
    assert all(flaw.code.startswith("golden") for flaw in flaws_of(found, manifest))


@pytest.mark.parametrize("precision", PRECISIONS)
@given(seed=st.integers(0, 1000), share=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_rounding_within_the_precision_passes(manifest: Manifest, precision: str, seed: int, share: float) -> None:
    """An embedding that is off in any direction, and the head's own answer to it."""

    def rounded(answers: Outputs) -> Outputs:
        noise = np.random.default_rng(seed).normal(size=answers.embedding.shape)
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        moved = answers.embedding + noise * share * {"fp32": 1e-5, "fp16": 1e-3, "int8": 2e-2}[precision]
        return of_embedding(moved / np.linalg.norm(moved, axis=1, keepdims=True))

    assert compare_golden(manifest, precision, Engine(manifest, precision, rounded))["ok"]


def test_int8_is_held_to_its_own_graph_and_not_to_fp32(manifest: Manifest) -> None:
    assert not compare_golden(manifest, "int8", Engine(manifest, "fp32"))["ok"]
    assert not compare_golden(manifest, "fp32", Engine(manifest, "int8"))["ok"]


def test_golden_images_that_show_the_same_may_be_taken_for_each_other(manifest: Manifest) -> None:
    def swapped(answers: Outputs) -> Outputs:  # images 0 and 3 are of one class and hardly differ
        return Outputs(*(part[[3, 1, 2, 0]] for part in answers))

    found = compare_golden(manifest, "int8", Engine(manifest, "int8", swapped))
    assert (found["ok"], found["strangers"]) == (True, 0)
    assert found["embedding_max_diff"] < FARTHEST["int8"]


def test_a_bundle_of_before_embeddings_were_kept_is_held_to_probabilities_and_head(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", models={"fp32": colour_model(), "int8": colour_model()})
    with np.load(bundle / "golden.npz") as stored:
        kept = {name: stored[name] for name in ("bytes", "offsets", "pixels", "probabilities")}
    np.savez(bundle / "golden.npz", **kept)
    manifest = resealed(bundle, "golden.npz")
    for precision in ("fp32", "int8"):
        found = compare_golden(manifest, precision, Engine(manifest, precision))
        assert (found["ok"], found["embedding_max_diff"], found["strangers"]) == (True, None, None)
        for how in ("uniform", "the classes permuted", "not a number"):
            assert not compare_golden(manifest, precision, Engine(manifest, precision, BROKEN[how]))["ok"]


def test_an_embedding_of_another_width_is_an_error_and_no_traceback(manifest: Manifest, tmp_path: Path) -> None:
    def wider(answers: Outputs) -> Outputs:
        return answers._replace(embedding=np.zeros((len(answers.embedding), 5), np.float32))

    with pytest.raises(TargetError, match="is of embeddings of 3 numbers, the model gives 5"):
        compare_golden(manifest, "fp32", Engine(manifest, "fp32", wider))
    bundle = write_bundle(tmp_path / "bundle")
    with np.load(bundle / "golden.npz") as stored:
        kept = {**stored, "embedding": np.zeros((4, 5), np.float32)}
    np.savez(bundle / "golden.npz", **kept)
    other = resealed(bundle, "golden.npz")
    with pytest.raises(TargetError, match=r"golden.npz is of embeddings of 5 numbers, the model gives 3"):
        compare_golden(other, "fp32", Engine(other, "fp32"))


def test_a_graph_of_other_class_vectors_than_the_bundles_is_noticed(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (bundle / FILE).write_bytes(class_vectors_file().replace(b"20.0", b"10.0"))
    manifest = resealed(bundle, FILE)
    found = compare_golden(manifest, "fp32", Engine(manifest, "fp32"))
    assert [flaw.code for flaw in flaws_of(found, manifest)] == ["golden-head"]


def test_a_precision_that_nobody_knows_is_two_lines(manifest: Manifest) -> None:
    with pytest.raises(TargetError, match="holds a model in 'int4'") as caught:
        compare_golden(manifest, "int4", Engine(manifest, "fp32"))
    assert "fp32, fp16, int8" in caught.value.todo


def resealed(bundle: Path, name: str) -> Manifest:
    """The bundle's manifest with the hash of a file that was changed."""
    files: dict[str, Any] = read_manifest(bundle, check_hashes=False).data["files"]
    change_manifest(bundle, files={**files, name: sha256((bundle / name).read_bytes()).hexdigest()})
    return read_manifest(bundle)
