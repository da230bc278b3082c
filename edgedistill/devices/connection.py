"""One ssh session to a board: questions and files go there, answers come back (on_board.py is the other end).

OpenSSH's client does the rest: host keys, agent, passwords, ssh config, jump hosts. It is started with a list of words,
and once, so that a password is asked for once. What the board's login shell has to parse is quoted by shlex; everything
later travels as data.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import InputError
from ..targets.outside import LARGE, parse_json
from . import on_board, trouble
from .address import Address
from .trouble import Greeting

OPTIONS = (
    *("-T", "-x", "-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none"),  # a session for data, and no more
    *("-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"),  # a board may go away
)
GREETING = "edgedistill-"
LEAST_PYTHON = (3, 10)
# The first Python that is there runs what follows. One beside the bundles comes before the system's.
FIND_PYTHON = (
    "if test -r /etc/nv_tegra_release; then read -r l4t </etc/nv_tegra_release; fi; "
    'echo; echo edgedistill-l4t "$l4t"; '
    'for python in "$1/runtime/bin/python" python3; do '
    'if command -v "$python" >/dev/null 2>&1; then exec "$python" -c "$2"; fi; done; echo edgedistill-none'
)
START = (
    "import json, sys; print(); "
    'print("edgedistill-python", *sys.version_info[:3], json.dumps(sys.executable), flush=True); '
    "sys.version_info >= (3, 10) or sys.exit(); question = json.loads(sys.stdin.buffer.readline()); names = {}; "
    'exec(compile(sys.stdin.buffer.read(question.pop("bytes")), "on_board.py", "exec"), names); '
    'names["main"](**question)'
)
SILENCE_S = 30.0  # after which the board gives up a workshop that says nothing
BEAT_S = 5.0
PATIENCE_S = SILENCE_S + 10  # longer than one that was cut off holds the lock
MOST_LINES = 1000  # that a login may print before our own
LONGEST_LINE = 1 << 24
BLOCK = 1 << 20

Told = Callable[[str], None]


def silent(line: str) -> None:
    """For a question whose lines nobody reads."""


class Connection:
    """Ask the board, as long as the `with` lasts. Raises InputError, in two lines, for all that goes wrong there or on
    the way. patience_s: how long to wait for another one that measures on the board."""

    def __init__(self, address: Address, patience_s: float = PATIENCE_S) -> None:
        self.address = address
        self.greeting = Greeting()
        self._patience_s = patience_s
        self._said: deque[str] = deque(maxlen=50)  # by ssh on stderr, and so by the other end where it fails
        self._writing, self._over = threading.Lock(), threading.Event()
        self._doing = "connecting"

    def __enter__(self) -> Connection:
        if shutil.which("ssh") is None:
            raise InputError("there is no ssh on this machine", "Install OpenSSH's client, such as openssh-client.")
        start = shlex.join(["sh", "-c", FIND_PYTHON, "edgedistill", self.address.folder, START])
        command = ["ssh", *OPTIONS, *self.address.words, start]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._questions, self._answers, self._words = self._process.stdin, self._process.stdout, self._process.stderr
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        try:
            self._greet()
        except BaseException:
            self._end()
            raise
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def ask(self, do: str, told: Told = silent, **question: Any) -> Any:
        """What the board answers; `told` gets the lines that it says meanwhile."""
        self._write([self._message({"do": do, **question})])
        return self._answer(told)

    def send_file(self, tree: str, name: str, path: Path, moved: Callable[[int], None]) -> None:
        """A file of a tree that `ask("tree", ...)` began; `moved` is told the bytes that are on their way."""
        self._doing = f"copying {name}"
        size = path.stat().st_size
        question = {"do": "file", "tree": tree, "name": name, "bytes": size}
        self._write(self._with_content(question, path, size, moved))
        self._answer(silent)

    def doing(self, what: str) -> None:
        """What is told where the connection breaks now: "measuring"."""
        self._doing = what

    def _with_content(
        self, question: dict[str, Any], path: Path, size: int, moved: Callable[[int], None]
    ) -> Iterator[bytes]:
        yield self._message(question)
        with path.open("rb") as file:
            while size:
                block = file.read(min(BLOCK, size)).ljust(1, b"\0")  # of a file that became shorter: its hash will tell
                size -= len(block)
                yield block
                moved(len(block))

    @staticmethod
    def _message(content: dict[str, Any]) -> bytes:
        return json.dumps(content).encode("ascii") + b"\n"

    def _write(self, blocks: Iterator[bytes] | list[bytes]) -> None:
        try:
            with self._writing:
                for block in blocks:
                    self._questions.write(block)
                self._questions.flush()
        except OSError as error:
            raise self._broken() from error

    def _answer(self, told: Told) -> Any:
        while True:
            try:
                answer = parse_json(self._line(), LARGE)
            except ValueError as error:
                raise self._broken() from error
            if not isinstance(answer, dict):
                raise self._broken()
            if "line" in answer:
                told(trouble.printable(str(answer["line"])))
            elif "error" in answer:
                raise trouble.refused(self.address, self._doing, answer)
            else:
                return answer.get("done")

    def _line(self) -> bytes:
        line = self._answers.readline(LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise self._broken()
        return line

    def _greet(self) -> None:
        """Read what the login prints until the board's Python reports, and give that the other end's program."""
        for _ in range(MOST_LINES):
            line = self._answers.readline(LONGEST_LINE)
            if not line:
                break
            word, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            if word == f"{GREETING}l4t":
                self.greeting.l4t = trouble.printable(rest)
            elif word == f"{GREETING}none":
                raise trouble.no_python(self.address, self.greeting)
            elif word == f"{GREETING}python":
                *version, executable = rest.split(" ", 3)
                self.greeting.python = tuple(int(part) for part in version)
                self.greeting.executable = trouble.printable(str(json.loads(executable)))
                if self.greeting.python < LEAST_PYTHON:
                    raise trouble.old_python(self.address, self.greeting)
                self._start()
                return
        raise trouble.not_reached(self.address, self._last_words())

    def _start(self) -> None:
        program = Path(on_board.__file__).read_bytes()
        start = {"bytes": len(program), "folder": self.address.folder, "silence_s": SILENCE_S}
        self._write([self._message({**start, "patience_s": self._patience_s}), program])
        self._answer(silent)

    def _beat(self) -> None:
        """Tell the board now and then that we are there."""
        while not self._over.wait(BEAT_S):
            with contextlib.suppress(OSError, ValueError), self._writing:
                self._questions.write(b"\n")
                self._questions.flush()

    def _listen(self) -> None:
        for line in self._words:
            self._said.append(trouble.printable(line.decode("utf-8", "replace").strip()))

    def _last_words(self) -> list[str]:
        """What ssh said, all of it: it has ended, or does so now."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self._listener.join(timeout=1)
        return [line for line in self._said if line]

    def _broken(self) -> InputError:
        return trouble.cut(self.address, self._doing, self._last_words(), self._process.poll())

    def _end(self) -> None:
        """Close our end, which ends the other; wait a moment for ssh, which then has to go."""
        self._over.set()
        with contextlib.suppress(OSError), self._writing:
            self._questions.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(timeout=1)
        self._answers.close()
        self._words.close()
