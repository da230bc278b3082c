"""What runs on a board while the workshop is connected: takes files, runs run.py, hands out what it wrote.

connection.py sends the text of this file to the board's Python (3.10 or later) and talks to it over stdin and stdout.
So it needs nothing but the standard library. `Tree` is also how a bundle is copied to a folder on this machine.

A message is a line of JSON. A question names what to do; the answers to it are any number of {"line": text}, then one
{"done": ...} or {"error": code, ...}. Content of files follows its message as it is, "bytes" long. An empty line only
says that the workshop is still there: after `silence_s` without a byte, and at the end of stdin, whatever was started
here is ended and the lock is free again, so that a connection that was cut does not keep a board busy.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

LOCK = ".edgedistill.lock"
BLOCK = 1 << 16
RETRY_S = 0.2
LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
try:
    from targets import runtimes
    error = runtimes.problem(sys.argv[2])
    print(json.dumps(None if error is None else [error.wrong, error.todo]))
except ImportError as error:
    print(json.dumps([f"{error.name or sys.argv[2]} cannot be imported: {error}", ""]))
"""


class Gone(Exception):
    """The workshop does not answer any more."""


class Refused(Exception):
    """Something that cannot be done here: a code and its figures, for the workshop to put into words."""

    def __init__(self, code: str, **figures: Any) -> None:
        self.code, self.figures = code, figures
        super().__init__(code)


def refusal(error: OSError) -> Refused:
    """An operating system's error by what can be done about it."""
    path = os.fsdecode(error.filename) if error.filename is not None else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Refused("full", path=path)
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return Refused("taken", path=str(in_the_way(Path(path))))
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Refused("denied", path=path, text=error.strerror)
    return Refused("system", path=path, text=error.strerror or str(error))


def in_the_way(folder: Path) -> Path:
    """The first of the path that is there and is no folder; all of it where none is."""
    places = [*reversed(folder.parents), folder]
    return next((place for place in places if os.path.lexists(place) and not place.is_dir()), folder)


class Tree:
    """A folder that is brought file by file and appears whole: `folder`/`name`, made in `.name.partial` beside it.

    What an interrupted copy left there is used by the next one. sign: the file that a folder has to hold to be one of
    ours, which may be replaced. Raises Refused("strange") for any other, and OSError.
    """

    def __init__(self, folder: Path, name: str, sign: str) -> None:
        self.path = folder / name
        self._partial, self._old = folder / f".{name}.partial", folder / f".{name}.old"
        self._sign = sign

    def look(self) -> None:
        """Raises Refused where the folder's place is taken by something that is not ours."""
        ours = not os.path.lexists(self.path) or (self.path / self._sign).is_file()
        if not ours and (self.path.is_symlink() or not self.path.is_dir() or any(self.path.iterdir())):
            raise Refused("strange", path=str(self.path))

    def missing(self, files: dict[str, str]) -> list[str]:
        """Which of `files` (name -> SHA-256) are not here with that content. Undoes a swap that was cut in the middle.

        Raises Refused where the folder's place is taken by something else.
        """
        if not os.path.lexists(self.path) and self._old.is_dir():
            self._old.rename(self.path)
        shutil.rmtree(self._old, ignore_errors=True)
        self.look()
        for left in [path for path in self._partial.rglob("*") if path.is_file() or path.is_symlink()]:
            name = left.relative_to(self._partial).as_posix()
            if left.is_symlink() or name not in files or sha256(left) != files[name]:
                left.unlink()
        here = {name for name, digest in files.items() if sha256(self.path / name) == digest}
        return [name for name in files if name not in here and not (self._partial / name).is_file()]

    def receive(self, name: str, digest: str, blocks: Iterable[bytes]) -> None:
        """Write one file; it is there whole and with this SHA-256, or not at all."""
        receive(self._partial / name, digest, blocks)

    def publish(self, files: dict[str, str], keep: str = "") -> bool:
        """Make the folder hold `files`, all of which are here, and nothing else but the sub-folder `keep`.

        False where it did so already. The older folder goes; until the new one is whole, it stays.
        """
        brought = any(path.is_file() for path in self._partial.rglob("*"))
        if not brought and all((self.path / name).is_file() for name in files):
            shutil.rmtree(self._partial, ignore_errors=True)
            return False
        self._partial.mkdir(parents=True, exist_ok=True)
        kept = sorted((self.path / keep).glob("*")) if keep else []
        for name in [*files, *(path.relative_to(self.path).as_posix() for path in kept if path.is_file())]:
            if not (self._partial / name).is_file():
                (self._partial / name).parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(self.path / name, self._partial / name)
        for path in [*self._partial.rglob("*"), self._partial]:
            if path.is_dir():
                flush(path)
        if self.path.is_dir():
            self.path.rename(self._old)
        self._partial.rename(self.path)
        flush(self.path.parent)
        shutil.rmtree(self._old, ignore_errors=True)
        return True


