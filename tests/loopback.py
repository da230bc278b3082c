"""A board on this machine: a real sshd on the loopback interface, with a host key, a user key and a home of its own.

    with Board(folder) as board:
        ...  # board.url, board.environment for a program that is to reach it by ssh

Its login is a script that can be written anew between two connections (`log_in`), so that a board may lack Python,
greet with a banner, or have another PATH. The OpenSSH client in front of it is the real one, given its configuration by
a wrapper named ssh. Needs /usr/sbin/sshd; `why_not()` says so where there is none.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

SSHD = shutil.which("sshd") or next((path for path in ("/usr/sbin/sshd",) if os.access(path, os.X_OK)), None)
CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
PasswordAuthentication yes
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin yes
ForceCommand {folder}/login
MaxStartups 100
LogLevel FATAL
"""
CLIENT = """
Host *
UserKnownHostsFile {folder}/known_hosts
GlobalKnownHostsFile /dev/null
IdentityFile {folder}/user_key
IdentitiesOnly yes
StrictHostKeyChecking yes
"""


def why_not() -> str | None:
    """Why no such board can be had on this machine; None where it can."""
    if SSHD is None or shutil.which("ssh") is None:
        return "needs OpenSSH's sshd and ssh: openssh-server, openssh-client"
    if os.getuid() == 0:  # where sshd drops its privileges to
        with contextlib.suppress(OSError):
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        if not os.path.isdir("/run/sshd"):
            return "sshd needs /run/sshd"
    return None


class Board:
    """One sshd and what belongs to it, in `folder`. `home` is where a login begins."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.home, self.bin = folder, folder / "home", folder / "bin"
        self.port = free_port()
        self.user = getpass.getuser()
        for place in (self.home, self.bin, folder / "client"):
            place.mkdir()
        for name in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
        shutil.copyfile(folder / "user_key.pub", folder / "authorized_keys")
        self.know((folder / "host_key.pub").read_text())
        (folder / "sshd_config").write_text(CONFIG.format(port=self.port, folder=folder))
        (folder / "client" / "config").write_text(CLIENT.format(folder=folder))
        script(
            folder / "client" / "ssh", f'exec {shutil.which("ssh")} -F {shlex.quote(f"{folder}/client/config")} "$@"'
        )
        self.python(f'exec {shlex.quote(sys.executable)} "$@"')
        self.log_in()
        self._sshd: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Board:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def login(self) -> str:
        return f"{self.user}@127.0.0.1"

    @property
    def url(self) -> str:
        return f"ssh://{self.login}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """For a program here that is to find this board's ssh first."""
        return {**os.environ, "PATH": f"{self.folder}/client:{os.environ['PATH']}"}

    def know(self, key: str) -> None:
        """The client takes this one for the board's host key."""
        kind, content = key.split()[:2]
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {kind} {content}\n")

    def python(self, line: str) -> None:
        """What the board's python3 does: a line of sh."""
        script(self.bin / "python3", line)

    def log_in(self, before: str = ":", path: str | None = None) -> None:
        """What a login does before the command it came for, and its PATH, where the board's python3 comes first."""
        path = path or f"{self.bin}:/usr/bin:/bin"
        quoted = shlex.quote(str(self.home))
        lines = [f"export HOME={quoted} PATH={shlex.quote(path)}", f"cd {quoted}", before]
        script(self.folder / "login", "\n".join([*lines, 'exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"']))

    def start(self) -> None:
        """Boot: sshd answers when this returns."""
        assert SSHD is not None
        self._sshd = subprocess.Popen([SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")])
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as asked:
                if asked.recv(4) == b"SSH-":
                    return
            time.sleep(0.05)
        raise RuntimeError("sshd does not answer")

    def stop(self) -> None:
        """The power goes: sshd and every session of it are killed, what they started is left to itself."""
        if self._sshd is None:
            return
        for process in [self._sshd.pid, *(pid for pid in descendants(self._sshd.pid) if name_of(pid) == "sshd")]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._sshd.wait()
        self._sshd = None

    def logins(self) -> int:
        """How many connections it has now: sshd has a process for each."""
        return 0 if self._sshd is None else len(children().get(self._sshd.pid, []))

    def started(self) -> list[int]:
        """The processes that sessions run now, sshd's own left out."""
        return [] if self._sshd is None else [pid for pid in descendants(self._sshd.pid) if name_of(pid) != "sshd"]


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def name_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip().partition(":")[0]
    return ""


def descendants(pid: int) -> list[int]:
    """Children and theirs."""
    of_each = children()
    found, left = [], [pid]
    while left:
        found += (new := of_each.get(left.pop(), []))
        left += new
    return found


def children() -> dict[int, list[int]]:
    """Process -> those that it started, of Linux's /proc."""
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                found.setdefault(parent, []).append(int(entry.name))
    return found
