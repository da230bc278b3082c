"""The light half imports in a blink: no torch for `import edgedistill`, the help text, or the Classifier."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "open_clip", "timm", "onnx", "safetensors")


def loaded_after(program: str) -> set[str]:
    """Top-level modules in sys.modules after `program` ran in a fresh interpreter."""
    tail = "\nimport sys\nprint('\\n'.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", program + tail], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("program", "kept_out"),
    [
        ("import edgedistill", (*HEAVY, "onnxruntime", "numpy", "PIL", "rich", "typer")),
        ("from edgedistill import Classifier, Prediction", HEAVY),
        ("from edgedistill import InputError, build", (*HEAVY, "onnxruntime", "numpy", "PIL", "rich")),
        ("from edgedistill import *", HEAVY),
        (
            "import sys\nsys.argv = ['edgedistill', '--help']\nfrom edgedistill.cli import main\n"
            "import contextlib, io\n"
            "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n    main()",
            (*HEAVY, "onnxruntime", "numpy", "PIL"),
        ),
        ("import edgedistill.cli, edgedistill.settings, edgedistill.profiles", (*HEAVY, "onnxruntime", "numpy")),
        ("import edgedistill.bench.command, edgedistill.bench.fresh", (*HEAVY, "onnxruntime", "matplotlib")),
    ],
    ids=["package", "classifier", "errors and build", "star", "help", "profiles", "bench"],
)
def test_nothing_heavy_is_loaded(program: str, kept_out: tuple[str, ...]) -> None:
    assert not loaded_after(program) & set(kept_out)
