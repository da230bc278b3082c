"""Several libcudart on one machine: the one that can work is taken, the likeliest first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgedistill.targets.cudart import Cudart, gpus
from edgedistill.targets.errors import TargetError
from edgedistill.targets.libcudart import candidates, open_library

Build = Callable[..., str]
GRAPHS = ("cudaGraphInstantiateWithFlags",)


def test_one_newer_than_the_driver_is_passed_over(build_cudart: Build) -> None:
    newer = build_cudart("-DRUNTIME=13000", "-DDRIVER=12040")
    fits = build_cudart("-DRUNTIME=12060", "-DDRIVER=12040")
    assert open_library(GRAPHS, [newer, fits])._name == fits
    with pytest.raises(TargetError, match=r"it is of CUDA 13\.0, the driver knows 12\.4"):
        open_library(GRAPHS, [newer])


def test_one_that_lacks_a_function_or_is_no_library_is_passed_over(build_cudart: Build, tmp_path: Path) -> None:
    old, whole = build_cudart("-DOLD"), build_cudart()
    text = tmp_path / "libcudart.so"
    text.write_text("a linker script")
    assert open_library(GRAPHS, ["libnothing.so", str(text), old, whole])._name == whole
    with pytest.raises(TargetError) as caught:
        open_library(GRAPHS, ["libnothing.so", str(text), old])
    for words in ("libnothing.so: cannot open", f"{text}: ", f"{old}: it has no cudaGraphInstantiateWithFlags"):
        assert words in caught.value.wrong
    with pytest.raises(TargetError, match="no CUDA runtime library"):
        Cudart("libnothing.so")


def test_without_a_driver_any_version_loads_and_the_first_call_says_it(build_cudart: Build) -> None:
    library = build_cudart("-DRUNTIME=13000", "-DDRIVER=0")
    assert open_library(GRAPHS, [library])._name == library


def wheel(folder: Path, *files: str) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


CU12, CU13 = "nvidia/cuda_runtime/lib/libcudart.so.12", "nvidia/cu13/lib/libcudart.so.13"


def test_what_this_process_has_loaded_comes_before_all(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text(
        "7f00-7f01 r-xp 00000000 fe:00 42 /opt/a folder/libcudart.so.12.6.77\n"
        "7f02-7f03 r--p 00000000 fe:00 42 /opt/a folder/libcudart.so.12.6.77\n"
        "7f04-7f05 rw-p 00000000 00:00 0\n"
        "7f06-7f07 r-xp 00000000 fe:00 43 /usr/lib/libc.so.6\n"
    )
    found = list(candidates(maps, []))
    assert found[:2] == ["/opt/a folder/libcudart.so.12.6.77", "libcudart.so"]
    assert len(found) == len(set(found))


@pytest.mark.parametrize(("made_for", "first"), [("cu12", CU12), ("cu13", CU13)])
def test_tensorrts_wheel_is_followed_to_the_runtime_it_was_made_for(tmp_path: Path, made_for: str, first: str) -> None:
    site = tmp_path / "site-packages"
    wheel(site, CU12, CU13, f"tensorrt_{made_for}_libs-10.13.3.9.dist-info/METADATA", "tensorrt_libs/libnvinfer.so.10")
    maps = tmp_path / "maps"
    maps.write_text(f"7f00-7f01 r-xp 00000000 fe:00 42 {site}/tensorrt_libs/libnvinfer.so.10\n")
    assert next(iter(candidates(maps, []))) == str(site / first)


def test_a_copy_beside_tensorrt_is_the_one_it_came_with(tmp_path: Path) -> None:
    wheel(tmp_path, "lib/libcudart.so.12.6", "lib/libnvinfer.so.10.3.0")
    maps = tmp_path / "maps"
    maps.write_text(f"7f00-7f01 r-xp 00000000 fe:00 42 {tmp_path}/lib/libnvinfer.so.10.3.0\n")
    assert next(iter(candidates(maps, []))) == str(tmp_path / "lib/libcudart.so.12.6")


def test_without_any_of_this_the_loader_then_the_packages_are_asked(tmp_path: Path) -> None:
    wheel(tmp_path, CU12)
    found = list(candidates(tmp_path / "no maps", [str(tmp_path), ""]))
    assert found[:4] == ["libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0"]
    assert str(tmp_path / CU12) in found


def test_a_toolkit_without_the_developers_link_is_found(tmp_path: Path) -> None:
    library = "cuda-12.6/lib64/libcudart.so.12"
    wheel(tmp_path, library, "cuda-12.6/lib64/libcudart_static.a")
    found = list(candidates(tmp_path / "no maps", [], tmp_path))
    assert [name for name in found if name.startswith(str(tmp_path))] == [str(tmp_path / library)]


def test_a_real_runtime_has_every_function_that_is_called() -> None:
    try:
        cuda = Cudart()
    except TargetError as error:
        pytest.skip(error.wrong)
    if not gpus():
        with pytest.raises(TargetError, match="cudaMalloc failed: "):
            cuda.malloc(1)
