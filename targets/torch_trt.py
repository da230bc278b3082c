"""torch-tensorrt: builds the student again in torch, compiles it on the board it will run on, and runs it.

Where every other runtime reads the bundle's ONNX files, this one reads student.json, student.safetensors and
class_vectors.safetensors, and the graph is written down here a second time (`classifier`). Its runtime is torch;
compiling needs timm and safetensors too, running does not. Calls are those of torch-tensorrt 2.8 to 2.14's
documentation of `torch_tensorrt.dynamo.compile`, `save` and `load`; precision lies in the module, which TensorRT takes
as it is (strongly typed), as in `trt.py`.

A program fits one torch, torch-tensorrt, board and bundle: the sidecar beside it (trt_sidecar.py) says which, and any
difference means compiling again. It is made and read on this machine alone, and read only where its hash is the
sidecar's.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from .error_lines import first_line, last_line
from .errors import TargetError
from .head import read_head
from .manifest import Manifest, read_json
from .names import TORCH_TENSORRT
from .outside import read_bytes
from .printable import line
from .safetensors_header import read_header
from .session import OUTPUTS, Outputs, check_images, keep_busy, run_in_batches
from .student_network import why_not
from .trt_sidecar import Options, Place, seal, this_place, why_unsealed

log = logging.getLogger(__name__)

MOST_WEIGHTS = 8 << 30  # bytes of a student's

_WIDEST = 65536  # of a layer, and of an image

SOURCES = ("student.json", "student.safetensors", "class_vectors.safetensors")
PRECISIONS = ("fp32", "fp16")
# ATen's names of what has weights. Casts and the like may stay in torch: a layer may not.
_LAYERS = ("convolution", "conv2d", "linear", "addmm", "matmul", "aten.mm", "bmm", "attention")


def load_torch_tensorrt() -> tuple[Any, Any]:
    """(torch, torch_tensorrt). Where TensorRT's library is missing, torch-tensorrt raises a bare Exception, and beside
    a torch without CUDA an AssertionError: all of them become TargetError."""
    try:
        import torch_tensorrt

        torch = importlib.import_module("torch")  # after it: where that is missing, torch is not loaded for nothing
    except Exception as error:
        raise TargetError(
            f"torch_tensorrt cannot be imported: {first_line(error)}",
            "In an environment of its own: pip install torch-tensorrt. It needs CUDA, one exact torch and TensorRT.",
        ) from error
    return torch, torch_tensorrt


def program_of(manifest: Manifest, precision: str, *, again: bool = False) -> Path:
    """The path of this precision's compiled program, made now if there is none that fits this machine (or `again`)."""
    torch, torch_tensorrt = load_torch_tensorrt()
    program = manifest.place(f"engines/{precision}-{TORCH_TENSORRT}.pt2")
    options = Options(workspace_mb=(manifest.profile.get("engine") or {}).get("workspace_mb"))
    stale = "asked for" if again else why_stale(manifest, precision, program, torch, torch_tensorrt, options)
    if stale is not None:
        log.warning("compiling %s (%s); this can take minutes", program, stale)
        compile(manifest, precision, program, torch, torch_tensorrt, options)
    return program


def compile(
    manifest: Manifest,
    precision: str,
    program: Path,
    torch: Any,
    torch_tensorrt: Any,
    options: Options,
    *,
    device: str = "cuda",
) -> dict[str, Any]:
    """Compile the student for this GPU, one image a call, and write `program` and its sidecar; returns the sidecar.

    Raises TargetError with torch-tensorrt's own words, and where a layer is left to torch.
    """
    began = perf_counter()
    module = classifier(manifest, precision, torch).eval().to(device)
    example = torch.zeros((1, manifest.size, manifest.size, 3), dtype=torch.uint8).to(device)
    try:
        exported = torch.export.export(module, (example,))
        made = torch_tensorrt.dynamo.compile(
            exported, arg_inputs=[example], **_options(torch_tensorrt.dynamo.compile, options.workspace_mb)
        )
    except Exception as error:  # what it raises has no common base, some of it is a bare Exception
        raise _told(f"torch-tensorrt cannot compile {precision} of {manifest.path}", error) from error
    left = left_to_torch(made, torch)
    if layers := sorted({name for name in left if any(layer in name for layer in _LAYERS)}):
        raise TargetError(
            f"torch-tensorrt leaves layers to torch: {', '.join(layers)}", "Name another --runtime for this student."
        )
    program.parent.mkdir(parents=True, exist_ok=True)
    partial = program.with_name(f".{program.name}.part")
    try:
        torch_tensorrt.save(made, str(partial), output_format="exported_program", arg_inputs=[example])
        os.replace(partial, program)
    except Exception as error:
        raise _told(f"torch-tensorrt cannot save {program}", error) from error
    finally:
        partial.unlink(missing_ok=True)
    built = {"left_to_torch": left, "compile_seconds": round(perf_counter() - began, 1)}
    return seal(program, _made_from(manifest, precision), _place(torch, torch_tensorrt), options, built)


