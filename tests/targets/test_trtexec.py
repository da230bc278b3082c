"""Where only trtexec is there: a stand-in for the tool, which refuses flags that its version does not have."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bundles import write_bundle
from trtexec_flags import FLAGS

from edgedistill.profiles import load_profile
from edgedistill.targets import run as device
from edgedistill.targets import runtimes, trt_sidecar, trtexec
from edgedistill.targets.errors import TargetError
from edgedistill.targets.trt_sidecar import Options

TOOL = """#!{python}
import json, os, sys
flags = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:])
with open("{log}", "a") as file:
    print(json.dumps(flags), file=file)
print("&&&& RUNNING TensorRT.trtexec [TensorRT v{code}] # trtexec")
if unknown := sorted(set(flags) - set({known!r}.split())):
    for name in unknown:
        print(f"[01/01/2026-00:00:00] [E] Unknown option: --{{name}} {{flags[name]}}")
    print("&&&& FAILED TensorRT.trtexec [TensorRT v{code}] # trtexec")
    sys.exit(1)
if "help" in flags:
    sys.exit(0)
def fail(words):
    print("[01/01/2026-00:00:00] [E] " + words)
    print("&&&& FAILED TensorRT.trtexec [TensorRT v{code}] # trtexec")
    sys.exit(1)
core = flags.get("useDLACore", "")
if "stronglyTyped" in flags and core and {code} < 110000:
    fail("Error[3]: createNetworkBuildConfig: API Usage Error (condition: !config.getFlag(BuilderFlag::kFP16))")
if "loadEngine" in flags and open(flags["loadEngine"]).read() != "engine" + core:
    fail("Error[1]: the engine was built for another DLA core than the runtime's")
if "onnx" in flags:
    if int(flags.get("memPoolSize", "workspace:99999").partition(":")[2]) > {memory_mb}:
        if {killed}:
            os.kill(os.getpid(), 9)
        fail("Error[2]: [virtualMemoryBuffer.cpp] Error Code 2: OutOfMemory")
    open(flags["saveEngine"], "w").write("engine" + core)
    open(flags["timingCacheFile"], "w").write("timings")
new = {code} >= 110000
copies = "includeDataTransfers" in flags if new else "noDataTransfers" not in flags
graph = "noCudaGraph" not in flags if new else "useCudaGraph" in flags
def say(words):
    print("[01/01/2026-00:00:00] [I]", words)
