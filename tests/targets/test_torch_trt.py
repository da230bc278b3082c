"""torch-tensorrt without a GPU: the student is really built, exported, saved and loaded by torch, on the processor.

In TensorRT's place stands a torch_tensorrt with the calls of its documentation, by the names that 2.8.0's and 2.13.0's
wheels give their arguments, that leaves every operator as it is. That an engine compiles and is fast is not claimed.
"""

from __future__ import annotations

import json
import sys
from operator import getitem
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from edgedistill.classes.class_vectors import ClassVectors
from edgedistill.classes.templates import Templates
from edgedistill.distil.student import Student
from edgedistill.distil.student_files import load_student, save_student
from edgedistill.export.graph import BakedClassifier
from edgedistill.export.models import run_torch
from edgedistill.profiles import load_profile
from edgedistill.targets import runtimes, torch_trt, trt_sidecar
from edgedistill.targets.atomic import sha256_file
from edgedistill.targets.errors import TargetError
from edgedistill.targets.manifest import Manifest
from edgedistill.targets.trt_sidecar import Options, sidecar_of

SIZE, DIM, NAME = 32, 24, "test_resnet"
OPTIONS = Options(workspace_mb=64)
NAMES = ("bolt", "nut", "gear")


def vectors() -> ClassVectors:
    drawn = np.random.default_rng(0).normal(size=(len(NAMES), DIM)).astype(np.float32)
    unit = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    templates = Templates("one", ("a photo of a {}.",))
    return ClassVectors(-unit, unit, np.ones(1), "uniform", "none", 40.0, NAMES, templates)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three files of a bundle's student, as the workshop writes them."""
    folder = tmp_path_factory.mktemp("student")
    torch.manual_seed(0)
    made = Student(NAME, DIM, size=SIZE)
    made.train()
    made(torch.randint(0, 256, (8, SIZE, SIZE, 3), dtype=torch.uint8))  # BatchNorm statistics of its own
    save_student(folder, made.eval(), teacher_id="teacher", teacher_hash="hash", size=SIZE, half=True)
    vectors().save(folder)
    return folder


@pytest.fixture
def manifest(student: Path, tmp_path: Path) -> Manifest:
    for name in torch_trt.SOURCES:
        (tmp_path / name).write_bytes((student / name).read_bytes())
    return sealed(tmp_path)


def sealed(folder: Path) -> Manifest:
    files = {name: sha256_file(folder / name) for name in torch_trt.SOURCES}
    labels = [{"name": name} for name in NAMES]
    profile = load_profile("cuda").to_json()
    data = {"files": files, "labels": labels, "preprocessing": {"size": SIZE}, "profile": profile}
    return Manifest(folder, "", data)


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def expected(manifest: Manifest, images: np.ndarray, *, half: bool = False) -> dict[str, np.ndarray]:
    """What the workshop's own module answers, which the ONNX graphs are exported from."""
    loaded, kept = load_student(manifest.path, dim=DIM, teacher_hash="hash", size=SIZE)
    assert kept
    return run_torch(BakedClassifier(loaded, vectors().baked, 40.0, size=SIZE, half=half), images)


class FakeEngines:
    """torch_tensorrt.dynamo as 2.13's. `left`: operators that it leaves to torch; `error`: what it raises."""

    def __init__(self, left: tuple[Any, ...] = (), error: Exception | None = None) -> None:
        self.left, self.error, self.seen = left, error, {}

    def compile(
        self,
        exported_program: Any,
        inputs: Any = None,
        *,
        arg_inputs: Any = None,
        disable_tf32: bool = False,
        workspace_size: int = 0,
        min_block_size: int = 5,
    ) -> Any:
        if self.error is not None:
            raise self.error
        self.seen = {"disable_tf32": disable_tf32, "workspace_size": workspace_size, "min_block_size": min_block_size}
        made = partitioned(self.left)
        made.program = exported_program
        return made


def partitioned(left: tuple[Any, ...]) -> torch.fx.GraphModule:
    """What `dynamo.compile` gives back, as its fast partitioner leaves it: engines, which are no graphs, and a graph
    below the outer one for what stays in torch."""
    below = torch.fx.Graph()
    value = below.placeholder("x")
    for operator in left:
        value = below.call_function(operator, (value,))
    below.output((value,))
    parts = torch.nn.Module()
    parts.add_module("_run_on_acc_0", torch.nn.Identity())
    parts.add_module("_run_on_gpu_1", torch.fx.GraphModule(torch.nn.Module(), below))
    outer = torch.fx.Graph()
    value = outer.call_module("_run_on_acc_0", (outer.placeholder("image"),))
    if left:
        value = outer.call_module("_run_on_gpu_1", (value,))
    outer.output(outer.call_function(getitem, (value, 0)))
    return torch.fx.GraphModule(parts, outer)


