"""A bundle is believed only when its format, paths and hashes are right."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from bundles import NAMES, SIZE, change_manifest, colour_model, write_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedistill.errors import InputError
from edgedistill.profiles import Profile, list_profiles, load_profile
from edgedistill.targets.errors import TargetError
from edgedistill.targets.manifest import read_manifest, selected_precision, selected_threads


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", models={"fp32": colour_model(), "fp16": colour_model()})


def refused(bundle: Path, **options: Any) -> str:
    with pytest.raises(TargetError) as caught:
        read_manifest(bundle, **options)
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.wrong + caught.value.todo
    return caught.value.wrong


def test_a_whole_bundle_is_read(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert manifest.labels == list(NAMES)
    assert (manifest.size, manifest.batch, manifest.precisions) == (SIZE, (1, 1), ["fp32", "fp16"])
    assert manifest.file(manifest.model("fp16")["file"]) == bundle / "models" / "fp16.onnx"


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    assert "is not a bundle" in refused(tmp_path)
    assert "is not a bundle" in refused(tmp_path / "nowhere")


def test_another_format_names_both_versions(bundle: Path) -> None:
    change_manifest(bundle, format=2)
    assert "format 2; this version reads format 1" in refused(bundle)


def test_a_changed_file_is_found(bundle: Path) -> None:
    model = bundle / "models" / "fp32.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    assert "models/fp32.onnx is not the file that was built" in refused(bundle)


def test_without_the_full_check_a_file_is_still_checked_when_opened(bundle: Path) -> None:
    (bundle / "models" / "fp16.onnx").write_bytes(b"other")
    manifest = read_manifest(bundle, check_hashes=False)
    assert manifest.file("models/fp32.onnx").is_file()
    with pytest.raises(TargetError, match="is not the file that was built"):
        manifest.file("models/fp16.onnx")


def test_missing_files_and_unlisted_names_are_errors(bundle: Path) -> None:
    with pytest.raises(TargetError, match="does not list"):
        read_manifest(bundle).file("verdict.json")
    (bundle / "golden.npz").unlink()
    assert "golden.npz is missing" in refused(bundle)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../../b", "C:/x", "a\\b", "", ".."])
def test_a_name_never_leaves_the_bundle(bundle: Path, name: str) -> None:
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    change_manifest(bundle, files={**files, name: "0" * 64})
    assert "not a path inside the bundle" in refused(bundle, check_hashes=False)


def test_a_link_never_leaves_the_bundle(bundle: Path, tmp_path: Path) -> None:
    model = bundle / "models" / "fp32.onnx"
    model.rename(tmp_path / "elsewhere.onnx")
    model.symlink_to(tmp_path / "elsewhere.onnx")
    assert "is a link that leaves the bundle" in refused(bundle)


@pytest.mark.parametrize("name", ["results", "engines", "verdict.json"])
def test_what_the_manifest_does_not_list_stays_inside_too(bundle: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (bundle / name).symlink_to(tmp_path / name)
    manifest = read_manifest(bundle)
    with pytest.raises(TargetError, match="is a link that leaves the bundle"):
        manifest.place(name)
    with pytest.raises(TargetError, match="is a link that leaves the bundle"):
        manifest.place(f"{name}/fp32.engine")
    (bundle / name).unlink()
    assert manifest.place(name) == bundle / name


def test_a_fifo_in_place_of_a_file_is_refused_and_not_read(bundle: Path) -> None:
    (bundle / "golden.npz").unlink()
    os.mkfifo(bundle / "golden.npz")
    assert "is not a regular file" in refused(bundle)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": []}, "names 0 classes"),
        ({"labels": ["red", "blue"]}, "name is None, not a str"),
        ({"preprocessing": {"layout": "NCHW"}}, "preprocessing.layout is 'NCHW'"),
        ({"batch": {"min": 2, "max": 1}}, "batch is"),
        ({"models": []}, "names no fp32 model"),
        ({"models": [{"precision": "fp32", "file": "run.sh", "golden_tolerance": 1.0}]}, "without a hash"),
        ({"labels": [{"name": "red"}, {"name": "blue"}, {"name": "red"}]}, "names the class 'red' twice"),
        ({"labels": [{"name": "red"}, {"name": " "}]}, "a class without a name"),
        ({"golden": {"pixel_tolerance": 10**400}}, "golden.pixel_tolerance is 1000"),
        ({"budget": {"latency_p95_ms": -1}}, "budget.latency_p95_ms is -1, not above 0"),
        ({"budget": {"memory_mb": 10**400}}, "budget.memory_mb is 1000"),
        ({"build_id": ["x" * 1_000_000]}, "build_id is ['xxx"),
        ({"files": {"run.py": "abc"}}, "is no SHA-256"),
        ({"build_id": 7}, "build_id is 7, not a str"),
    ],
)
def test_a_wrong_value_is_named(bundle: Path, change: dict[str, Any], said: str) -> None:
    change_manifest(bundle, **change)
    assert said in refused(bundle)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"precision": "../../x"}, "names a model in precision '../../x', not one of fp32, fp16, int8"),
        ({"precision": "fp32"}, "names two models in precision fp32"),
        ({"bytes": None}, "models[1]: bytes is None, not a whole number"),
        ({"bytes": True}, "bytes is True, not a whole number"),
        ({"bytes": 1.5}, "bytes is 1.5, not a whole number"),
        ({"bytes": 0}, "bytes is 0, not from 1"),
        ({"bytes": 10**400}, "bytes is 1000"),
        ({"golden_tolerance": 1e300}, "golden_tolerance is 1e+300, not from 0 to 0.25"),
        ({"golden_tolerance": -1.0}, "golden_tolerance is -1.0"),
    ],
)
def test_a_model_entry_edited_by_hand_is_refused(bundle: Path, change: dict[str, Any], said: str) -> None:
    models = json.loads((bundle / "manifest.json").read_text())["models"]
    change_manifest(bundle, models=[models[0], models[1] | change])
    wrong = refused(bundle)
    assert said in wrong
    assert len(wrong) < 1000


def edited(key: str, value: Any) -> dict[str, Any]:
    """The cpu profile with one value changed, or left out where `value` is ..."""
    profile = load_profile("cpu").to_json()
    *tables, last = key.split(".")
    table = profile
    for name in tables:
        table = table[name]
    if value is ...:
        del table[last]
    else:
        table[last] = value
    return profile


@pytest.mark.parametrize("board", list_profiles())
def test_every_shipped_profile_is_accepted(bundle: Path, board: str) -> None:
    change_manifest(bundle, profile=load_profile(board).to_json())
    assert read_manifest(bundle).profile["name"] == board


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", ...),
        ("title", 7),
        ("runtime", ...),
        ("runtime.prefer", "onnxruntime-cpu"),
        ("runtime.prefer", [1]),
        ("runtime.prefer", []),
        ("runtime.cuda_graph", "yes"),
        ("runtime.reference", ...),
        ("runtime.threads", ...),
        ("runtime.threads", "two"),
        ("runtime.threads", -1),
        ("runtime.threads", 1.5),
        ("runtime.threads", True),
        ("model.precisions", {}),
        ("measure", []),
        ("runtime.threads", 1025),
        ("measure.min_s", -0.5),
        ("measure.min_s", 0),
        ("measure.min_queries", 0),
        ("measure.min_queries", 1.5),
        ("budget.memory_mb", 10**400),
        ("budget.agreement_min", 1.5),
        ("engine.workspace_mb", 0),
        ("engine.dla_core", 2),
        ("onnxruntime.optimisation", None),
        ("onnxruntime.optimisation", "most"),
        ("onnxruntime.arena", None),
        ("measure.warmup_s", 2e12),
        ("measure.min_queries", 10**400),
        ("measure.hot_c", "95"),
        ("engine", []),
        ("engine.workspace_mb", 0.5),
        ("engine.free_mb", "all"),
        ("identify", None),
        ("identify.machine", "x86_64"),
        ("identify.min_memory_mb", []),
        ("identify.min_compute_capability", "eight"),
        ("identify.min_compute_capability", 8.7),
        ("identify.gpu", 1),
    ],
)
def test_a_profile_edited_by_hand_is_refused_by_key(bundle: Path, key: str, value: Any) -> None:
    change_manifest(bundle, profile=edited(key, value))
    assert f"profile.{key} is " in refused(bundle)


@pytest.mark.parametrize("key", ["budget", "engine", "notes", "power", "stack", "plausible"])
def test_what_a_device_does_not_need_may_be_missing(bundle: Path, key: str) -> None:
    change_manifest(bundle, profile=edited(key, ...))
    assert key not in read_manifest(bundle).profile


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"{", b"[" * 100_000])
def test_a_manifest_that_is_no_object_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / "manifest.json").write_bytes(content)
    refused(bundle)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def shared_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("shared") / "bundle")


@settings(deadline=None)
@given(
    st.sampled_from(["format", "build_id", "labels", "preprocessing", "batch", "profile", "models", "files"]),
    json_values,
)
def test_any_json_in_a_key_is_read_or_refused(shared_bundle: Path, key: str, value: Any) -> None:
    path = shared_bundle / "manifest.json"
    before = path.read_bytes()
    change_manifest(shared_bundle, **{key: value})
    try:
        read_manifest(shared_bundle, check_hashes=False)
    except TargetError as error:
        said = error.wrong
    else:
        said = str(path)
    finally:
        path.write_bytes(before)
    assert str(path) in said


values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, 15, 16, 4097, 10**9, 10**13, 10**400, 8.7, "8.7", "8.7\n", [], ["fp32"], ["a", "b"]])
    | st.floats()
    | st.text(max_size=3)
    | st.lists(st.text(max_size=3), max_size=2)
)
leaves = [
    f"{section}.{key}"
    for section in ("identify", "runtime", "model", "engine", "measure")
    for key in load_profile("cpu").to_json()[section]
]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(leaves), values, min_size=1, max_size=2))
def test_a_profile_that_the_workshop_accepts_is_accepted_by_the_device(
    shared_bundle: Path, changes: dict[str, Any]
) -> None:
    table = load_profile("cpu").to_json()
    for key, value in changes.items():
        section, _, name = key.partition(".")
        table[section][name] = value
    try:
        profile = Profile.from_json(table)
    except InputError:
        return
    path = shared_bundle / "manifest.json"
    before = path.read_bytes()
    change_manifest(shared_bundle, profile=profile.to_json())
    try:
        assert read_manifest(shared_bundle, check_hashes=False).profile == profile.to_json()
    finally:
        path.write_bytes(before)


def test_the_selected_precision_counts_only_for_this_build(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert selected_precision(manifest) == "fp32"
    verdict = bundle / "verdict.json"
    verdict.write_text(json.dumps({"build_id": manifest.build_id, "selected": "fp16"}))
    assert selected_precision(manifest) == "fp16"
    verdict.write_text(json.dumps({"build_id": "another", "selected": "fp16"}))
    assert selected_precision(manifest) == "fp32"
    verdict.write_text(json.dumps({"build_id": manifest.build_id, "selected": "int8"}))
    assert selected_precision(manifest) == "fp32"


MEASURED = {"threads": 1, "threads_tried": {"1": 6.7, "2": 8.8}}


@pytest.mark.parametrize(
    ("runtime", "changed", "threads"),
    [
        (MEASURED, {}, 1),
        ({"threads": 2, "threads_tried": None}, {}, 2),  # by --threads, or the profile's
        ({"threads": 2}, {}, 2),
        ({}, {}, None),  # of a verdict that was made before
        ({"threads": None}, {}, None),  # a GPU's
        (MEASURED, {"device": {"name": "another processor"}}, None),
        (MEASURED, {"build_id": "another"}, None),
        (MEASURED, {"verdict": "unmeasured"}, None),
        ({"threads": 1, "threads_tried": {"1": 4.0, "2": 5.0, "4": 6.0}}, {}, None),  # on more cores than here
        ({"threads": 1, "threads_tried": {"1": 4.0}}, {}, None),
        ({"threads": 1, "threads_tried": "many"}, {}, None),
        ({"threads": 3}, {}, None),
        ({"threads": 0}, {}, None),
        ({"threads": True}, {}, None),
        ({"threads": "1"}, {}, None),
        ([], {}, None),
        (MEASURED, {"device": "a processor"}, None),
    ],
)
def test_the_measured_threads_count_only_on_a_machine_of_the_same_name_and_size(
    bundle: Path, runtime: Any, changed: dict[str, Any], threads: int | None
) -> None:
    manifest = read_manifest(bundle)
    assert selected_threads(manifest, "a processor", [1, 2]) is None
    verdict = {"build_id": manifest.build_id, "verdict": "pass", "device": {"name": "a processor"}, "runtime": runtime}
    (bundle / "verdict.json").write_text(json.dumps(verdict | changed))
    assert selected_threads(manifest, "a processor", [1, 2]) == threads
