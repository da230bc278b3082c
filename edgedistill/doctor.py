"""`edgedistill doctor`: what is here, what is missing, what to do. Looks, and changes nothing; installs nothing.

Every finding carries its remedy. A missing part of the workshop is "missing" only for those who build; the light half
alone is a fine installation, so it is "note" unless labels, images or a teacher were named.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import os
import platform
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from . import profiles
from .choices import DEFAULT_TEACHER
from .errors import InputError, install_extra
from .targets import cores, cudart, machine, nvidia_smi, probe
from .targets.cudart import Gpu
from .targets.names import CPU
from .work import torch_probe
from .work.console import Terminal
from .work.tally import Tally
from .work.torch_probe import TorchGpu

WORKSHOP = ("torch", "torchvision", "open_clip_torch", "timm", "onnx", "onnxscript", "safetensors")
LIGHT = ("numpy", "pillow", "onnxruntime")
STYLE = {"ok": ("✓", "green"), "note": ("•", "yellow"), "missing": ("✗", "red")}
PHOTOS_WANTED = 200
LOOK_SECONDS = 1.5  # at photos
DISK_WANTED_MB = 2000
GONE = "this folder is not there"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it stands ("ok", "note", "missing"), and what to do about it."""

    what: str
    state: str
    found: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(*, classes: Path | None = None, images: Path | None = None, teacher: str | None = None) -> list[Finding]:
    """Look at machine, installation, board, disk and, where given, labels, photos and teacher."""
    disk = _disk()
    if disk.state == "missing" and disk.found.startswith(GONE):  # torch's libraries abort the process there
        return [_machine(), _python(), disk]
    wants_build = any(given is not None for given in (classes, images, teacher))
    findings = [_machine(), _python(), *_packages(wants_build), *_runtimes(), *_accelerator(), _board(), disk]
    if classes is not None:
        findings.append(_labels(classes))
    if images is not None:
        findings.append(_images(images))
    if _version("open_clip_torch"):
        name = teacher or os.environ.get("EDGEDISTILL_TEACHER", DEFAULT_TEACHER)
        findings.append(_teacher(name, named=teacher is not None))
    return findings


def show(findings: list[Finding]) -> None:
    """Print the findings, remedies below them, on stderr."""
    console = Terminal(stderr=True, soft_wrap=True)
    for finding in findings:
        sign, colour = STYLE[finding.state]
        console.print(Text(f"{sign} ", style=colour) + Text(f"{finding.what:<14} {finding.found}"))
        if finding.remedy:
            console.print(Text(f"  {'':<14} {finding.remedy}", style="dim"))


def _machine() -> Finding:
    memory_gb = machine.memory_total_mb() / 1024
    return Finding("machine", "ok", f"{machine.device_name()}, {cores.physical_cores()} cores, {memory_gb:.0f} GB")


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages(wants_build: bool) -> Iterator[Finding]:
    have = {name: _version(name) for name in LIGHT}
    lacking = [name for name, version in have.items() if version is None]
    found = ", ".join(f"{name} {version}" for name, version in have.items() if version)
    if lacking:
        yield Finding("light half", "missing", f"no {', '.join(lacking)}", f"pip install {' '.join(lacking)}")
    else:
        yield Finding("light half", "ok", found)
    have = {name: _version(name) for name in WORKSHOP}
    lacking = [name for name, version in have.items() if version is None]
    if lacking:
        state = "missing" if wants_build else "note"
        yield Finding("workshop", state, f"no {', '.join(lacking)}", install_extra("build"))
    else:
        named = ("torch", "open_clip_torch", "timm", "onnx")
        yield Finding("workshop", "ok", ", ".join(f"{name} {have[name]}" for name in named))


def _runtimes() -> Iterator[Finding]:
    """Those that work here; a package that is here and does not load, with the remedy. The CPU's has to work."""
    if _version("onnxruntime") is None and importlib.util.find_spec("onnxruntime") is None:
        return  # told as a lacking package
    broken = probe.broken_imports()
    if working := [name for name, error in probe.ask_all(broken).items() if error is None]:
        yield Finding("runtimes", "ok", ", ".join(working))
    for module, error in broken.items():
        state = "missing" if module == probe.module_of(CPU) else "note"
        yield Finding("runtimes", state, error.wrong, error.todo)


def _accelerator() -> Iterator[Finding]:
    gpus = cudart.gpus()
    if gpus is None:
        remedy = "Run nvidia-smi: it says why. In a container: start it with --gpus all."
        yield Finding("gpu", "note", "the driver is there but refuses", remedy)
        return
    if not gpus:
        yield Finding("gpu", "note", "none seen", "Training runs on the CPU; engines are built on the board itself.")
        return
    yield Finding("gpu", "ok", _gpu(gpus[0]))
    if _version("torch"):
        yield _torch(torch_probe.ask())
    if not _version("tensorrt"):
        remedy = "pip install tensorrt; on a Jetson: a venv with --system-site-packages"
        yield Finding("tensorrt", "note", "not installed", remedy)


