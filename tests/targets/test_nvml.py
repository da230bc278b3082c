"""Free memory of a GPU is read without making a CUDA context, so that what a context takes is seen."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgedistill.targets import cudart, memory, nvml
from edgedistill.targets.cudart import Gpu

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler for the stand-in driver library")
GPU = Gpu("NVIDIA L4", "8.9", 58, 23_034, False, "0000:3b:00.0")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("nvml") / "libfake_nvml.so"
    source = Path(__file__).with_name("fake_nvml.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", str(source), "-o", str(path)], check=True)
    return str(path)


@pytest.fixture
def driver(library: str) -> Iterator[ctypes.CDLL]:
    """The switches of the stand-in."""
    switches = ctypes.CDLL(library)
    switches.fake_set_free_mb(1000)
    yield switches
    switches.fake_refuse(0)


def test_the_free_memory_is_the_drivers(library: str, driver: ctypes.CDLL) -> None:
    gpu = nvml.GpuMemory(GPU.bus_id, library)
    assert gpu.free_mb() == 1000
    driver.fake_set_free_mb(640)
    assert gpu.free_mb() == 640


def test_a_driver_that_does_not_tell_is_an_os_error(library: str, driver: ctypes.CDLL) -> None:
    for bus_id, name in (("0000:00:00.0", library), (GPU.bus_id, "libnothing.so"), (GPU.bus_id, "libm.so.6")):
        with pytest.raises(OSError, match=r"answered 6|cannot open|nvmlInit_v2"):
            nvml.GpuMemory(bus_id, name)
    driver.fake_refuse(4)  # NVML_ERROR_NO_PERMISSION, as in a slice of a shared GPU
    with pytest.raises(OSError, match="nvmlDeviceGetMemoryInfo answered 4"):
        nvml.GpuMemory(GPU.bus_id, library)


def test_what_a_gpu_loses_is_counted_with_its_context(
    library: str, driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = nvml.GpuMemory
    monkeypatch.setattr(cudart, "gpus", lambda: [GPU])
    monkeypatch.setattr(nvml, "GpuMemory", lambda bus_id: real(bus_id, library))

    def serve() -> None:
        driver.fake_set_free_mb(1000 - 300 - 150)  # a context, then a model

    taken = memory.taken_by(serve, on_gpu=True)
    assert (taken["peak"], taken["kind"]) == (450, "gpu_free_drop")


def test_where_only_cuda_tells_the_kind_says_that_the_context_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cudart:
        def memory(self) -> tuple[int, int]:
            return 1000 << 20, 2000 << 20

    monkeypatch.setattr(cudart, "gpus", lambda: [GPU])
    monkeypatch.setattr(cudart, "Cudart", Cudart)
    monkeypatch.setattr(nvml, "GpuMemory", lambda bus_id: nvml_is_missing())
    assert memory.taken_by(lambda: None, on_gpu=True)["kind"] == "gpu_free_drop_without_context"


def nvml_is_missing() -> None:
    raise OSError("libnvidia-ml.so.1: cannot open shared object file")
