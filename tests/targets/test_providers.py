"""A provider is asserted, not hoped for: what it is given, and what a profile of a run says of who computed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from bundles import colour_model

from edgedistill.profiles import list_profiles, load_profile
from edgedistill.targets import names, providers
from edgedistill.targets.errors import TargetError
from edgedistill.targets.ort import Graph, Session
from edgedistill.targets.providers import PROVIDERS, Settings

# Of onnxruntime's documentation of each provider; those of TensorRT and CUDA were found in onnxruntime-gpu 1.31.1's
# libraries, those of OpenVINO are checked by running it where it is installed.
DOCUMENTED = {
    "CPUExecutionProvider": set(),
    "OpenVINOExecutionProvider": {"device_type", "precision", "num_of_threads", "num_streams", "cache_dir"},
    "CUDAExecutionProvider": {"device_id", "use_tf32", "arena_extend_strategy", "enable_cuda_graph", "gpu_mem_limit"},
    "TensorrtExecutionProvider": {
        "device_id", "trt_fp16_enable", "trt_int8_enable", "trt_cuda_graph_enable", "trt_max_workspace_size",
        "trt_engine_cache_enable", "trt_engine_cache_path", "trt_timing_cache_enable", "trt_timing_cache_path",
    },
    "NvTensorRTRTXExecutionProvider": {
        "device_id", "enable_cuda_graph", "nv_max_workspace_size", "nv_runtime_cache_path",
    },
}  # fmt: skip


@pytest.mark.parametrize("runtime", PROVIDERS)
@pytest.mark.parametrize("precision", names.PRECISIONS)
def test_a_provider_is_given_documented_options_and_comes_first(runtime: str, precision: str) -> None:
    settings = Settings(workspace_mb=64, cache=Path("cache"), io_binding=True, cuda_graph=True, precision=precision)
    asked = providers.requested(runtime, settings, 2)
    assert asked[0][0] == PROVIDERS[runtime]
    for name, wanted in asked:
        assert wanted.keys() <= DOCUMENTED[name]
        assert all(isinstance(value, str) for value in wanted.values())


def test_cuda_never_computes_in_tf32_and_tensorrt_is_told_which_precisions_it_may_use() -> None:
    for runtime in (names.CUDA, names.ORT_TENSORRT):
        assert dict(providers.requested(runtime, Settings(), 1))["CUDAExecutionProvider"]["use_tf32"] == "0"
    flags = {
        precision: dict(providers.requested(names.ORT_TENSORRT, Settings(precision=precision), 1))[
            "TensorrtExecutionProvider"
        ]
        for precision in names.PRECISIONS
    }
    told = {name: (given["trt_fp16_enable"], given["trt_int8_enable"]) for name, given in flags.items()}
    assert told == {"fp32": ("0", "0"), "fp16": ("1", "0"), "int8": ("1", "1")}


@pytest.mark.parametrize(("binding", "graph"), [(False, "0"), (True, "1")])
def test_calls_are_replayed_only_where_the_buffers_stay(binding: bool, graph: str) -> None:
    settings = Settings(cuda_graph=True, io_binding=binding)
    assert dict(providers.requested(names.CUDA, settings, 1))["CUDAExecutionProvider"]["enable_cuda_graph"] == graph


@pytest.mark.parametrize("name", list_profiles())
def test_a_shipped_profile_is_read_as_settings(name: str) -> None:
    profile = load_profile(name)
    settings = Settings.of_profile(profile.to_json(), precision="fp16")
    own = profile.onnxruntime
    found = (settings.arena, settings.spin, settings.optimisation, settings.io_binding)
    assert found == (own.arena, own.spin, own.optimisation, own.io_binding)
    assert (settings.cuda_graph, settings.workspace_mb) == (profile.runtime.cuda_graph, profile.engine.workspace_mb)
    older = profile.to_json()
    del older["onnxruntime"]
    assert Settings.of_profile(older).optimisation == "all"


def test_session_options_are_what_the_settings_say() -> None:
    made = providers.options(onnxruntime, Settings(arena=False, spin=False, optimisation="basic"), 3)
    assert (made.intra_op_num_threads, made.enable_cpu_mem_arena) == (3, False)
    assert made.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert made.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    for level in names.OPTIMISATIONS:
        providers.options(onnxruntime, Settings(optimisation=level), 1)


def test_the_profile_of_a_run_names_the_provider_of_every_node(tmp_path: Path) -> None:
    onnx.save(colour_model(), tmp_path / "model.onnx")
    options = providers.options(onnxruntime, Settings(optimisation="off"), 1)
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "run")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    session.run(None, {"image": np.zeros((1, 16, 16, 3), np.uint8)})
    nodes = providers.nodes_of(Path(session.end_profiling()))
    assert nodes["CPUExecutionProvider"]["MatMul"] == 2
    assert sum(nodes["CPUExecutionProvider"].values()) == len(colour_model().graph.node)


CUDA_EP, CPU_EP = PROVIDERS[names.CUDA], PROVIDERS[names.CPU]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ({CUDA_EP: {"Conv": 3, "Add": 1}}, None),
        ({CUDA_EP: {"Conv": 3}, CPU_EP: {"Shape": 1, "Gather": 2}}, None),
        ({CUDA_EP: {"Add": 3}, CPU_EP: {"QLinearConv": 2, "Gemm": 1}}, "Gemm, QLinearConv on CPUExecutionProvider"),
        ({CUDA_EP: {"Conv": 9}, CPU_EP: {"FusedMatMul": 1}}, "not all layers: FusedMatMul"),
        ({CPU_EP: {"Conv": 3}}, "no node of the graph"),
        ({}, "no node of the graph"),
    ],
)
def test_a_layer_under_another_provider_is_an_error(nodes: dict[str, dict[str, int]], said: str | None) -> None:
    counted = {provider: Counter(found) for provider, found in nodes.items()}
    if said is None:
        providers.check_nodes(names.CUDA, counted)
        return
    with pytest.raises(TargetError, match=said):
        providers.check_nodes(names.CUDA, counted)


class OnlyTheCpus(onnxruntime.InferenceSession):
    """onnxruntime-gpu where CUDA's libraries do not load: its own session, which the CPU's provider runs."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more | {"providers": ["CPUExecutionProvider"]})


