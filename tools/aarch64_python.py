"""An aarch64 Python with onnxruntime, for qemu's user mode: what runs on a board can be tried on a PC, if slowly.

    python tools/aarch64_python.py .edgedistill/aarch64 [options of pip install]
    .edgedistill/aarch64/python run.py doctor

Debian's arm64 packages are fetched by apt-get and unpacked into a folder: nothing is installed, and no root is needed.
Only qemu-aarch64 has to be there (Debian: apt-get install qemu-user). The wheels come from pip, as it is configured.
onnxruntime is 1.23.2: later ones, up to 1.31.1, end with SIGSEGV at import under qemu 7.2, 1.26.0 apart, which is
slower. Programs that the emulated Python starts with sys.executable are emulated, too.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

QEMU = "qemu-aarch64"
PYTHON = "3.11"  # Debian 12's
LIBRARIES = ("libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libffi8", "libbz2-1.0", "liblzma5", "libssl3")
PACKAGES = (
    *(f"python{PYTHON}", f"python{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", f"libpython{PYTHON}-minimal"),
    *LIBRARIES,
)
WHEELS = ("onnxruntime==1.23.2", "numpy", "pillow")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    chosen, for_pip = parser.parse_known_args()
    print(ready(chosen.folder, for_pip))


def why_not() -> str | None:
    """What is missing on this machine; None where nothing is."""
    missing = [name for name in (QEMU, "apt-get", "dpkg") if shutil.which(name) is None]
    return f"needs {', '.join(missing)} (Debian: apt-get install qemu-user)" if missing else None


def ready(folder: Path, for_pip: Sequence[str] = ()) -> Path:
    """The command that is that Python; made in `folder` unless it is there. Ends the program where that fails."""
    if reason := why_not():
        sys.exit(reason)
    folder = folder.resolve()
    python = folder / "python"
    if not python.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        root = folder / "root"
        unpack(folder / "packages", root)
        add_wheels(root / "usr/lib/python3/dist-packages", for_pip)
        write_command(root, python)
    return python


def unpack(packages: Path, root: Path) -> None:
    """The arm64 packages of this machine's Debian, fetched into `packages` and unpacked into `root`."""
    for name in ("lists/partial", "cache/archives/partial"):
        (packages / name).mkdir(parents=True)
    (packages / "status").touch()
    apt = ["apt-get", "-q", "-oAPT::Architecture=arm64", "-oAPT::Architectures=arm64", "-oAPT::Sandbox::User="]
    places = {"State::Lists": "lists", "State::status": "status", "Cache": "cache"}
    apt += [f"-oDir::{key}={packages / place}" for key, place in places.items()]
    run([*apt, "update"], packages)
    run([*apt, "download", *PACKAGES], packages)
    for package in sorted(packages.glob("*.deb")):
        run(["dpkg", "-x", str(package), str(root)], packages)
    shutil.rmtree(packages)


def add_wheels(place: Path, for_pip: Sequence[str]) -> None:
    """The aarch64 wheels, where that Python looks for modules."""
    wanted = [word for name in PLATFORMS for word in ("--platform", name)]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    command += [*wanted, "--python-version", PYTHON, "--implementation", "cp", "--target", str(place), *WHEELS]
    run([*command, *for_pip], place.parent)


def write_command(root: Path, python: Path) -> None:
    """A script that starts the emulated Python as one does the real one.

    It lies in the root, too, where Python finds its library from: it takes argv[0] for itself, and what it starts as
    sys.executable is then this script and not a file that this machine cannot run.
    """
    inside = root / "usr/bin/python3"
    inside.unlink(missing_ok=True)
    words = shlex.join([QEMU, "-0", str(inside), "-L", str(root), f"{root}/usr/bin/python{PYTHON}"])
    for path in (inside, python):
        path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        path.chmod(0o755)


def run(command: list[str], folder: Path) -> None:
    """Run it in `folder`; where it fails, this program ends with its last words."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        sys.exit(f"{shlex.join(command)}\nended with {done.returncode}: {' '.join(last)}")


if __name__ == "__main__":
    main()
