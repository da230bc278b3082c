"""doctor: every finding has its remedy, nothing is changed, and a missing thing that was asked for is exit 2."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_images import CLASSES, make_photo, write_photos

from edgedistill import doctor
from edgedistill.doctor import Finding, examine
from edgedistill.targets import cudart, machine, nvidia_smi, probe
from edgedistill.targets.cudart import Gpu
from edgedistill.targets.errors import TargetError
from edgedistill.work import torch_probe
from edgedistill.work.torch_probe import TorchGpu

H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0", 132, 81_079, False, "0000:3b:00.0")
ORIN = Gpu("Orin", "8.7", 16, 62_841, True, "0000:00:00.0")


def finding(findings: list[Finding], what: str) -> Finding:
    return next(found for found in findings if found.what == what)


@pytest.mark.workshop
def test_this_machine_is_described_and_a_profile_fits_it() -> None:
    findings = examine()
    assert finding(findings, "machine").state == "ok"
    assert finding(findings, "workshop").state == "ok"
    assert finding(findings, "board").state == "ok"
    assert "fits this machine" in finding(findings, "board").found
    assert finding(findings, "disk").found.endswith(str(Path.cwd()))


def test_labels_photos_and_teacher_are_looked_at(tmp_path: Path, tiny_teacher_folder: Path) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(CLASSES))
    photos = write_photos(tmp_path / "photos", 12)
    (photos / "notes.jpg").write_text("not an image")
    findings = examine(classes=tmp_path / "labels.txt", images=photos, teacher=f"local-dir:{tiny_teacher_folder}")
    assert finding(findings, "labels").state == "ok"
    assert finding(findings, "images").found.startswith("12 images in")
    assert finding(findings, "images").found.endswith("; not used: 1 not an image")
    assert finding(findings, "images").state == "note"  # fewer than a student wants
    assert finding(findings, "teacher").state == "ok"


@pytest.mark.workshop
def test_what_is_missing_comes_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("bolt\nbolt\n")
    (tmp_path / "empty").mkdir()
    findings = examine(classes=tmp_path / "labels.txt", images=tmp_path / "empty", teacher="local-dir:nowhere")
    missing = [found for found in findings if found.state == "missing"]
    assert {found.what for found in missing} == {"labels", "images", "teacher"}
    assert all(found.remedy for found in missing)


def test_the_light_half_alone_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "WORKSHOP", ("a-package-nobody-has",))
    assert finding(examine(), "workshop").state == "note"


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Gpu] | None, TorchGpu], list[Finding]]:
    """What doctor finds where the driver tells of these GPUs, and torch this."""

    def found(gpus: list[Gpu] | None, asked: TorchGpu) -> list[Finding]:
        monkeypatch.setattr(cudart, "gpus", lambda: gpus)
        monkeypatch.setattr(torch_probe, "ask", lambda: asked)
        return list(doctor._accelerator())

    return found


def test_a_gpu_is_shown_with_its_memory_and_what_of_it_is_free(
    with_gpu: Callable[..., list[Finding]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvidia_smi, "gpu_free_mb", lambda gpu: 40_960.0)
    found = finding(with_gpu([H100], TorchGpu("13.0", "")), "gpu").found
    assert found == "NVIDIA H100 80GB HBM3, compute capability 9.0, 79.2 GB, 40.0 free"
    monkeypatch.setattr(nvidia_smi, "gpu_free_mb", lambda gpu: None)
    assert finding(with_gpu([H100], TorchGpu("13.0", "")), "gpu").found.endswith(", 79.2 GB")
    monkeypatch.setattr(machine, "memory_available_mb", lambda: 51_200.0)
    shared = finding(with_gpu([ORIN], TorchGpu("12.6", "")), "gpu").found
    assert shared.endswith("61.4 GB shared with the processor, 50.0 free")


@pytest.mark.workshop
@pytest.mark.parametrize(
    ("asked", "state", "remedy"),
    [
        (TorchGpu("13.0", ""), "ok", ""),
        (TorchGpu("13.0", "Your NVIDIA driver is too old (found version 12020)"), "note", "know CUDA 13,"),
        (TorchGpu(None, "torch 2.13.0+cpu is built without CUDA"), "note", "Install a CUDA build"),
    ],
)
def test_a_torch_that_cannot_use_the_gpu_comes_with_a_remedy(
    asked: TorchGpu, state: str, remedy: str, with_gpu: Callable[..., list[Finding]]
) -> None:
    found = finding(with_gpu([H100], asked), "torch")
    assert found.state == state
    assert asked.problem in found.found
    assert remedy in found.remedy


def test_a_driver_that_refuses_is_not_taken_for_none(with_gpu: Callable[..., list[Finding]]) -> None:
    assert finding(with_gpu([], TorchGpu(None, "")), "gpu").found == "none seen"
    refused = finding(with_gpu(None, TorchGpu(None, "")), "gpu")
    assert refused.found == "the driver is there but refuses"
    assert "nvidia-smi" in refused.remedy


def test_a_runtime_that_does_not_load_comes_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"onnxruntime": TargetError("import onnxruntime ends its process by SIGILL", "Install another version.")}
    monkeypatch.setattr(probe, "broken_imports", lambda: broken)
    (found,) = doctor._runtimes()
    assert (found.state, found.found) == ("missing", broken["onnxruntime"].wrong)
    assert found.remedy == "Install another version."


def test_the_command_exits_with_2_when_something_named_is_missing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgedistill", "doctor", "--images", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_photos_are_judged_as_the_build_judges_them(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 4)
    (photos / "IMG_0001.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400))
    (photos / "._00000.jpg").write_bytes(b"resource fork")
    make_photo("red disc", 0).save(photos / "drawing.tga")
    make_photo("red disc", 0, size=(40, 12)).save(photos / "thin.png")
    program = (
        "import sys\nfrom pathlib import Path\nsys.modules['pillow_heif'] = None\n"
        "from edgedistill import doctor\ndoctor.LOOK_SECONDS = 60\nfrom edgedistill.images.pool import scan\n"
        f"folder = Path({str(photos)!r})\n"
        "print(next(found.found for found in doctor.examine(images=folder) if found.what == 'images'))\n"
        "print({reason: len(names) for reason, names in sorted(scan(folder).skipped.items())})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    said, scanned = done.stdout.splitlines()
    assert said.startswith("4 images in")
    reasons = ("HEIC needs pillow-heif", "not an image", "side under 16 px")
    assert said.endswith("; not used: " + ", ".join(f"1 {reason}" for reason in reasons))
    assert scanned == str(dict.fromkeys(reasons, 1))


def test_a_folder_that_the_build_would_refuse_is_missing_here_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "LOOK_SECONDS", 60)  # a busy machine
    photos = write_photos(tmp_path / "photos", 6)
    for path in sorted(photos.iterdir())[:4]:
        path.write_bytes(path.read_bytes()[:-400])  # the header is whole
        path.with_suffix(".txt").write_text("0 0.5 0.5 1 1")
    found = doctor._images(photos)
    assert (found.state, found.found) == ("missing", f"2 images in {photos}; not used: 4 truncated")


def test_a_folder_that_was_deleted_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    found = examine()[-1]
    assert (found.state, found.found) == ("missing", "this folder is not there: No such file or directory")
