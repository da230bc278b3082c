"""TensorRT's Python module as far as targets/ uses it, in three versions, without TensorRT.

Each class has exactly the public names that this version's own bindings have (tensorrt_names.json, written by
tools/tensorrt_names.py), and the enums their numbers: what a version has removed is not there, what nobody has written
a stand-in for raises NotImplementedError, and no other attribute can be set.

The parser reads the ONNX file with onnx; a plan is JSON about how it was built; an engine runs fake_cudart.c's kernel.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx

NAMES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("tensorrt_names.json").read_text())
VERSIONS = tuple(NAMES)


@dataclass
class Board:
    """What the machine is like. memory_mb: a build with a larger workspace runs out of it; dla: layers that its DLA
    takes; fails: every run of an engine does; starts: whether CUDA does."""

    memory_mb: int = 1 << 20
    dla_cores: int = 0
    dla: tuple[str, ...] = ()
    fails: bool = False
    starts: bool = True
    builds: list[dict[str, Any]] = field(default_factory=list)


def module(version: str, kernel: Any = None, board: Board | None = None) -> Any:
    """A module of that version. kernel: fake_cudart.c's fake_kernel, for engines that run."""
    board = board or Board()
    names = NAMES[version]
    enums = {kind: IntEnum(kind, found) for kind, found in names.items() if isinstance(found, dict)}
    severity = enums.pop("ILogger.Severity")
    trt = SimpleNamespace(__name__="tensorrt", __version__=version, **enums)

    def held(kind: str) -> Callable[[type], type]:
        def decorate(own: type) -> type:
            setattr(trt, kind, _held_to(names[kind], own))
            return getattr(trt, kind)

        return decorate

    def start_cuda(logger: Any) -> None:
        """What pybind11 raises where createInferBuilder or createInferRuntime gives no object."""
        if not board.starts:
            logger.log(severity.WARNING, "Unable to determine GPU memory usage")
            logger.log(severity.WARNING, "CUDA initialization failure with error: 35.\nPlease check your CUDA")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    @held("ILogger")
    class ILogger:
        Severity = severity

        def __init__(self, *_: Any) -> None: ...

        def log(self, severity: Any, message: str) -> None:
            raise NotImplementedError

    @held("IHostMemory")
    class IHostMemory:
        def __init__(self, data: bytes) -> None:
            self._data = data

        def __bytes__(self) -> bytes:
            return self._data

    @held("ITensor")
    class ITensor:
        def __init__(self, name: str, shape: tuple[int, ...]) -> None:
            self._name, self._shape = name, shape

        name = property(lambda self: self._name)
        shape = property(lambda self: self._shape)

    @held("ILayer")
    class ILayer:
        def __init__(self, kind: str) -> None:
            self._kind = kind

    @held("INetworkDefinition")
    class INetworkDefinition:
        def __init__(self, flags: int) -> None:
            self._flags = flags
            self._layers: list[Any] = []
            self._inputs: list[Any] = []

        def get_input(self, index: int) -> Any:
            return self._inputs[index]

        def get_layer(self, index: int) -> Any:
            return self._layers[index]

        num_layers = property(lambda self: len(self._layers))

    @held("ParserError")
    class ParserError:
        def __init__(self, words: str) -> None:
            self._words = words

        def desc(self) -> str:
            return self._words

    @held("OnnxParser")
    class OnnxParser:
        def __init__(self, network: Any, logger: Any) -> None:
            self._network = network
            self._errors: list[Any] = []

        def parse(self, data: bytes) -> bool:
            try:
                graph = onnx.load_from_string(data).graph
            except Exception as error:  # noqa: BLE001 - protobuf's own kinds of error differ between its versions
                self._errors = [trt.ParserError(f"cannot read\nthe model: {error}")]
                return False
            for value in graph.input:
                shape = tuple(axis.dim_value or -1 for axis in value.type.tensor_type.shape.dim)
                self._network._inputs.append(trt.ITensor(value.name, shape))
            self._network._layers.extend(trt.ILayer(node.op_type) for node in graph.node)
            return True

        def get_error(self, index: int) -> Any:
            return self._errors[index]

        num_errors = property(lambda self: len(self._errors))

    @held("ITimingCache")
    class ITimingCache:
        def __init__(self, data: bytes) -> None:
            self._data = data

        def serialize(self) -> Any:
            return trt.IHostMemory(self._data)

    @held("IOptimizationProfile")
    class IOptimizationProfile:
        def __init__(self) -> None:
            self._shapes: dict[str, Any] = {}

        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
            self._shapes[input] = [list(min), list(opt), list(max)]

    @held("IBuilderConfig")
    class IBuilderConfig:
        def __init__(self) -> None:
            self._flags = {trt.BuilderFlag.TF32}  # its default
            self._limits: dict[str, int] = {}
            self._profiles: list[Any] = []
            self._cache: Any = None
            self._taken = b""

        default_device_type: Any = None
        DLA_core: Any = -1

        def set_flag(self, flag: Any) -> None:
            self._flags.add(trt.BuilderFlag(flag))

        def clear_flag(self, flag: Any) -> None:
            self._flags.discard(trt.BuilderFlag(flag))

        def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
            self._limits[trt.MemoryPoolType(pool).name] = pool_size

        def add_optimization_profile(self, profile: Any) -> int:
            self._profiles.append(profile)
            return len(self._profiles) - 1

        def can_run_on_DLA(self, layer: Any) -> bool:
            return layer._kind in board.dla

        def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
            return trt.ITimingCache(bytes(serialized_timing_cache))

        def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
            if cache._data and not ignore_mismatch and not cache._data.startswith(f"timings of {version}".encode()):
                return False
            self._cache, self._taken = cache, cache._data
            return True

        def get_timing_cache(self) -> Any:
            return self._cache

    @held("Builder")
    class Builder:
        def __init__(self, logger: Any) -> None:
            start_cuda(logger)
            self._logger = logger

        num_DLA_cores = property(lambda self: board.dla_cores)

        def create_network(self, flags: int = 0) -> Any:
            return trt.INetworkDefinition(flags)

        def create_builder_config(self) -> Any:
            return trt.IBuilderConfig()

        def create_optimization_profile(self) -> Any:
            return trt.IOptimizationProfile()

        def build_serialized_network(self, network: Any, config: Any) -> Any:
            workspace = config._limits.get("WORKSPACE", 1 << 40)
            shape = network._inputs[0].shape
            plan = {
                "version": version,
                "batch": shape[0],
                "size": shape[1],
                "workspace_mb": workspace >> 20,
                "flags": sorted(flag.name for flag in config._flags),
                "strongly_typed": bool(network._flags >> trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED & 1),
                "profiles": [profile._shapes for profile in config._profiles],
                "dla_core": config.DLA_core,
                "device": None if config.default_device_type is None else config.default_device_type.name,
                "timings": config._taken.decode(),
            }
            board.builds.append(plan)
            if shape[0] == -1 and not config._profiles:
                self._logger.log(severity.ERROR, "Network has dynamic inputs, but no optimization profile")
                return None
            if workspace >> 20 > board.memory_mb:
                self._logger.log(severity.ERROR, "Error Code 2: OutOfMemory (Requested size was 1 bytes.)")
                return None
            if config._cache is not None:
                config._cache._data = f"timings of {version}, all".encode()
            return trt.IHostMemory(json.dumps(plan).encode())

    @held("IExecutionContext")
    class IExecutionContext:
        """Runs the stand-in kernel on whatever addresses it was given, as an engine does."""

        def __init__(self, engine: Any) -> None:
            self._engine = engine
            self._addresses: dict[str, int] = {}
            self._count = max(engine._plan["batch"], 1)

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._addresses[name] = memory
            return True

        def set_input_shape(self, name: str, shape: Iterable[int]) -> bool:
            self._count = next(iter(shape))
            return name == "image" and 1 <= self._count <= 64

        def execute_async_v3(self, stream_handle: int) -> bool:
            assert stream_handle
            if board.fails:
                self._engine._logger.log(severity.ERROR, "kernel failed")
                return False
            names = ("image", "probabilities", "embedding", "known")
            addresses = [ctypes.c_void_p(self._addresses[name]) for name in names]
            kernel(*addresses, self._count, self._engine._plan["size"] ** 2)
            return True

    @held("ICudaEngine")
    class ICudaEngine:
        def __init__(self, plan: dict[str, Any], logger: Any) -> None:
            self._plan, self._logger = plan, logger
            batch, size = plan["batch"], plan["size"]
            shapes = {"probabilities": (batch, 3), "image": (batch, size, size, 3), "known": (batch,)}
            self._shapes = {**shapes, "embedding": (batch, 3)}

        num_io_tensors = property(lambda self: len(self._shapes))

        def get_tensor_name(self, index: int) -> str:
            return list(self._shapes)[index]

        def get_tensor_dtype(self, name: str) -> Any:
            return trt.DataType[self._plan.get("dtypes", {}).get(name, "UINT8" if name == "image" else "FLOAT")]

        def get_tensor_mode(self, name: str) -> Any:
            return trt.TensorIOMode.INPUT if name == "image" else trt.TensorIOMode.OUTPUT

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return self._shapes[name]

        def create_execution_context(self) -> Any:
            return trt.IExecutionContext(self)

    @held("Runtime")
    class Runtime:
        def __init__(self, logger: Any) -> None:
            start_cuda(logger)
            self._logger = logger

        DLA_core: Any = -1

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
            try:
                plan = json.loads(serialized_engine)
            except ValueError:
                plan = {}
            if plan.get("version") != version or plan["dla_core"] != self.DLA_core:
                self._logger.log(severity.ERROR, "the plan was built by another version")
                return None
            return trt.ICudaEngine(plan, self._logger)

    assert set(vars(trt)) >= set(names) - {"ILogger.Severity"}
    return trt


def _held_to(names: list[str], own: type) -> type:
    """`own` with exactly these public names."""

    def unwritten(name: str) -> property:
        def access(self: Any, *_: Any) -> Any:
            raise NotImplementedError(f"the stand-in of {own.__name__} has no {name}")

        return property(access, access)

    def set_known(self: Any, name: str, value: Any) -> None:
        if not (name.startswith("_") or name in names):
            raise AttributeError(f"{own.__name__} has no attribute {name!r}")
        object.__setattr__(self, name, value)

    for name in [name for name in vars(own) if not name.startswith("_") and name not in names]:
        delattr(own, name)
    for name in names:
        if name not in vars(own):
            setattr(own, name, unwritten(name))
    # A logger is derived from, and what is derived may have what it likes.
    if own.__name__ != "ILogger":
        own.__setattr__ = set_known  # type: ignore[assignment, method-assign]
    return own