def _gpu(gpu: Gpu) -> str:
    """Name, compute capability, memory, and how much of it is free before a build."""
    found = f"{gpu.name}, compute capability {gpu.compute_capability}, {gpu.memory_mb / 1024:.1f} GB"
    if gpu.integrated:
        return f"{found} shared with the processor, {machine.memory_available_mb() / 1024:.1f} free"
    free_mb = nvidia_smi.gpu_free_mb(gpu)
    return found if free_mb is None else f"{found}, {free_mb / 1024:.1f} free"


def _torch(asked: TorchGpu) -> Finding:
    """Whether torch computes on the GPU that was found; --train-on auto takes the CPU where it does not see it."""
    if not asked.problem:
        return Finding("torch", "ok", f"computes on the GPU with CUDA {asked.cuda}")
    if asked.cuda is None:
        remedy = "Install a CUDA build: without constraints-cpu.txt; on a Jetson the one of its JetPack."
    else:
        major = asked.cuda.partition(".")[0]
        remedy = f"Run nvidia-smi: the driver has to know CUDA {major}, and the GPU needs free memory."
    return Finding("torch", "note", f"cannot use the GPU: {asked.problem}", remedy)


def _board() -> Finding:
    facts = machine.read_facts()
    if best := profiles.fitting(facts):
        return Finding("board", "ok", f"profile {best[0]} fits this machine", f"Build with --profile {best[0]}.")
    if profiles.unreadable(facts):
        remedy = "In Docker, add -v /sys/firmware:/psys/firmware:ro, or run this on the host."
        return Finding("board", "note", "the device tree cannot be read", remedy)
    return Finding("board", "note", "no profile fits", "Start from the nearest: edgedistill profiles list")


def _disk() -> Finding:
    try:
        here = Path.cwd()
        free = shutil.disk_usage(here).free / 1e6
    except OSError as error:  # the folder was deleted, or its disk is gone
        return Finding("disk", "missing", f"{GONE}: {error.strerror}", "Go to another folder.")
    found = f"{free / 1000:.0f} GB free in {here}"
    if free < DISK_WANTED_MB:
        return Finding("disk", "missing", found, "Free some space, or point --work and --out at another disk.")
    return Finding("disk", "ok", found)


def _labels(path: Path) -> Finding:
    from .labels import Labels

    try:
        labels = Labels.read(path)
    except InputError as error:
        return Finding("labels", "missing", error.wrong, error.todo)
    shown = ", ".join(labels.names[:6]) + (", …" if len(labels) > 6 else "")
    return Finding("labels", "ok", f"{len(labels)} classes: {shown}")


def _images(folder: Path) -> Finding:
    """Decodes photos as the build does, from all over the folder, for a second and a half; refuses what it refuses."""
    from .images import pool
    from .targets.preprocess import BadImage, decode, read_file

    if not folder.is_dir():
        return Finding("images", "missing", f"there is no folder {folder}", "Point --images at a folder of photos.")
    until = time.monotonic() + LOOK_SECONDS
    listed = list(itertools.takewhile(lambda _: time.monotonic() < until, pool.files(folder)))
    random.Random(0).shuffle(listed)
    images = 0
    skipped: Counter[str] = Counter()
    until = time.monotonic() + LOOK_SECONDS
    for name, reason in listed:
        if time.monotonic() > until:
            break
        try:
            if reason:
                raise BadImage(reason)
            decode(read_file(folder / name))
            images += 1
        except BadImage as error:
            skipped[error.reason] += 1
    looked = images + skipped.total()
    not_used = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
    found = f"{images} images in {folder}" if looked == len(listed) else f"{len(listed)} files or more in {folder}"
    found += "" if looked == len(listed) else f", {images} of the {looked} looked at are images"
    found += f"; not used: {not_used}" if skipped else ""
    try:
        Tally(str(folder), images, skipped).refuse_mostly_bad()
    except InputError as error:
        return Finding("images", "missing", found, error.todo)
    if len(listed) - skipped.total() < PHOTOS_WANTED:
        return Finding("images", "note", found, f"{PHOTOS_WANTED} or more make a student worth measuring.")
    return Finding("images", "ok", found)


def _teacher(name: str, *, named: bool) -> Finding:
    """Looks in local places, then asks the hub whether it is there; fetches nothing."""
    from huggingface_hub import constants

    from .teacher import hub
    from .teacher.names import find_teacher

    try:
        found = find_teacher(name, fetch=False)
    except InputError as error:
        on_hub = name.startswith("hf-hub:") or (not name.startswith("local-dir:") and not Path(name).suffix)
        if on_hub and not constants.HF_HUB_OFFLINE and hub.why_unreachable(constants.ENDPOINT, 1.5) is None:
            remedy = f"A build fetches it from {constants.ENDPOINT} once."
            return Finding("teacher", "note", f"{name} is not here yet, and the hub answers", remedy)
        return Finding("teacher", "missing" if named else "note", error.wrong, error.todo)
    return Finding("teacher", "ok", f"{found.id}, licence {found.licence}")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