class FakeEngines28(FakeEngines):
    """As 2.8's, which types strongly when told."""

    def compile(self, exported_program: Any, *, use_explicit_typing: bool = False, **more: Any) -> Any:  # type: ignore[override]
        made = super().compile(exported_program, **more)
        self.seen["use_explicit_typing"] = use_explicit_typing
        return made


def save(module: Any, file_path: str = "", *, output_format: str = "exported_program", arg_inputs: Any = None) -> None:
    torch.export.save(module.program, file_path)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    """torch_tensorrt as a module that can be imported."""
    module = ModuleType("torch_tensorrt")
    module.__dict__.update(__version__="2.13.0", dynamo=FakeEngines(), save=save, load=torch.export.load)
    monkeypatch.setitem(sys.modules, "torch_tensorrt", module)
    return module


def compiled(manifest: Manifest, library: Any, precision: str = "fp32") -> Path:
    path = manifest.path / "engines" / f"{precision}-torch-tensorrt.pt2"
    torch_trt.compile(manifest, precision, path, torch, library, OPTIONS, device="cpu")
    return path


def test_the_module_is_the_one_that_the_graphs_are_exported_from(manifest: Manifest) -> None:
    images = pixels(5)
    module = torch_trt.classifier(manifest, "fp32", torch).eval()
    with torch.inference_mode():
        got = module(torch.from_numpy(images))
    for value, wanted in zip(got, expected(manifest, images).values()):
        assert value.numpy() == pytest.approx(wanted, abs=2e-5)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"kwargs": {"pretrained": True, "pretrained_cfg": {"url": "http://127.0.0.1/x"}}}, "kwargs.pretrained is not"),
        ({"kwargs": {"checkpoint_path": "/etc/passwd"}}, "kwargs.checkpoint_path is not"),
        ({"kwargs": []}, "kwargs is not a table"),
        ({"name": "local-dir:/etc"}, "name is 'local-dir:/etc'"),
        ({"preprocessing": {"mean": [0, 0, "x"], "std": [1, 1, 1], "size": SIZE}}, "does not describe a student"),
        ({"projector": {"depth": 2, "hidden": -1, "dim": DIM}}, "does not describe a student"),
    ],
)
def test_a_card_that_asks_for_more_than_a_network_is_refused(
    manifest: Manifest, changed: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    monkeypatch.setattr(timm, "create_model", None)
    path = manifest.path / "student.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(TargetError, match=says):
        torch_trt.classifier(sealed(manifest.path), "fp32", torch)


def test_a_network_that_its_arguments_leave_without_layers_is_an_error(manifest: Manifest) -> None:
    path = manifest.path / "student.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": "resnet10t", "kwargs": {"channels": [8]}}))
    with pytest.raises(TargetError, match=f"resnet10t does not run on {SIZE} px images"):
        torch_trt.classifier(sealed(manifest.path), "fp32", torch)


def test_half_is_backbone_and_projector_alone(manifest: Manifest) -> None:
    module = torch_trt.classifier(manifest, "fp16", torch).eval()
    assert {p.dtype for p in module.network.parameters()} == {torch.float16}
    assert module.class_vectors.dtype == torch.float32
    images = pixels(2)
    with torch.inference_mode():
        got = module(torch.from_numpy(images))
    assert [value.dtype for value in got] == [torch.float32] * 3
    assert got[1].numpy() == pytest.approx(expected(manifest, images)["embedding"], abs=5e-3)


def test_compiled_saved_and_loaded_it_answers_any_number_of_images(manifest: Manifest, library: Any) -> None:
    session = torch_trt.Session(compiled(manifest, library), SIZE, device="cpu")
    session.warm_up(0)
    images = pixels(3)
    for got, wanted in zip(session.run(images), expected(manifest, images).values()):
        assert got == pytest.approx(wanted, abs=2e-5)
        assert got.dtype == np.float32
    assert [len(array) for array in session.run(images[:0])] == [0, 0, 0]
    assert (session.describe()["name"], session.describe()["version"]) == ("torch-tensorrt", "2.13.0")
    with pytest.raises(TargetError, match=r"takes uint8 \[N, 32, 32, 3\]"):
        session.run(images[:, 1:])
    session.close()