def _options(compile: Any, workspace_mb: int | None) -> dict[str, Any]:
    """min_block_size: also small pieces become engines, so that as little as can be is left to torch. 2.8 to 2.12 type
    strongly when told; later versions always do, and have no such word."""
    options: dict[str, Any] = {"disable_tf32": True, "min_block_size": 1}
    if "use_explicit_typing" in inspect.signature(compile).parameters:
        options["use_explicit_typing"] = True
    if workspace_mb is not None:
        options["workspace_size"] = workspace_mb << 20
    return options


def left_to_torch(compiled: Any, torch: Any) -> list[str]:
    """The operators of a compiled module that no engine took, by their names in ATen, sorted.

    They stand in graphs of their own below it, `_run_on_gpu_0` and so on, which `save` alone puts into the outer one.
    An engine's module is no graph.
    """
    graphs = [module.graph for module in compiled.modules() if isinstance(module, torch.fx.GraphModule)]
    calls = (node for graph in graphs for node in graph.nodes if node.op in ("call_function", "call_method"))
    return sorted({str(node.target) for node in calls if "getitem" not in str(node.target)})


def classifier(manifest: Manifest, precision: str, torch: Any) -> Any:
    """The module that the bundle's graphs were exported from, in this precision: uint8 [N,S,S,3] -> the three outputs.

    As in the graphs, fp16 means backbone and projector; from the projected feature on it is float32. BatchNorm is not
    folded here: TensorRT does that. Raises TargetError for a student that is not timm's, or too large for half.
    """
    if precision not in PRECISIONS:
        raise TargetError(
            f"{TORCH_TENSORRT} has no {precision}", f"Name one of {', '.join(PRECISIONS)}, or another --runtime."
        )
    card, weights = _card(manifest), _tensors(manifest, "student.safetensors")
    dtype = torch.float16 if precision == "fp16" else torch.float32
    backbone, projector = _network(card, torch)
    network = torch.nn.ModuleDict({"backbone": backbone, "projector": projector})
    state = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
    state = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise _told(f"{manifest.path / 'student.safetensors'} is not the network of its student.json", error) from error
    network.to(dtype)
    if broken := [name for name, value in network.state_dict().items() if not torch.isfinite(value).all()]:
        raise TargetError(f"{broken[0]} does not fit in half", "Name fp32, or another --runtime.")
    head = read_head(manifest)
    return _served(network, card, head.vectors, head.scale, dtype, torch)


def _served(network: Any, card: dict[str, Any], vectors: np.ndarray, scale: float, dtype: Any, torch: Any) -> Any:
    class Served(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.register_buffer("mean", torch.tensor(card["preprocessing"]["mean"])[:, None, None])
            self.register_buffer("std", torch.tensor(card["preprocessing"]["std"])[:, None, None])
            self.register_buffer("class_vectors", torch.from_numpy(np.ascontiguousarray(vectors.T)))

        def forward(self, image: Any) -> Any:
            pixels = (image.float().permute(0, 3, 1, 2) / 255 - self.mean) / self.std
            projected = self.network["projector"](self.network["backbone"](pixels.to(dtype)))
            embedding = torch.nn.functional.normalize(projected.float(), dim=-1)
            probabilities = (scale * (embedding @ self.class_vectors)).softmax(dim=-1)
            return probabilities, embedding, probabilities.amax(dim=-1)

    return Served()


def _network(card: dict[str, Any], torch: Any) -> tuple[Any, Any]:
    """(backbone, projector) with random weights. timm is needed here alone."""
    try:
        import timm
    except Exception as error:  # torchvision beside another torch ends timm's import in a RuntimeError
        raise TargetError(f"timm cannot be imported: {error}", "To compile: pip install timm safetensors") from error
    name, layout = card["name"], card["projector"]
    if not timm.is_model(name):
        raise TargetError(f"{TORCH_TENSORRT} builds timm's networks alone, not {name}", "Name another --runtime.")
    try:
        backbone = timm.create_model(name, num_classes=0, **card.get("kwargs", {}))
    except Exception as error:  # the arguments are a file's
        raise _told(f"timm {timm.__version__} cannot build {name}", error) from error
    nn, width = torch.nn, _width(backbone, card, torch)
    if layout["depth"] == 1:
        return backbone, nn.Sequential(nn.Linear(width, layout["dim"]))
    hidden = layout["hidden"]
    return backbone, nn.Sequential(
        nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, layout["dim"])
    )


def _width(backbone: Any, card: dict[str, Any], torch: Any) -> int:
    """Of its feature, by a run: timm's `num_features` is not it for every network."""
    size = card["preprocessing"]["size"]
    try:
        with torch.no_grad():
            return int(backbone.eval()(torch.zeros(1, 3, size, size)).shape[1])
    except Exception as error:  # whatever a network raises for arguments or a size that it was not made for
        raise _told(f"{card['name']} does not run on {size} px images", error) from error


