"""A bundle: the folder that ships. Models, the student they were made from, what to check them with, and the program
that measures them on a device that has neither edgedistill nor torch.

It is written beside its place and appears by one rename. `manifest.json` holds no time and no path: the same build
gives the same bytes. What measuring adds later (verdict.json, engines/, results/) is not listed in it.
Reading is `targets/manifest.py`'s: the same checks here and on the device.
"""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from pathlib import Path

from .. import targets
from ..errors import InputError
from ..targets.errors import TargetError
from ..targets.manifest import read_manifest
from ..work import atomic
from .checkset import write_check
from .content import Content
from .manifest import golden, manifest
from .model_card import model_card

STUDENT_FILES = ("student.safetensors", "student.json")


def check_destination(out: Path) -> None:
    """Raise InputError unless a bundle may be written to `out`: nothing there, an empty folder, or an older bundle, in
    a folder that may be written."""
    atomic.check_folder(out)
    if not out.is_dir() or not any(out.iterdir()):
        return
    try:
        read_manifest(out, check_hashes=False)
    except TargetError as error:
        raise InputError(
            f"{out} holds files, and they are not a bundle that may be replaced ({error.wrong})",
            "Choose another --out, or empty that folder yourself.",
        ) from error


def holds(folder: Path, build_id: str) -> bool:
    """Whether `folder` is a whole bundle of this build."""
    try:
        return read_manifest(folder).build_id == build_id
    except TargetError:
        return False


def write_bundle(out: Path, content: Content) -> Path:
    """Write the bundle and return its folder. An older bundle in its place goes; an identical one stays as it is,
    with what was measured and compiled in it. Raises InputError if `out` holds anything else."""
    check_destination(out)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    _clear_away(out)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    temporary = scratch / out.name  # made as any folder is, so that the umask decides who may read it
    try:
        temporary.mkdir()
        _fill(temporary, content)
        if _same(temporary, out):
            return out
        if out.exists():
            older = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".old", dir=out.parent))
            out.rename(older / out.name)
            atomic.publish(temporary, out)
            shutil.rmtree(older)
        else:
            atomic.publish(temporary, out)
        return out
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise atomic.disk_full(out, _bytes_in(temporary)) from error
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _clear_away(out: Path) -> None:
    """Undo what a write to `out` left beside it when it was killed: a moved bundle goes back, unfinished ones go."""
    ours = re.compile(rf"\.{re.escape(out.name)}\.[a-z0-9_]{{8}}\.(part|old)")  # as mkdtemp names them below
    left = [path for path in out.parent.iterdir() if ours.fullmatch(path.name) and not path.is_symlink()]
    for folder in filter(Path.is_dir, left):
        if folder.suffix == ".old" and (folder / out.name).is_dir() and not out.exists():
            (folder / out.name).rename(out)
        shutil.rmtree(folder, ignore_errors=True)


def _same(new: Path, old: Path) -> bool:
    try:
        return read_manifest(old).sha256 == read_manifest(new, check_hashes=False).sha256
    except TargetError:
        return False


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _fill(folder: Path, content: Content) -> None:
    models = folder / "models"
    models.mkdir()
    for model in content.exports.models:
        shutil.copyfile(model.path, models / f"{model.precision}.onnx")
    for name in STUDENT_FILES:
        shutil.copyfile(content.student_folder / name, folder / name)
    content.class_vectors.save(folder)
    write_check(folder / "check", content.check)
    atomic.write_bytes(folder / "golden.npz", golden(content))
    device_side = Path(targets.__file__).parent
    shutil.copyfile(device_side / "run.py", folder / "run.py")
    (folder / "targets").mkdir()
    for path in sorted(device_side.glob("*.py")):
        shutil.copyfile(path, folder / "targets" / path.name)
    (folder / "MODEL_CARD.md").write_text(model_card(content), encoding="utf-8", errors="backslashreplace")
    atomic.write_json(folder / "manifest.json", manifest(content, folder))