def receive(path: Path, digest: str, blocks: Iterable[bytes]) -> None:
    """Write a file; it is there whole and with this SHA-256, or as it was before."""
    temporary = path.with_name(f".{path.name}.part"[-255:])
    found = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            for block in blocks:
                found.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        if found.hexdigest() != digest:
            raise Refused("changed", path=str(path))
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str | None:
    """Hex SHA-256 of a regular file, None where there is none."""
    if path.is_symlink() or not path.is_file():
        return None
    found = hashlib.sha256()
    for block in blocks(path):
        found.update(block)
    return found.hexdigest()


def blocks(path: Path) -> Iterator[bytes]:
    """A file's content."""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            yield block


def link_or_copy(source: Path, target: Path) -> None:
    """One file under a second name; a copy where the file system has no links, as on most USB sticks."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def flush(folder: Path) -> None:
    """A folder's entries onto the disk, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Wire:
    """The two ends of the connection: messages in, messages and content out."""

    def __init__(self, source: int, sink: int, silence_s: float) -> None:
        self.source = source
        self._sink, self._silence_s = sink, silence_s
        self._waiting, self._heard = b"", time.monotonic()

    def message(self) -> dict[str, Any]:
        """The next message; empty lines are left out. Raises Gone."""
        while True:
            line, newline, rest = self._waiting.partition(b"\n")
            if newline:
                self._waiting = rest
                if line.strip():
                    return json.loads(line)
            else:
                self.more()

    def content(self, length: int) -> Iterator[bytes]:
        """The next `length` bytes. Raises Gone."""
        while length:
            if not self._waiting:
                self.more()
            block, self._waiting = self._waiting[:length], self._waiting[length:]
            length -= len(block)
            yield block

    def more(self) -> None:
        """Wait for bytes. Raises Gone."""
        ready, _, _ = select.select([self.source], [], [], self._silence_s)
        found = os.read(self.source, BLOCK) if ready else b""
        if not found:
            raise Gone
        self._waiting += found
        self._heard = time.monotonic()

    def check(self, ready: bool) -> None:
        """Between two messages, with or without bytes to be read: is the workshop still there? Raises Gone."""
        if ready:
            self.more()
            self._waiting = self._waiting.lstrip(b"\n")
        elif time.monotonic() - self._heard > self._silence_s:
            raise Gone

    def say(self, **message: Any) -> None:
        self.send(json.dumps(message).encode("ascii") + b"\n")

    def send(self, content: bytes) -> None:
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(self._sink, view) :]
        except OSError as error:
            raise Gone from error


