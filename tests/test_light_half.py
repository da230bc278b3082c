"""The light half imports in a blink: no torch for `import edgedistill`, the help text, a Classifier that answers, or a
command that builds nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bundles import colour_pixels, png, write_bundle

HEAVY = ("torch", "torchvision", "open_clip", "timm", "onnx", "safetensors")


def loaded_after(program: str) -> set[str]:
    """Top-level modules in sys.modules after `program` ran in a fresh interpreter."""
    tail = "\nimport sys\nprint('\\n'.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", program + tail], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def command(*words: str) -> str:
    """A program that runs `edgedistill` with these words, and fails where that does not end with 0."""
    return (
        f"import contextlib, io, sys\nsys.argv = {['edgedistill', *words]!r}\nfrom edgedistill.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    try:\n        main()\n    except SystemExit as end:\n        assert not end.code, end.code"
    )


@pytest.mark.parametrize(
    ("program", "kept_out"),
    [
        ("import edgedistill", (*HEAVY, "onnxruntime", "numpy", "PIL", "rich", "typer")),
        ("from edgedistill import Classifier, Prediction", HEAVY),
        ("from edgedistill import InputError, build", (*HEAVY, "onnxruntime", "numpy", "PIL", "rich")),
        ("from edgedistill import *", HEAVY),
        (
            command("--help"),
            (*HEAVY, "onnxruntime", "numpy", "PIL"),
        ),
        ("import edgedistill.cli, edgedistill.settings, edgedistill.profiles", (*HEAVY, "onnxruntime", "numpy")),
        ("import edgedistill.bench.command, edgedistill.bench.fresh", (*HEAVY, "onnxruntime", "matplotlib")),
    ],
    ids=["package", "classifier", "errors and build", "star", "help", "profiles", "bench"],
)
def test_nothing_heavy_is_loaded(program: str, kept_out: tuple[str, ...]) -> None:
    assert not loaded_after(program) & set(kept_out)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("light")
    (folder / "part.png").write_bytes(png(colour_pixels(1)[0][0]))
    return write_bundle(folder / "bundle")


def test_a_classifier_that_answers_loads_nothing_heavy(bundle: Path) -> None:
    photo = bundle.parent / "part.png"
    program = f"from edgedistill import Classifier\nassert Classifier({str(bundle)!r}).predict({str(photo)!r}).label"
    assert not loaded_after(program) & set(HEAVY)


@pytest.mark.parametrize("words", ["predict BUNDLE PHOTO --json", "profiles list", "profiles show cpu"])
def test_a_command_that_builds_nothing_loads_nothing_heavy(bundle: Path, words: str) -> None:
    places = {"BUNDLE": str(bundle), "PHOTO": str(bundle.parent / "part.png")}
    assert not loaded_after(command(*(places.get(word, word) for word in words.split()))) & set(HEAVY)