def test_it_is_compiled_without_tf32_in_the_profiles_workspace(manifest: Manifest, library: Any) -> None:
    compiled(manifest, library)
    assert library.dynamo.seen == {"disable_tf32": True, "workspace_size": 64 << 20, "min_block_size": 1}
    library.dynamo = FakeEngines28()
    compiled(manifest, library)
    assert library.dynamo.seen["use_explicit_typing"] is True


def test_a_layer_that_is_left_to_torch_is_an_error_and_a_cast_is_told(manifest: Manifest, library: Any) -> None:
    library.dynamo = FakeEngines((torch.ops.aten._to_copy.default, torch.ops.aten.convolution.default))
    with pytest.raises(TargetError, match=r"leaves layers to torch: aten\.convolution\.default"):
        compiled(manifest, library)
    assert not (manifest.path / "engines").exists()
    library.dynamo = FakeEngines((torch.ops.aten._to_copy.default,))
    sidecar = json.loads(sidecar_of(compiled(manifest, library)).read_text())
    assert sidecar["left_to_torch"] == ["aten._to_copy.default"]


def test_any_error_of_torch_tensorrt_becomes_two_lines(manifest: Manifest, library: Any) -> None:
    library.dynamo = FakeEngines(error=Exception("a long story\nCould not find libnvinfer.so.11"))
    with pytest.raises(TargetError, match=r"cannot compile fp32 of .*: Could not find libnvinfer\.so\.11"):
        compiled(manifest, library)


def test_a_program_is_stale_once_anything_it_was_made_for_differs(
    manifest: Manifest, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(options: Options = OPTIONS, precision: str = "fp32") -> str | None:
        return torch_trt.why_stale(manifest, precision, path, torch, library, options)

    path = manifest.path / "engines" / "fp32-torch-tensorrt.pt2"
    assert stale() == "there is none yet"
    compiled(manifest, library)
    assert stale() is None
    assert stale(Options(workspace_mb=32)) == "workspace_mb was 64 and is 32"
    assert stale(precision="fp16") == "precision was 'fp32' and is 'fp16'"
    library.__version__ = "2.14.0"
    told = f"version was '2.13.0, torch {torch.__version__}' and is '2.14.0, torch {torch.__version__}'"
    assert stale() == told
    library.__version__ = "2.13.0"
    sidecar = sidecar_of(path)
    kept = sidecar.read_text()
    for key, value in (("multiprocessors", 8), ("board_module", "p3767-0003"), ("sources", {})):
        sidecar.write_text(json.dumps({**json.loads(kept), key: value}))
        monkeypatch.setattr(trt_sidecar, "board_module", lambda: "p3767-0000")
        assert (stale() or "").startswith(f"{key} was {value!r} and is ")
    sidecar.write_text("{")
    assert "is not valid JSON" in (stale() or "")  # so it is compiled again
    sidecar.write_text(kept)
    path.write_bytes(path.read_bytes() + b"x")
    assert stale() == "its content is not what was built"


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_a_precision_that_it_does_not_have_is_an_error(manifest: Manifest, precision: str) -> None:
    with pytest.raises(TargetError, match=f"has no {precision}"):
        torch_trt.classifier(manifest, precision, torch)


def test_weights_beyond_half_are_not_made_infinite(manifest: Manifest, student: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(student / "student.safetensors")
    name = next(name for name in state if name.endswith("running_var"))
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    state[name] = state[name] + 1e6
    save_file(state, manifest.path / "student.safetensors")
    with pytest.raises(TargetError, match=f"{name} does not fit in half"):
        torch_trt.classifier(sealed(manifest.path), "fp16", torch)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("student.json", b"{}", "has no 'projector'"),
        ("student.safetensors", b"damaged", "is damaged"),
        ("class_vectors.safetensors", b"damaged", "is damaged"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(
    manifest: Manifest, name: str, content: bytes, said: str
) -> None:
    (manifest.path / name).write_bytes(content)
    with pytest.raises(TargetError, match=f"{name}.*{said}"):
        torch_trt.classifier(sealed(manifest.path), "fp32", torch)
    with pytest.raises(TargetError, match="is not the file that was built"):
        torch_trt.classifier(manifest, "fp32", torch)


def test_where_it_is_not_installed_or_does_not_load_the_two_lines_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    error = runtimes.problem("torch-tensorrt")
    assert error is not None
    assert "torch_tensorrt cannot be imported" in error.wrong
    monkeypatch.delitem(sys.modules, "torch_tensorrt")
    (tmp_path / "torch_tensorrt.py").write_text("raise Exception('import error, got error libnvinfer.so.11')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    error = runtimes.problem("torch-tensorrt")
    assert error is not None
    assert "libnvinfer.so.11" in error.wrong
