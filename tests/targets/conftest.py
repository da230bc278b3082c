from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

BuildCudart = Callable[..., str]


@pytest.fixture(scope="session")
def build_cudart(tmp_path_factory: pytest.TempPathFactory) -> BuildCudart:
    """Compiles fake_cudart.c with these flags, as a file of this name; returns its path. Skips without a compiler."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler for the stand-in CUDA runtime")

    def build(*flags: str, name: str = "libcudart.so.12", folder: Path | None = None) -> str:
        path = (folder or tmp_path_factory.mktemp("cudart")) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        source = Path(__file__).with_name("fake_cudart.c")
        command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", *flags, str(source), "-o", str(path)]
        subprocess.run(command, check=True)
        return str(path)

    return build


@pytest.fixture(scope="session")
def cudart_library(build_cudart: BuildCudart) -> str:
    """The stand-in libcudart."""
    return build_cudart(name="libfake_cudart.so")
