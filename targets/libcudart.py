"""Which libcudart: the one that this process already uses or that lies beside TensorRT, not the first that loads.

A machine may have several: a toolkit's, a wheel's, JetPack's. One that is newer than the driver loads and then fails at
its first call, so the versions are compared, and the next one is tried.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterable, Iterator
from ctypes import byref, c_int
from pathlib import Path

from .errors import TargetError

# Whose libcudart is asked for: TensorRT (also RTX), or a GPU provider of onnxruntime.
_RUNTIMES = ("libnvinfer.so", "libtensorrt_rtx.so", "libonnxruntime_providers_cuda.so")


def open_library(needed: Iterable[str], names: Iterable[str] | None = None) -> ctypes.CDLL:
    """The first of `names` (by default `candidates()`) that loads, has every function in `needed`, and is not of a
    newer major version of CUDA than the driver. TargetError says what is wrong with those that were tried.

    Within a major version any pair works ("minor version compatibility" in NVIDIA's CUDA Compatibility guide).
    """
    needed = tuple(needed)
    tried = []
    for name in candidates() if names is None else names:
        try:
            library = ctypes.CDLL(name)
        except OSError as error:
            tried.append(str(error) if name in str(error) else f"{name}: {error}")
            continue
        problem = _problem(library, needed)
        if problem is None:
            return library
        tried.append(f"{name}: {problem}")
    raise TargetError(
        f"no CUDA runtime library that works here: {'; '.join(tried) or 'none found'}",
        "Install the CUDA runtime that TensorRT came with (libcudart), or run in NVIDIA's container.",
    )


def candidates(
    maps: Path = Path("/proc/self/maps"), path: Iterable[str] | None = None, toolkits: Path = Path("/usr/local")
) -> Iterator[str]:
    """Files and names to try, the likeliest first, each once: what this process has loaded, what lies beside its
    runtime, the loader's own, then what pip and toolkits put on this machine.

    maps: the process's memory map; path: folders with packages (sys.path); toolkits: the folder of cuda-12.6 and such.
    """
    folders = [Path(folder or ".") for folder in (sys.path if path is None else path)]
    loaded = _loaded(maps)
    seen = set()
    for name in _in_order(loaded, folders, toolkits):
        if name not in seen:
            seen.add(name)
            yield name


def _in_order(loaded: list[Path], folders: list[Path], toolkits: Path) -> Iterator[str]:
    yield from (str(path) for path in loaded if path.name.startswith("libcudart.so"))
    for runtime in loaded:
        if runtime.name.startswith(_RUNTIMES):
            yield from _copies(runtime.parent, "libcudart.so*")
            # A wheel's library lies in site-packages/tensorrt_libs, CUDA's in site-packages/nvidia/*/lib.
            yield from _wheels(runtime.parent.parent)
    yield from ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0")
    for folder in folders:
        yield from _wheels(folder)
    yield from _copies(toolkits, "cuda*/lib64/libcudart.so*")  # the plain name belongs to the package for developers


def _wheels(folder: Path) -> Iterator[str]:
    """The copies of nvidia-cuda-runtime (CUDA 13: nvidia/cu13) and nvidia-cuda-runtime-cu12 (nvidia/cuda_runtime); the
    one for which TensorRT's wheel in the same folder was made comes first."""
    made_for = {
        match.group() for path in folder.glob("tensorrt*cu1*.dist-info") for match in [_CUDA.search(path.name)] if match
    }
    found = sorted(_copies(folder, "nvidia/c*/lib/libcudart.so.*"))
    yield from sorted(found, key=lambda name: ("cu13" if "/cu13/" in name else "cu12") not in made_for)


_CUDA = re.compile(r"cu1\d")


def _copies(folder: Path, pattern: str) -> list[str]:
    try:
        return sorted(map(str, folder.glob(pattern)))
    except OSError:
        return []


def _loaded(maps: Path) -> list[Path]:
    """The shared libraries in a memory map, in its order; none where there is no such file."""
    try:
        lines = maps.read_text(errors="replace").splitlines()
    except OSError:
        return []
    paths = (line.split(maxsplit=5) for line in lines)
    return list(dict.fromkeys(Path(fields[5]) for fields in paths if len(fields) == 6 and ".so" in fields[5]))


def _problem(library: ctypes.CDLL, needed: tuple[str, ...]) -> str | None:
    """Why a library that loads does not do: it lacks a function, or the driver is too old for it."""
    lacking = [
        name for name in ("cudaRuntimeGetVersion", "cudaDriverGetVersion", *needed) if not hasattr(library, name)
    ]
    if lacking:
        return f"it has no {lacking[0]}"
    runtime, driver = c_int(), c_int()
    if library.cudaRuntimeGetVersion(byref(runtime)) or library.cudaDriverGetVersion(byref(driver)):
        return "it does not tell its version"
    # 1000 * major + 10 * minor; 0: no driver, which is said by the first call that needs one.
    if driver.value and runtime.value // 1000 > driver.value // 1000:
        return f"it is of CUDA {_version(runtime.value)}, the driver knows {_version(driver.value)}"
    return None


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
