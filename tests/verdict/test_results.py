"""A result file is a stranger's: what belongs to the bundle is read, everything else is a two-line error."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measured
import numpy as np
import pytest
from bundles import write_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgedistill.errors import InputError
from edgedistill.targets.flaws import Flaw
from edgedistill.targets.manifest import Manifest, read_manifest
from edgedistill.verdict.results import Failed, Result, read_result, result_files, safe

IMAGES = 60


def good() -> dict[str, Any]:
    return measured.result(measured.check_set(IMAGES))


def read(path: Path) -> Result:
    return read_result(path, measured.manifest(), measured.MANIFEST_SHA256, IMAGES)


def test_a_good_result_is_read(tmp_path: Path) -> None:
    content = good()
    result = read(measured.written(tmp_path, content))
    assert result.precision == "fp16"
    assert result.runtime == "tensorrt"
    assert result.device == "Test Board"
    assert result.matches_profile is True
    assert result.predictions.tolist() == content["predictions"]
    assert result.predictions.dtype == np.int64
    assert result.latency_ms == {name: content["latency_ms"][name] for name in ("p50", "p95", "p99")}
    assert result.queries == 1000
    assert result.memory_peak_mb == 80.0
    assert result.invalid == ()


def test_figures_a_device_could_not_measure_are_none(tmp_path: Path) -> None:
    content = good()
    content["latency_ms"]["p99"] = None
    content["memory_mb"]["peak"] = None
    content["matches_profile"] = None
    result = read(measured.written(tmp_path, content))
    assert result.latency_ms["p99"] is None
    assert result.memory_peak_mb is None
    assert result.matches_profile is None


def test_threads_and_what_was_tried_are_read_where_a_result_has_them(tmp_path: Path) -> None:
    for said, threads, tried in (
        ({}, None, {}),
        ({"threads": 4}, 4, {}),
        ({"threads": 4, "threads_tried": None}, 4, {}),
        ({"threads": 1, "threads_tried": {"1": 6.7, "2": 8.8}}, 1, {1: 6.7, 2: 8.8}),
    ):
        content = good()
        content["runtime"] = {"name": "onnxruntime-cpu", "version": "1"} | said
        found = read(measured.written(tmp_path, content))
        assert (found.threads, found.threads_tried) == (threads, tried)


def test_an_image_without_a_finite_answer_is_minus_one(tmp_path: Path) -> None:
    content = good()
    content["predictions"][3] = -1
    assert read(measured.written(tmp_path, content)).predictions[3] == -1


def test_the_flaws_of_a_run_are_read_as_data(tmp_path: Path) -> None:
    content = good() | {"invalid": [measured.HOT, measured.THROTTLED]}
    found = read(measured.written(tmp_path, content)).invalid
    assert found == (Flaw("hot", "cpu", 97.0, 95.0), Flaw("throttled", "soft temperature limit"))


def test_a_candidate_that_did_not_run_is_read_with_its_error(tmp_path: Path) -> None:
    found = read(measured.written(tmp_path, measured.failed()))
    assert isinstance(found, Failed)
    assert (found.precision, found.runtime, found.error) == ("fp16", "tensorrt", "the engine cannot be built")


def test_files_and_folders_are_taken_together_each_file_once(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    (folder / "elsewhere").mkdir(parents=True)
    one, two = (measured.written(folder, good(), f"{name}.json") for name in ("a", "b"))
    measured.written(folder / "elsewhere", good(), "c.json")
    this = Manifest(tmp_path / "bundle", measured.MANIFEST_SHA256, measured.manifest())
    assert result_files([two, folder], this) == [two, one]
    with pytest.raises(InputError, match="holds no result"):
        result_files([tmp_path], this)


def test_a_copy_of_the_bundle_brings_the_results_in_it(tmp_path: Path) -> None:
    this = read_manifest(write_bundle(tmp_path / "bundle"))
    stick = Path(shutil.copytree(this.path, tmp_path / "stick"))
    with pytest.raises(InputError, match="holds no result"):
        result_files([stick], this)
    (stick / "results").mkdir()
    one = measured.written(stick / "results", good(), "a.json")
    (stick / "verdict.json").write_text("of another day")
    assert result_files([stick], this) == [one]


def test_a_copy_that_is_damaged_or_of_another_bundle_is_refused(tmp_path: Path) -> None:
    this = read_manifest(write_bundle(tmp_path / "bundle"))
    other = write_bundle(tmp_path / "other", images=61)
    with pytest.raises(InputError, match="copy of another bundle"):
        result_files([other], this)
    (other / "models/fp32.onnx").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"fp32\.onnx is not the file that was built"):
        result_files([other], this)


def put(*keys: str) -> Callable[[dict[str, Any], Any], None]:
    def change(content: dict[str, Any], value: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


WRONG = [
    (("schema",), 1, "measure it again"),
    (("schema",), 3, "schema"),
    (("build_id",), "d" * 64, "another bundle"),
    (("manifest_sha256",), "d" * 64, "another bundle"),
    (("build_id",), None, "another bundle"),
    (("model",), None, "model"),
    (("model", "file"), "../../etc/passwd", "holds no model"),
    (("model", "file"), "models/fp32.onnx", "another models/fp32.onnx"),
    (("model", "sha256"), "e" * 64, "another models/fp16.onnx"),
    (("runtime", "name"), "", "runtime.name"),
    (("runtime", "threads"), "two", "runtime.threads"),
    (("runtime", "threads"), True, "runtime.threads"),
    (("runtime", "threads"), 0, "runtime.threads is 0"),
    (("runtime", "threads"), 1.5, "a whole number"),
    (("runtime", "threads"), 1e300, "runtime.threads is 1e+300, expected 1 to 1024"),
    (("runtime", "threads_tried"), [6.7, 8.8], "runtime.threads_tried is missing or not an object"),
    (("runtime", "threads_tried"), {}, "no positive time"),
    (("runtime", "threads_tried"), {"1": 6.7}, "no positive time for the threads in use"),
    (("runtime", "threads_tried"), {"one": 6.7}, "has 'one'"),
    (("runtime", "threads_tried"), {"9" * 5000: 6.7}, "expected numbers of threads"),
    (("runtime", "threads_tried"), {"1": -1}, "runtime.threads_tried.1 is -1"),
    (("runtime", "threads_tried"), {"1": 10**400}, "finite"),
    (("device", "name"), 7, "device.name"),
    (("matches_profile",), "yes", "matches_profile"),
    (("matches_profile",), 1, "matches_profile"),
    (("predictions",), [0] * (IMAGES - 1), "59 predictions for 60"),
    (("predictions",), {"0": 1}, "no predictions"),
    (("predictions",), [0] * (IMAGES - 1) + [3], "prediction 59"),
    (("predictions",), [0] * (IMAGES - 1) + [-2], "prediction 59"),
    (("predictions",), [0] * (IMAGES - 1) + [True], "prediction 59"),
    (("predictions",), [0] * (IMAGES - 1) + [1.0], "prediction 59"),
    (("golden", "ok"), "true", "golden.ok"),
    (("golden", "max_abs_diff"), -1, "golden.max_abs_diff"),
    (("latency_ms", "p95"), "fast", "latency_ms.p95"),
    (("latency_ms", "p95"), 0.1, "rising"),
    (("latency_ms", "p50"), 0, "rising"),
    (("latency_ms", "p95"), 10**400, "finite"),
    (("latency_ms", "queries"), 10.5, "whole number"),
    (("latency_ms", "p95_low"), "low", "latency_ms.p95_low"),
    (("latency_ms", "p95_high"), 0.1, "does not hold p95"),
    (("runs",), 2.5, "whole number"),
    (("memory_mb", "peak"), -3, "memory_mb.peak"),
    (("memory_mb",), [], "memory_mb"),
    (("invalid",), "throttled", "invalid"),
    (("invalid",), [1], "invalid"),
    (("invalid",), ["hot"], "invalid[0]"),
    (("invalid",), [{"code": "tired"}], "invalid[0]"),
    (("invalid",), [{"code": ["hot"]}], "invalid[0]"),
    (("invalid",), [{"code": "hot", "what": 3}], "invalid[0].what"),
    (("invalid",), [{"code": "hot", "what": "cpu", "value": None, "limit": 80}], "invalid.value"),
    (("warnings",), [{"code": "tired"}], "warnings[0]"),
    (("conditions",), [], "conditions"),
    (("conditions", "power_mode"), 25, "conditions.power_mode"),
    (("conditions", "gpu_max_mhz"), "fast", "conditions.gpu_max_mhz"),
    (("conditions", "temperature_c"), -200, "conditions.temperature_c"),
    (("conditions", "watched"), "all", "conditions.watched"),
    (("conditions", "watched"), [1], "conditions.watched"),
    (("device", "evidence"), {"power_mode_as_shipped": 25}, "device.evidence.power_mode_as_shipped"),
    (("failed",), "no", "failed"),
    (("failed",), {"todo": "Try again."}, "failed.wrong"),
]


@pytest.mark.parametrize(("keys", "value", "named"), WRONG)
def test_what_departs_from_the_schema_is_named(tmp_path: Path, keys: tuple[str, ...], value: Any, named: str) -> None:
    content = good()
    put(*keys)(content, value)
    path = measured.written(tmp_path, content)
    with pytest.raises(InputError) as raised:
        read(path)
    assert named in raised.value.wrong
    assert str(path) in raised.value.wrong
    assert raised.value.todo


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"[1, 2]",
        b"null",
        b'{"schema": NaN}',
        b'{"schema": Infinity}',
        b"[" * 100_000,
        b'{"schema": ' + b"9" * 5000 + b"}",
        b'{"a": 1',
    ],
)
def test_what_is_not_a_json_object_is_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"result\.json"):
        read(path)


def test_numbers_that_only_become_infinite_when_read_are_refused(tmp_path: Path) -> None:
    path = measured.written(tmp_path, good())
    path.write_text(path.read_text().replace('"peak": 80.0', '"peak": 1e999'))
    with pytest.raises(InputError, match="1e999 is too large"):
        read(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match="at most"):
        read(path)


def test_a_pipe_a_folder_and_a_missing_file_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "missing"):
        with pytest.raises(InputError):
            read(tmp_path / name)


def test_text_from_a_device_cannot_steer_the_terminal(tmp_path: Path) -> None:
    content = good()
    content["device"]["name"] = "Board\x1b[2J\nPASS\u202e" + "x" * 1000
    content["invalid"] = [measured.HOT | {"what": "cpu\x07"}]
    result = read(measured.written(tmp_path, content))
    assert result.device.startswith(r"Board\x1b[2J\x0aPASS\u202ex")
    assert len(result.device) == 200
    assert result.invalid[0].what == r"cpu\x07"


@given(st.text())
def test_safe_text_is_one_short_printable_line(text: str) -> None:
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", safe(text))
    assert len(safe(text)) <= 200


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [leaf for key, item in items for leaf in leaves(item, (*path, key))]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(path=st.sampled_from(leaves(good())), value=JSON, drop=st.booleans())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_gives_a_sound_result_or_a_two_line_error(
    tmp_path: Path, path: tuple[Any, ...], value: Any, drop: bool
) -> None:
    content = copy.deepcopy(good())
    place = content
    for key in path[:-1]:
        place = place[key]
    if drop:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    file = tmp_path / "result.json"
    file.write_text(json.dumps(content))
    try:
        result = read(file)
    except InputError:
        return
    assert len(result.predictions) == IMAGES
    assert set(result.predictions.tolist()) <= {-1, 0, 1, 2}
    known = [result.latency_ms[name] for name in ("p50", "p95", "p99") if result.latency_ms[name] is not None]
    assert all(0 < value < float("inf") for value in known)