say("Data transfers: " + ("Enabled" if copies else "Disabled"))
say("CUDA Graph: " + ("Enabled" if graph else "Disabled"))
say("Timing trace has 900 queries over 1 s")
tail = "max = 3 ms, mean = 1.5 ms, median = %s ms, percentile(50%%) = 1.25 ms, percentile(99%%) = 2.5 ms"
say("Latency: min = 1 ms, " + tail % "1.25")
say("GPU Compute Time: min = 1 ms, " + tail % "1.125")
print("&&&& PASSED TensorRT.trtexec [TensorRT v{code}] # trtexec")
"""

MakeTool = Callable[..., Path]


@pytest.fixture
def make_tool(tmp_path: Path) -> MakeTool:
    def make(code: str = "100300", *, memory_mb: int = 1 << 20, killed: bool = False) -> Path:
        path = tmp_path / "bin" / "trtexec"
        path.parent.mkdir(exist_ok=True)
        words = {
            "python": sys.executable,
            "log": tmp_path / "calls",
            "code": code,
            "known": " ".join(sorted(FLAGS[code])),
        }
        path.write_text(TOOL.format(**words, memory_mb=memory_mb, killed=killed))
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def what(tmp_path: Path) -> trtexec.Run:
    onnx = tmp_path / "fp16.onnx"
    onnx.write_bytes(b"\x3a\x00")  # as short as an ONNX file can be: an empty graph
    return trtexec.Run(onnx, size=224, free_batch=False, warmup_s=0.5, seconds=10, cuda_graph=True)


def calls(folder: Path) -> list[dict[str, Any]]:
    return [flags for line in (folder / "calls").read_text().splitlines() if "help" not in (flags := json.loads(line))]


VERSIONS = {"100300": "10.3.0", "101300": "10.13.0", "110201": "11.2.1"}


@pytest.mark.parametrize(("code", "version"), VERSIONS.items())
def test_an_engine_is_built_and_timed_alike_by_every_version(
    make_tool: MakeTool, what: trtexec.Run, tmp_path: Path, code: str, version: str
) -> None:
    tool, engine = make_tool(code), tmp_path / "engines" / "fp16.engine"
    for graph in (True, False):
        said = trtexec.build(tool, replace(what, cuda_graph=graph), engine, Options(workspace_mb=512))
        assert (said.passed, said.data_transfers, said.cuda_graph) == (True, True, graph)
    assert engine.read_text() == "engine"
    sidecar = json.loads(trt_sidecar.sidecar_of(engine).read_text())
    assert (sidecar["library"], sidecar["version"], sidecar["workspace_mb"]) == ("trtexec", version, 512)
    first = calls(tmp_path)[0]
    assert first["memPoolSize"] == "workspace:512"
    assert (first["warmUp"], first["duration"]) == ("500", "10")
    assert "noTF32" in first
    assert ("stronglyTyped" in first) == (code != "110201")  # 11 knows nothing else
    assert trtexec.words(said) == (
        "GPU p50 1.125 p99 2.500 ms, with copies p50 1.250 p99 2.500 ms, without a CUDA graph, 900 queries"
    )


@pytest.mark.parametrize("code", ["100300", "101300"])
def test_a_flag_that_a_version_does_not_have_fails(
    make_tool: MakeTool, what: trtexec.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """As it would if the flags of 11 were passed to 10, or one was misspelt."""
    with monkeypatch.context() as patched:
        patched.setattr(trtexec, "_major", lambda version: 11)
        with pytest.raises(TargetError, match="Unknown option: --includeDataTransfers; Unknown option: --noSpinWait"):
            trtexec.build(make_tool(code), what, tmp_path / "x.engine", Options())
    own = trtexec._time_arguments
    monkeypatch.setattr(trtexec, "_time_arguments", lambda *asked: [*own(*asked), "--warmup=1"])
    with pytest.raises(TargetError, match="Unknown option: --warmup 1"):
        trtexec.time(make_tool(code), what, tmp_path / "x.engine", Options())


def test_11_names_no_precision_and_no_calibration(make_tool: MakeTool) -> None:
    """What was removed there, as its source has it; what became the default is still taken."""
    assert not {"fp16", "int8", "best", "calib"} & FLAGS["110201"]
    assert {"useCudaGraph", "stronglyTyped", "noDataTransfers"} <= FLAGS["110201"] & FLAGS["101300"]


def test_a_free_batch_gets_its_shapes(make_tool: MakeTool, what: trtexec.Run, tmp_path: Path) -> None:
    trtexec.build(make_tool(), replace(what, free_batch=True), tmp_path / "x.engine", Options())
    (flags,) = calls(tmp_path)
    shapes = {name: flags[name] for name in ("minShapes", "optShapes", "maxShapes", "shapes")}
    assert set(shapes.values()) == {"image:1x224x224x3", "image:64x224x224x3"}
    assert shapes["maxShapes"] == "image:64x224x224x3"


def test_a_dla_engine_is_built_for_its_core_and_timed_on_it(
    make_tool: MakeTool, what: trtexec.Run, tmp_path: Path
) -> None:
    tool, engine = make_tool("110201"), tmp_path / "x.engine"
    for _ in range(2):
        assert trtexec.compile(tool, what, engine, Options(dla_core=1)).passed
    built, timed = calls(tmp_path)
    assert (built["useDLACore"], built["allowGPUFallback"]) == ("1", "")
    assert (timed["useDLACore"], timed["loadEngine"]) == ("1", str(engine))


@pytest.mark.parametrize("code", ["100300", "101300"])
def test_a_dla_is_refused_in_two_lines_where_trtexec_cannot_be_strict(
    make_tool: MakeTool, what: trtexec.Run, tmp_path: Path, code: str
) -> None:
    version = VERSIONS[code].replace(".", r"\.")
    with pytest.raises(TargetError, match=f"{version} builds no strongly typed engine for DLA core 0") as caught:
        trtexec.build(make_tool(code), what, tmp_path / "x.engine", Options(dla_core=0))
    assert "take engine.dla_core out of the profile" in caught.value.todo
    assert not calls(tmp_path)  # no build was begun


def test_an_engine_that_fits_is_only_timed(make_tool: MakeTool, what: trtexec.Run, tmp_path: Path) -> None:
    tool, engine = make_tool(), tmp_path / "fp16.engine"
    for again in (False, False, True):
        trtexec.compile(tool, what, engine, Options(), again=again)
    assert ["onnx" in flags for flags in calls(tmp_path)] == [True, False, True]
    with pytest.raises(TargetError, match="MB of memory are free, a build here needs"):
        trtexec.compile(tool, what, engine, Options(), free_mb=1 << 40, again=True)


@pytest.mark.parametrize("killed", [False, True])
def test_where_memory_runs_out_less_is_tried(
    make_tool: MakeTool, what: trtexec.Run, tmp_path: Path, killed: bool
) -> None:
    engine = tmp_path / "fp16.engine"
    trtexec.build(make_tool(memory_mb=200, killed=killed), what, engine, Options(workspace_mb=512))
    assert [flags["memPoolSize"] for flags in calls(tmp_path)] == [f"workspace:{mb}" for mb in (512, 256, 128)]
    with pytest.raises(TargetError, match="ended by signal 9" if killed else "OutOfMemory"):
        trtexec.build(make_tool(memory_mb=1, killed=killed), what, tmp_path / "y.engine", Options(workspace_mb=32))
    assert not list(tmp_path.glob("*y.engine*"))


def test_what_trtexec_calls_an_error_is_repeated(make_tool: MakeTool, what: trtexec.Run, tmp_path: Path) -> None:
    tool = make_tool()
    tool.write_text(tool.read_text().replace(" onnx ", " "))
    with pytest.raises(
        TargetError, match=r"trtexec \(TensorRT 10\.3\.0\) cannot build or run .*: Unknown option: --onnx"
    ):
        trtexec.build(tool, what, tmp_path / "x.engine", Options())
    tool.write_text("#!/bin/sh\necho 'libnvinfer.so.10: cannot open shared object file' >&2; exit 127\n")
    with pytest.raises(TargetError, match="does not say its version: libnvinfer"):
        trtexec.build(tool, what, tmp_path / "x.engine", Options())


def test_a_trtexec_that_is_too_old_is_refused_by_name(make_tool: MakeTool, what: trtexec.Run, tmp_path: Path) -> None:
    tool = make_tool()
    tool.write_text(tool.read_text().replace("v100300", "v8601"))
    with pytest.raises(TargetError, match=r"TensorRT 8\.6\.1 is too old"):
        trtexec.build(tool, what, tmp_path / "x.engine", Options())
    assert not calls(tmp_path)


def test_the_tool_is_found_on_the_path_and_where_jetpack_puts_it(
    make_tool: MakeTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert trtexec.find(tmp_path) is None
    jetpack = tmp_path / "usr/src/tensorrt/bin/trtexec"
    jetpack.parent.mkdir(parents=True)
    jetpack.symlink_to(make_tool())
    assert trtexec.find(tmp_path) == jetpack
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert trtexec.find(tmp_path) == tmp_path / "bin" / "trtexec"


def test_compile_uses_it_where_the_python_module_is_missing(
    make_tool: MakeTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = TargetError("tensorrt cannot be imported: no module", "Make the environment with --system-site-packages.")
    monkeypatch.setattr(runtimes, "problem", lambda name: missing)
    make_tool()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    profile = load_profile("jetson-orin").to_json()
    profile["engine"]["free_mb"] = 1
    bundle = write_bundle(tmp_path / "bundle", profile=profile)
    assert device.main(["compile", "--bundle", str(bundle)]) == 0
    engine, tool = capsys.readouterr().out.splitlines()
    assert engine.startswith(f"{bundle}/engines/fp32.engine  GPU p50 1.125 p99 2.500 ms, with copies")
    assert "--system-site-packages" in tool
