"""The sdist and the wheel hold what they should, and the wheel alone predicts where there is no workshop."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dist/ of a clean copy of the tracked files."""
    source = tmp_path_factory.mktemp("source")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, names.split("\0")):
        if name.startswith("examples/"):
            continue
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--outdir", source / "dist", source]
    subprocess.run(command, check=True, capture_output=True)
    return source / "dist"


def test_the_wheel_holds_the_package_the_profiles_and_the_targets(built: Path) -> None:
    names = zipfile.ZipFile(next(built.glob("*.whl"))).namelist()
    for wanted in ("cli.py", "runtime.py", "profiles/cpu.toml", "targets/run.py", "targets/preprocess.py", "py.typed"):
        assert f"edgedistill/{wanted}" in names
    assert not [name for name in names if name.startswith(("tests/", "tools/", "benchmarks/", "targets/"))]


def test_the_wheel_holds_every_module_of_the_repository(built: Path) -> None:
    names = set(zipfile.ZipFile(next(built.glob("*.whl"))).namelist())
    for folder, installed in (("edgedistill", ""), ("profiles", "edgedistill/"), ("targets", "edgedistill/")):
        for path in (ROOT / folder).rglob("*.py"):
            assert installed + path.relative_to(ROOT).as_posix() in names


def test_the_sdist_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = next(tmp_path.iterdir())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path / "again", unpacked]
    subprocess.run(command, check=True, capture_output=True)
    first = zipfile.ZipFile(next(built.glob("*.whl"))).namelist()
    again = zipfile.ZipFile(next((tmp_path / "again").glob("*.whl"))).namelist()
    assert sorted(first) == sorted(again)


def test_the_metadata_is_complete(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        metadata = wheel.read(next(name for name in wheel.namelist() if name.endswith("METADATA"))).decode()
    for line in ("License-Expression: Apache-2.0", "Requires-Python: >=3.10", "Classifier: Typing :: Typed"):
        assert f"\n{line}\n" in metadata
    base = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert not [line for line in base if any(heavy in line for heavy in ("torch", "timm", "onnxscript", "safetensors"))]


@pytest.fixture(scope="module")
def alone(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of a fresh environment that holds the wheel and what it asks for, nothing of the workshop."""
    environment = tmp_path_factory.mktemp("alone")
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", next(built.glob("*.whl"))]
    subprocess.run(command, check=True, capture_output=True)
    assert subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode != 0
    return environment / "bin"


def edgedistill(alone: Path, *words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([alone / "edgedistill", *words], capture_output=True, text=True, check=False, cwd=cwd)


def test_the_wheel_alone_predicts(alone: Path, tmp_path: Path, built_folder: Path) -> None:
    image = next((built_folder / "photos").glob("*"))
    done = edgedistill(alone, "predict", built_folder / "bundle", image, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert abs(sum(record["probabilities"].values()) - 1) < 1e-4
    assert record["label"] == max(record["probabilities"], key=record["probabilities"].get)


def test_the_wheel_alone_helps_lists_its_profiles_and_verifies(alone: Path, tmp_path: Path, built_folder: Path) -> None:
    for words in (("--help",), ("--version",), ("profiles", "list")):
        assert edgedistill(alone, *words, cwd=tmp_path).returncode == 0
    shutil.copytree(built_folder / "bundle", tmp_path / "bundle")
    judged = edgedistill(alone, "verify", "bundle", "--json", cwd=tmp_path)
    codes = {"pass": 0, "fail": 3, "unmeasured": 4}
    assert judged.returncode == codes[json.loads(judged.stdout)["verdict"]], judged.stderr
    assert edgedistill(alone, "verify", "nowhere", cwd=tmp_path).returncode == 2


def test_the_wheel_alone_names_the_extra_that_builds(alone: Path, tmp_path: Path) -> None:
    told = edgedistill(alone, "build", "--profile", "cpu", "--classes", "x", "--images", "y", cwd=tmp_path)
    assert told.returncode == 2
    assert 'pip install -e ".[build]"' in told.stderr
