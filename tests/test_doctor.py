"""doctor: every finding has its remedy, nothing is changed, and a missing thing that was asked for is exit 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_images import CLASSES, make_photo, write_photos

from edgedistill import doctor
from edgedistill.doctor import Finding, examine


def finding(findings: list[Finding], what: str) -> Finding:
    return next(found for found in findings if found.what == what)


@pytest.mark.workshop
def test_this_machine_is_described_and_a_profile_fits_it() -> None:
    findings = examine()
    assert finding(findings, "machine").state == "ok"
    assert finding(findings, "workshop").state == "ok"
    assert "profile" in finding(findings, "board").found
    assert finding(findings, "disk").found.endswith(str(Path.cwd()))


def test_labels_photos_and_teacher_are_looked_at(tmp_path: Path, tiny_teacher_folder: Path) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(CLASSES))
    photos = write_photos(tmp_path / "photos", 12)
    (photos / "notes.txt").write_text("not an image")
    findings = examine(
        classes=tmp_path / "labels.txt", images=photos, teacher=f"local-dir:{tiny_teacher_folder}"
    )
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
        "from edgedistill.doctor import examine\nfrom edgedistill.images.pool import scan\n"
        f"folder = Path({str(photos)!r})\n"
        "print(next(found.found for found in examine(images=folder) if found.what == 'images'))\n"
        "print({reason: len(names) for reason, names in sorted(scan(folder).skipped.items())})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    said, scanned = done.stdout.splitlines()
    assert said.startswith("4 images in")
    reasons = ("HEIC needs edgedistill[heic]", "not an image", "side under 16 px")
    assert said.endswith("; not used: " + ", ".join(f"1 {reason}" for reason in reasons))
    assert scanned == str(dict.fromkeys(reasons, 1))