class Conversation:
    """Answers one question after the other until the workshop is gone."""

    def __init__(self, wire: Wire, folder: Path, patience_s: float) -> None:
        self.wire, self.folder, self.patience_s = wire, folder, patience_s
        self.trees: dict[str, tuple[Tree, dict[str, str], str]] = {}

    def go_on(self) -> None:
        """Until the workshop is gone."""
        while True:
            question = self.wire.message()
            answer: Callable[..., Any] = getattr(self, f"do_{question.pop('do')}")
            try:
                self.wire.say(done=answer(**question))
            except Refused as error:
                self.wire.say(error=error.code, **error.figures)
            except OSError as error:
                found = refusal(error)
                self.wire.say(error=found.code, **found.figures, **self.room())

    def room(self) -> dict[str, int]:
        """Bytes that are free in the folder."""
        with contextlib.suppress(OSError):
            return {"free": shutil.disk_usage(self.folder).free}
        return {}

    def do_lock(self, wait: bool = True) -> dict[str, Any]:
        """Make the folder and hold it, until this process ends. Waits `patience_s` for another that holds it; without
        `wait`, "held" tells whether it is ours."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / LOCK
        self.lock = open(path, "a+b")  # noqa: SIM115  held, and so open, as long as this process lives
        until, told = time.monotonic() + self.patience_s, False
        while not locked(self.lock.fileno()):
            if not wait:
                return {"held": False}
            if time.monotonic() > until:
                raise Refused("busy", by=path.read_text(encoding="utf-8", errors="replace"))
            if not told:
                self.wire.say(line="another one is measuring there; waiting for it to end")
                told = True
            time.sleep(RETRY_S)
        self.lock.truncate(0)
        self.lock.write(os.environ.get("SSH_CONNECTION", "").partition(" ")[0].encode())
        self.lock.flush()
        return {"held": True, "folder": str(self.folder), **self.room()}

    def do_place(self, name: str, sign: str) -> None:
        """Whether a tree may be brought under this name. Raises Refused."""
        Tree(self.folder, name, sign).look()

    def do_tree(self, name: str, files: dict[str, str], sizes: dict[str, int], sign: str, keep: str) -> dict[str, Any]:
        """Begin to bring a tree; which of its files are missing here, and how many bytes are free."""
        tree = Tree(self.folder, name, sign)
        missing = tree.missing(files)
        self.trees[name] = (tree, files, keep)
        needed, free = sum(sizes[one] for one in missing), self.room().get("free", 0)
        if missing and needed > free:
            raise Refused("full", path=str(tree.path), needed=needed, free=free)
        return {"missing": missing}

    def do_file(self, tree: str, name: str, bytes: int) -> None:
        """One file of a tree, whose content follows. It is taken in to its end, also where it cannot be kept."""
        place, files, _ = self.trees[tree]
        content = self.wire.content(bytes)
        try:
            place.receive(name, files[name], content)
        finally:
            for _ in content:
                pass

    def do_publish(self, tree: str) -> bool:
        """Make a tree whose files are all here appear."""
        place, files, keep = self.trees[tree]
        return place.publish(files, keep)

    def do_keep(self, tree: str, name: str, text: str) -> None:
        """A small file into a tree that is in its place, beside what the tree itself holds; whole, or not at all."""
        content = text.encode()
        receive(self.trees[tree][0].path / name, hashlib.sha256(content).hexdigest(), [content])

    def do_look(self, program: str, runtimes: list[str]) -> dict[str, Any]:
        """What keeps each runtime from working here, two lines or None; and what a person needs to know to help."""
        found: dict[str, Any] = {}
        for name in runtimes:
            command = [sys.executable, "-c", LOOK, str(self.folder / program), name]
            done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
            try:
                found[name] = json.loads(done.stdout.splitlines()[-1])
            except (ValueError, IndexError):
                words = [ending(done.returncode), *done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]]
                found[name] = [f"the process that imports it ends with {': '.join(words)}", ""]
        return {
            "runtimes": found,
            "model": first_line("/proc/device-tree/model"),
            "virtual": sys.prefix != sys.base_prefix,
        }

    def do_run(self, arguments: list[str], clear: list[str]) -> dict[str, Any]:
        """Run Python with these arguments in the folder, its lines sent as they come; {"code", "said"}: how it ended,
        and its last lines on stderr. clear: folders that are emptied before."""
        for name in clear:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that what it started can be ended with it
            env={**os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace", "PYTHONUNBUFFERED": "1"},
        )
        try:
            said = self.relay(process)
            return {"code": process.wait(), "said": said}
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def relay(self, process: subprocess.Popen[bytes]) -> list[str]:
        """Send a process's lines until it closes its ends; its last ones on stderr. Raises Gone."""
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = process.stdout.fileno(), process.stderr.fileno()
        waiting = {out: b"", err: b""}
        said: list[str] = []
        while waiting:
            ready, _, _ = select.select([self.wire.source, *waiting], [], [], RETRY_S)
            self.wire.check(self.wire.source in ready)
            for end in [end for end in waiting if end in ready]:
                block = os.read(end, BLOCK)
                *lines, rest = (waiting[end] + block).split(b"\n")
                if not block:
                    lines, rest = [rest], b""
                    del waiting[end]
                else:
                    waiting[end] = rest
                for text in filter(None, (line.decode("utf-8", "replace").rstrip() for line in lines)):
                    self.wire.say(line=text)
                    if end == err:
                        said = [*said[-19:], text]
        return said

    def do_results(self, folder: str) -> list[str]:
        """The names of the JSON files that lie in a folder."""
        return sorted(path.name for path in (self.folder / folder).glob("*.json"))

    def do_fetch(self, folder: str, name: str, most: int) -> str:
        """One of them as text. Raises Refused where it holds more than `most` bytes."""
        path = self.folder / folder / name
        if path.stat().st_size > most:
            raise Refused("large", path=str(path))
        return path.read_text(encoding="utf-8", errors="replace")


def locked(descriptor: int) -> bool:
    """Whether the file is locked for this process now. A file system without locks counts as one."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def ending(code: int) -> str:
    """How a process ended: "exit code 1", "SIGILL"."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def first_line(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").split("\n")[0].strip(" \t\0")
    except OSError:
        return ""


def main(folder: str, silence_s: float, patience_s: float) -> None:
    """Hold the conversation over stdin and stdout."""
    wire = Wire(0, 1, silence_s)
    wire.say(done="here")
    with contextlib.suppress(Gone):
        Conversation(wire, Path(folder).absolute(), patience_s).go_on()
