from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

BuildCudart = Callable[..., str]


@pytest.fixture(scope="session")
def build_cudart(tmp_path_factory: pytest.TempPathFactory) -> BuildCudart:
    """Compiles fake_cudart.c with these flags; returns the file's path. Skips without a compiler.

    It is not named libcudart: what a process has loaded of that name is what Cudart takes from then on.
    """
    if shutil.which("cc") is None:
        pytest.skip("no C compiler for the stand-in CUDA runtime")

    def build(*flags: str) -> str:
        path = tmp_path_factory.mktemp("cudart") / "libfake_cudart.so"
        source = Path(__file__).with_name("fake_cudart.c")
        command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", *flags, str(source), "-o", str(path)]
        subprocess.run(command, check=True)
        return str(path)

    return build


@pytest.fixture(scope="session")
def cudart_library(build_cudart: BuildCudart) -> str:
    """The stand-in libcudart."""
    return build_cudart()
