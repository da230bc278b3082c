"""The device side on what JetPack 6 ships: Python 3.10, Pillow 9.0.1, numpy 1.21. `make old-board` makes that
environment and names its Python in EDGEDISTILL_OLD_BOARD; without it these tests are skipped.

An older Python than 3.10 is told so in two lines, by run.py itself.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from bundles import write_bundle
from PIL import Image

from edgedistill.targets.preprocess import decode, to_pixels
from edgedistill.targets.run import __file__ as RUN

QUICK = ["--threads", "1", "--warmup-s", "0", "--min-s", "0", "--min-queries", "1"]
SIZE = 32
ORIENTATION = 0x0112
OLD = Path(os.environ.get("EDGEDISTILL_OLD_BOARD", "none"))
needs_old_board = pytest.mark.skipif(not OLD.is_file(), reason="make old-board makes the environment")

PIXELS = """
import sys
from pathlib import Path
import numpy as np
from targets.preprocess import decode, read_file, to_pixels
files = sorted(Path(sys.argv[1]).iterdir())
np.save(sys.argv[2], np.stack([to_pixels(decode(read_file(path)), int(sys.argv[3])) for path in files]))
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("board") / "bundle")


def on_the_board(bundle: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    return subprocess.run([str(OLD), *command], capture_output=True, text=True, cwd=bundle, env=environment)


def photos(folder: Path) -> Path:
    """Every EXIF turn, and every kind of sample that is converted, from one noisy image that is not square."""
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (70, 97, 3), np.uint8)
    image = Image.fromarray(noise)
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = turn
        image.save(folder / f"turn{turn}.png", exif=exif)
    for mode in ("L", "LA", "P", "RGBA", "1"):
        image.convert(mode).save(folder / f"mode{mode}.png")
    image.convert("CMYK").save(folder / "cmyk.tif")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    image.save(folder / "lossless.webp", lossless=True)
    image.save(folder / "photo.jpg", quality=90)
    return folder


@needs_old_board
def test_it_is_the_old_software() -> None:
    done = on_the_board(
        Path("."), "-c", "import sys, PIL, numpy; print(sys.version[:4], PIL.__version__, numpy.__version__)"
    )
    assert done.stdout.split() == ["3.10", "9.0.1", "1.21.6"]


@needs_old_board
def test_the_resize_rule_gives_the_same_pixels(bundle: Path, tmp_path: Path) -> None:
    folder, there = photos(tmp_path / "photos"), tmp_path / "there.npy"
    done = on_the_board(bundle, "-c", PIXELS, str(folder), str(there), str(SIZE))
    assert (done.returncode, done.stderr) == (0, "")
    for path, pixels in zip(sorted(folder.iterdir()), np.load(there)):
        here = to_pixels(decode(path.read_bytes()), SIZE)
        most = 2 if path.suffix == ".jpg" else 0  # JPEG decoders may round otherwise
        assert np.abs(here.astype(int) - pixels).max() <= most, path.name


@needs_old_board
def test_verify_is_valid_and_its_golden_pixels_are_right(bundle: Path) -> None:
    done = on_the_board(bundle, "run.py", "verify", *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads((bundle / "results" / "fp32-onnxruntime-cpu.json").read_text())
    assert (found["golden"]["ok"], found["golden"]["pixels_max_diff"]) == (True, 0)
    assert found["versions"]["numpy"] == "1.21.6"


@needs_old_board
@pytest.mark.parametrize("command", ["doctor", "bench", "predict"])
def test_every_other_command_works(bundle: Path, tmp_path: Path, command: str) -> None:
    arguments = {"doctor": [], "bench": QUICK, "predict": [str(photos(tmp_path / "photos") / "turn6.png")]}[command]
    done = on_the_board(bundle, "run.py", command, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_a_pillow_that_lacks_what_is_used_counts_as_none(bundle: Path, tmp_path: Path) -> None:
    """Not as images that cannot be read: every one of them would be wrong."""
    folder = tmp_path / "PIL"
    folder.mkdir()
    (folder / "__init__.py").write_text("__version__ = '1.1'\n")
    (folder / "Image.py").write_text("OPEN = {}\ndef init(): pass\n")
    data = BytesIO()
    Image.new("RGB", (20, 20)).save(data, "PNG")
    (tmp_path / "photo.png").write_bytes(data.getvalue())
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "run.py", "predict", str(tmp_path / "photo.png")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=bundle, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Pillow cannot be imported: this Pillow cannot be used: ")


def older_pythons() -> list[Path]:
    """Pythons of this machine that are older than 3.10, where pyenv keeps some."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return [path for minor in (8, 9) for path in sorted(root.glob(f"versions/3.{minor}.*/bin/python"))]


def test_run_py_can_be_read_by_python_3_8() -> None:
    ast.parse(Path(RUN).read_text(encoding="utf-8"), feature_version=(3, 8))


@pytest.mark.parametrize("python", older_pythons() or [None], ids=lambda path: path.parts[-3] if path else "none")
def test_an_older_python_is_told_so_in_two_lines(bundle: Path, python: Path | None) -> None:
    if python is None:
        pytest.skip("no Python 3.8 or 3.9 here")
    done = subprocess.run([str(python), "run.py", "doctor"], capture_output=True, text=True, cwd=bundle)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith(
        f"error: this is Python {python.parts[-3]}, and the bundle needs 3.10"
    )
    assert len(done.stderr.splitlines()) == 2