def _card(manifest: Manifest) -> dict[str, Any]:
    """student.json, checked by its hash and for what is used of it."""
    path = manifest.file("student.json")
    card = read_json(path)
    try:
        layout, pixels = card["projector"], card["preprocessing"]
        sound = layout["depth"] in (1, 2) and len(pixels["mean"]) == len(pixels["std"]) == 3
        widths = (layout["dim"], layout["hidden"], pixels["size"])
        sound = sound and all(type(number) is int and 0 < number <= _WIDEST for number in widths)
        sound = sound and all(_number(value) for value in (*pixels["mean"], *pixels["std"])) and min(pixels["std"]) > 0
        problem = why_not(card["name"], card.get("kwargs", {}))
    except (KeyError, TypeError) as error:
        raise TargetError(f"{path} has no {error}", "Build the bundle again.") from error
    if not sound:
        raise TargetError(f"{path} does not describe a student", "Build the bundle again.")
    if problem:
        raise TargetError(
            f"{path}: {line(problem, 300)}",
            "Name another --runtime; where the student is one of timm's, build the bundle again.",
        )
    return card


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


def _tensors(manifest: Manifest, name: str) -> dict[str, np.ndarray]:
    path = manifest.file(name)
    try:
        from safetensors.numpy import load
    except ImportError as error:
        raise TargetError(f"safetensors cannot be imported: {error}", "pip install timm safetensors") from error
    try:
        read_header(path)
        return load(read_bytes(path, MOST_WEIGHTS))  # load_file takes no path that is not UTF-8
    except Exception as error:  # safetensors' own has no other base
        raise _told(f"{path} is damaged", error) from error


def why_stale(
    manifest: Manifest, precision: str, program: Path, torch: Any, torch_tensorrt: Any, options: Options
) -> str | None:
    """Why `program` has to be compiled (again) before it can run here, in words; None when it fits."""
    return why_unsealed(program, _made_from(manifest, precision), _place(torch, torch_tensorrt), options)


def _place(torch: Any, torch_tensorrt: Any) -> Place:
    return this_place(TORCH_TENSORRT, f"{torch_tensorrt.__version__}, torch {torch.__version__}")


def _made_from(manifest: Manifest, precision: str) -> dict[str, Any]:
    return {"precision": precision, "sources": {name: manifest.data["files"].get(name) for name in SOURCES}}


class Session:
    """One compiled program on the GPU, one image a call (see session.py for the four methods).

    size: pixels a side. device: torch's name of where it runs. Raises TargetError where it does not load or run.
    """

    def __init__(self, program: str | Path, size: int, *, device: str = "cuda") -> None:
        self._torch, torch_tensorrt = load_torch_tensorrt()
        self.size, self._device, self._version = size, device, str(torch_tensorrt.__version__)
        try:
            self._module = torch_tensorrt.load(str(program)).module()
        except Exception as error:
            raise _told(f"torch-tensorrt {self._version} cannot load {program}", error) from error
        black = self._call(np.zeros((1, size, size, 3), np.uint8))
        self._empty = Outputs(*(array[:0] for array in black))

    def run(self, images: np.ndarray) -> Outputs:
        """uint8 [N,S,S,3] RGB -> Outputs, by a call an image."""
        check_images(images, self.size)
        return run_in_batches(images, 1, self._call) if len(images) else self._empty

    def warm_up(self, seconds: float) -> None:
        """Run on black images for `seconds`, at least three times."""
        keep_busy(self.size, 1, self._call, seconds)

    def describe(self) -> dict[str, Any]:
        """name, version, provider, threads, and the torch it runs in."""
        return {
            "name": TORCH_TENSORRT,
            "version": self._version,
            "provider": "TensorRT",
            "threads": None,
            "torch": str(self._torch.__version__),
        }

    def close(self) -> None:
        """Free the model, and what torch keeps of its memory on the GPU."""
        self._module = None
        self._torch.cuda.empty_cache()

    def _call(self, images: np.ndarray) -> Outputs:
        torch = self._torch
        try:
            with torch.inference_mode():
                found = self._module(torch.from_numpy(np.ascontiguousarray(images)).to(self._device))
                arrays = [value.float().cpu().numpy() for value in found]  # waits for the GPU
        except Exception as error:
            raise _told("torch-tensorrt failed", error) from error
        if len(arrays) != len(OUTPUTS):
            raise TargetError(f"the program gives {len(arrays)} outputs", "Compile it again: python run.py compile")
        return Outputs(*arrays)


def _told(what: str, error: Exception) -> TargetError:
    """torch's errors in our two lines: the last line of a long message is the one that says what happened."""
    return TargetError(
        f"{what}: {last_line(error)}", "`python run.py doctor` says what is here, nvidia-smi what is in use."
    )
