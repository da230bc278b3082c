"""Class vectors and scale are read without safetensors, and give the probabilities that a graph gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bundles import change_manifest, write_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedistill.targets.errors import TargetError
from edgedistill.targets.head import FILE, read_head
from edgedistill.targets.manifest import Manifest, read_manifest
from edgedistill.targets.ort import Session

BAKED = {"dtype": "F32", "shape": [3, 3], "data_offsets": [0, 36]}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("head") / "bundle", images=50)


def test_the_head_of_an_embedding_is_what_the_graph_answers(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    found = Session(manifest.file("models/fp32.onnx"), threads=1).run(np.load(bundle / "check" / "images.npy"))
    np.testing.assert_allclose(read_head(manifest).probabilities(found.embedding), found.probabilities, atol=1e-5)


def test_an_embedding_that_is_not_finite_has_no_probabilities(bundle: Path) -> None:
    embedding = np.array([[1, 0, 0], [np.nan, 0, 0], [np.inf, 0, 0]], np.float32)
    broken = np.isnan(read_head(read_manifest(bundle)).probabilities(embedding)).all(axis=1)
    assert broken.tolist() == [False, True, True]


def test_a_file_with_another_hash_is_refused(bundle: Path, tmp_path: Path) -> None:
    files = read_manifest(bundle).data["files"] | {FILE: "0" * 64}
    copy = write_bundle(tmp_path / "copy", images=50)
    change_manifest(copy, files=files)
    with pytest.raises(TargetError, match="is not the file that was built"):
        read_head(read_manifest(copy, check_hashes=False))


@pytest.mark.parametrize("scale", [10**400, "20", True, None, [20]])
def test_a_scale_that_is_no_finite_number_is_damage(tmp_path: Path, scale: object) -> None:
    about = {"__metadata__": {"json": json.dumps({"scale": scale})}, "baked": BAKED}
    (tmp_path / FILE).write_bytes(len(json.dumps(about)).to_bytes(8, "little") + json.dumps(about).encode() + bytes(36))
    with pytest.raises(TargetError, match="is damaged"):
        read_head(OneFile(tmp_path / FILE))  # type: ignore[arg-type]


def test_class_vectors_of_other_classes_than_the_bundle_names_are_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", images=50)
    change_manifest(bundle, labels=[{"name": "red"}, {"name": "green"}])
    with pytest.raises(TargetError, match=r"holds class vectors \[3, 3\], the bundle names 2 classes"):
        read_head(read_manifest(bundle))


@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["baked", "__metadata__", "json", "dtype", "shape", "data_offsets"]), inner
                )
            ),
            max_leaves=8,
        ).map(lambda value: len(json.dumps(value)).to_bytes(8, "little") + json.dumps(value).encode()),
    )
)
@settings(max_examples=100, deadline=None)
def test_anything_else_is_an_error_in_two_lines(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / FILE
    path.write_bytes(content)
    with pytest.raises(TargetError, match="is damaged"):
        read_head(OneFile(path))  # type: ignore[arg-type]


class OneFile(Manifest):
    """A manifest as far as the head asks it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.parent, "", {})

    def file(self, name: str) -> Path:
        return self.path / name