class Liar(OnlyTheCpus):
    def get_providers(self) -> list[str]:
        return [CUDA_EP, CPU_EP]


def with_cuda(monkeypatch: pytest.MonkeyPatch, session: type) -> None:
    """onnxruntime as a GPU build shows itself, with such a session."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA_EP, CPU_EP])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    said = "Failed to load libcublasLt.so.13: no file\nmore"
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print(said), raising=False)  # of 1.21


def test_cuda_that_became_the_cpu_is_an_error_that_names_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(colour_model(), tmp_path / "model.onnx")
    with_cuda(monkeypatch, OnlyTheCpus)
    with pytest.raises(TargetError, match=r"started CPUExecutionProvider \(Failed to load libcublasLt\.so\.13"):
        Graph(tmp_path / "model.onnx", provider=names.CUDA)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("words", ["graph capture feature", "CUDA Graph feature"])
def test_a_graph_that_cannot_be_recorded_is_told_to_be_run_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    class Refusing(onnxruntime.InferenceSession):
        def __init__(self, *_: Any, **__: Any) -> None:
            raise RuntimeError(f"FAIL : This session cannot use the {words} as requested by the user")

    onnx.save(colour_model(), tmp_path / "model.onnx")
    with_cuda(monkeypatch, Refusing)
    settings = Settings(io_binding=True, cuda_graph=True)
    with pytest.raises(TargetError, match="as requested by the user") as caught:
        Graph(tmp_path / "model.onnx", provider=names.CUDA, settings=settings)
    assert caught.value.todo.startswith("Set cuda_graph = false in the profile's [runtime]")


def test_a_provider_that_is_listed_but_computes_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(colour_model(), tmp_path / "model.onnx")
    with_cuda(monkeypatch, Liar)
    with pytest.raises(TargetError, match="but ran no node of the graph"):
        Session(tmp_path / "model.onnx", provider=names.CUDA)


def test_tf32_is_off_for_good_in_our_own_programs_alone() -> None:
    program = (
        "import os, runpy, sys\nsys.argv = ['run', 'doctor', '--bundle', 'none']\n"
        "from edgedistill.targets import ort, providers\nassert 'off in matrix' in providers.tf32('onnxruntime-cuda')\n"
        "try:\n    runpy.run_module('edgedistill.targets.run', run_name='__main__')\nexcept SystemExit:\n    pass\n"
        "print(os.environ[providers.TF32], *map(providers.tf32, ('onnxruntime-cuda', 'onnxruntime-cpu')))"
    )
    environment = {key: value for key, value in os.environ.items() if key != providers.TF32}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 off None"


def test_where_the_profile_is_read_from_is_json_of_any_kind_of_event(tmp_path: Path) -> None:
    events = [
        {"cat": "Session", "name": "model_run", "args": {}},
        {"cat": "Node", "name": "a_fence_before", "args": {"op_name": "Conv", "provider": CPU_EP}},
        {"cat": "Node", "name": "a_kernel_time", "args": {"op_name": "Conv", "provider": CUDA_EP}},
        {"cat": "Node", "name": "b_kernel_time", "args": {"op_name": "MemcpyToHost"}},
        {"cat": "Kernel", "name": "sgemm"},
    ]
    (tmp_path / "run.json").write_text(json.dumps(events))
    assert providers.nodes_of(tmp_path / "run.json") == {CUDA_EP: Counter(Conv=1)}
