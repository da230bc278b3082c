"""An engine fits one library, one kind of GPU and one graph; what differs is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgedistill.targets import trt_sidecar
from edgedistill.targets.errors import TargetError
from edgedistill.targets.trt_sidecar import Options, Place, other_power_mode, refuse_foreign, sidecar_of, why_stale

HERE = Place("tensorrt", "10.3.0", "Orin", "8.7", 8, "p3767-0003")
OPTIONS = Options(workspace_mb=512)


@pytest.fixture
def built(tmp_path: Path) -> tuple[Path, Path]:
    """(the ONNX file, its engine with a sidecar)."""
    onnx, engine = tmp_path / "fp16.onnx", tmp_path / "fp16.engine"
    onnx.write_bytes(b"graph")
    assert why_stale(onnx, engine, HERE, OPTIONS) == "there is none yet"
    engine.write_bytes(b"plan")
    trt_sidecar.write_sidecar(engine, onnx, HERE, OPTIONS, {"build_seconds": 3.2})
    return onnx, engine


def edit(engine: Path, **changed: Any) -> None:
    path = sidecar_of(engine)
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def test_an_engine_fits_where_it_was_built(built: tuple[Path, Path]) -> None:
    onnx, engine = built
    assert why_stale(onnx, engine, HERE, OPTIONS) is None
    assert refuse_foreign(engine, HERE)["build_seconds"] == 3.2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("library", "tensorrt_rtx"),
        ("version", "10.16.2"),
        ("gpu", "NVIDIA H100"),
        ("compute_capability", "9.0"),
        ("multiprocessors", 16),
        ("board_module", "p3767-0000"),  # an Orin NX: its GPU has the Nano's name
    ],
)
def test_any_other_place_is_named(built: tuple[Path, Path], key: str, value: Any) -> None:
    onnx, engine = built
    elsewhere = replace(HERE, **{key: value})
    words = f"{key} was {getattr(HERE, key)!r} and is {value!r}"
    assert why_stale(onnx, engine, elsewhere, OPTIONS) == words
    with pytest.raises(TargetError, match="does not fit this machine") as caught:
        refuse_foreign(engine, elsewhere)
    assert words in caught.value.wrong


def test_another_graph_other_options_and_a_changed_file_are_named(built: tuple[Path, Path]) -> None:
    onnx, engine = built
    assert why_stale(onnx, engine, HERE, Options(workspace_mb=64)) == "workspace_mb was 512 and is 64"
    assert why_stale(onnx, engine, HERE, Options(512, dla_core=0)) == "dla_core was None and is 0"
    onnx.write_bytes(b"another graph")
    assert (why_stale(onnx, engine, HERE, OPTIONS) or "").startswith("onnx_sha256 was ")
    assert refuse_foreign(engine, HERE)  # it still runs here
    onnx.write_bytes(b"graph")
    engine.write_bytes(b"cut")
    assert why_stale(onnx, engine, HERE, OPTIONS) == "its content is not what was built"
    with pytest.raises(TargetError, match="its content is not what was built"):
        refuse_foreign(engine, HERE)


def test_a_sidecar_of_another_version_or_no_json_is_not_trusted(built: tuple[Path, Path]) -> None:
    onnx, engine = built
    edit(engine, schema=1)
    assert why_stale(onnx, engine, HERE, OPTIONS) == "its sidecar has schema 1"
    edit(engine, schema=trt_sidecar.SCHEMA, dla_core="0")
    with pytest.raises(TargetError, match="does not fit this machine: dla_core is '0'"):
        refuse_foreign(engine, HERE)
    sidecar_of(engine).write_text("{")
    assert "is not valid JSON" in (why_stale(onnx, engine, HERE, OPTIONS) or "")  # so it is built again
    with pytest.raises(TargetError, match="is not valid JSON"):
        refuse_foreign(engine, HERE)


def test_a_module_that_cannot_be_read_fits_any(built: tuple[Path, Path]) -> None:
    onnx, engine = built
    assert why_stale(onnx, engine, replace(HERE, board_module=None), OPTIONS) is None
    edit(engine, board_module=None)
    assert why_stale(onnx, engine, HERE, OPTIONS) is None


def test_another_power_mode_is_told_and_fits(built: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    onnx, engine = built
    monkeypatch.setattr(trt_sidecar, "power_mode", lambda: "25W")
    assert other_power_mode(engine) is None  # none was known when it was built
    edit(engine, power_mode="MAXN_SUPER")
    assert other_power_mode(engine) == "power_mode was 'MAXN_SUPER' and is '25W'"
    assert why_stale(onnx, engine, HERE, OPTIONS) is None
    assert refuse_foreign(engine, HERE)
    monkeypatch.setattr(trt_sidecar, "power_mode", lambda: None)  # a container
    assert other_power_mode(engine) is None


def test_an_engine_without_a_sidecar_is_left_to_tensorrt(tmp_path: Path) -> None:
    assert refuse_foreign(tmp_path / "theirs.engine", HERE) == {}
