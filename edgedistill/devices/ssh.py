"""A board that ssh reaches: the bundle is copied there, measured there, and its results are brought back."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..targets.manifest import Manifest
from ..targets.names import TENSORRT
from ..work.console import SILENT, Progress
from ..work.scratch import scratch
from . import measured, packages
from .address import SCHEME, Address, read_address
from .bring import bring, program_files
from .connection import PATIENCE_S, Connection
from .measurement import FULL, Measurement
from .trouble import printable

log = logging.getLogger(__name__)

MOST_RESULTS, MOST_BYTES = 64, 8 << 20
RESULT_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\.json")


@dataclass(frozen=True)
class Ssh:
    """A board by its address. The bundle lies in the address's folder there, under its own name."""

    address: Address
    name: str
    named: bool = True
    patience_s: float = PATIENCE_S  # of waiting for another one that measures there

    @classmethod
    def at(cls, text: str) -> Ssh:
        """The device of `--device ssh://...`. Raises InputError for an address that is none."""
        return cls(read_address(text), text)

    def check(self, profile: dict[str, Any], bundle: Path) -> None:
        """The board answers, its Python is one that will do, the folder takes files and a runtime works. While another
        one measures there, the last is left for later."""
        name = bundle.resolve().name
        with Connection(self.address, self.patience_s) as board:
            board.doing("looking at its folder")
            if not board.ask("lock", wait=False)["held"]:
                log.info("another one is measuring on %s: its runtimes are looked at later", self.address.login)
                return
            board.ask("place", name=name, sign="manifest.json")
            usable = self._usable(board, _with_program(board, name), profile)
            log.info("%s answers: %s", self.address.login, ", ".join(usable))

    @contextmanager
    def measure(
        self, manifest: Manifest, asked: Measurement = FULL, progress: Progress = SILENT
    ) -> Iterator[list[Path]]:
        """The results of every candidate, in the bundle's results/. The board is held until all is decided.

        What the board has already is not copied again; engines that were compiled there stay. Raises InputError for
        what keeps it from being measured; the same command goes on from where it was then.
        """
        results = measured.results_of(manifest)
        with Connection(self.address, self.patience_s) as board, scratch(results) as folder:
            bundle = manifest.path.resolve().name
            board.doing("looking at its folder")
            board.ask("lock", log.warning)
            program = _with_program(board, bundle)
            usable = self._usable(board, program, manifest.profile)
            files = {**manifest.data["files"], "manifest.json": manifest.sha256}
            log.info("measuring on %s, in %s", self.address.login, f"{self.address.shown_folder}/{bundle}")
            places = {name: manifest.path / name for name in files}
            bring(board, bundle, places, files, "manifest.json", progress, keep="engines")
            if TENSORRT in usable:
                self._compile(board, program, bundle, progress)
            arguments = ["verify", "--bundle", f"./{bundle}", *asked.arguments]
            found = self._verify(board, program, bundle, arguments, folder, progress)
            yield measured.kept(results, found, beside=False)
            verdict = manifest.path / measured.VERDICT
            if verdict.is_file():
                board.doing("putting the verdict beside the models")
                try:
                    board.ask("keep", tree=bundle, name=verdict.name, text=measured.verdict_of(verdict))
                except InputError as error:  # what was found is still said
                    log.warning("the verdict does not reach the board: %s", error.wrong)

    def next_steps(self, manifest: Manifest, *, unstable: bool) -> tuple[str, ...]:
        """Measure again where this is the board; else name the board."""
        verify = f"edgedistill verify {shlex.quote(str(manifest.path))} --device"
        if unstable:
            return (
                f"# on {self.address.login}: stop what else runs there; here: measure again",
                f"{verify} {shlex.quote(self.name)}",
            )
        return (f"# here: name the {printable(manifest.profile['title'])}", f"{verify} {SCHEME}USER@BOARD")

    def anonymous(self) -> Ssh:
        """With no name of a machine or a user in it."""
        return Ssh(Address("BOARD", "USER"), f"{SCHEME}USER@BOARD")

    def _usable(self, board: Connection, program: str, profile: dict[str, Any]) -> list[str]:
        """The profile's runtimes that work on the board. Raises InputError with what to install where none does."""
        prefer = profile["runtime"]["prefer"]
        board.doing("looking at its runtimes")
        found = board.ask("look", program=program, runtimes=prefer)
        if usable := [name for name, problem in found["runtimes"].items() if problem is None]:
            return usable
        wrong = "; ".join(f"{name}: {printable(str(problem[0]))}" for name, problem in found["runtimes"].items())
        raise InputError(
            f"no runtime of the profile {profile['name']} works on {self.address.login} "
            f"under {board.greeting.executable} ({wrong})",
            packages.advice(self.address, board.greeting, prefer, found),
        )

    def _compile(self, board: Connection, program: str, bundle: str, progress: Progress) -> None:
        """Build the engines first, so that no candidate is measured while the board is still warm from it. One that
        cannot be built is a candidate that does not run, and verify tells."""
        ended = _run(
            board, "compile engines", [f"{program}/run.py", "compile", "--bundle", f"./{bundle}"], [], progress
        )
        if ended["code"] != 0:
            log.warning("%s", " ".join(ended["said"][-2:]))

    def _verify(
        self, board: Connection, program: str, bundle: str, arguments: list[str], scratch: Path, progress: Progress
    ) -> list[Path]:
        """One `run.py verify` there; its results, fetched into the folder `scratch`."""
        results = f"{bundle}/{measured.RESULTS}"
        ended = _run(board, "measure", [f"{program}/run.py", *arguments], [results], progress)
        names = board.ask("results", folder=results) if ended["code"] in (measured.VALID, measured.INVALID) else []
        names = [name for name in names if RESULT_NAME.fullmatch(name)][:MOST_RESULTS]
        if not names:
            folder = shlex.quote(f"{self.address.folder}/{bundle}")
            again = shlex.join(["ssh", *self.address.words, f"cd {folder} && python3 run.py verify"])
            raise measured.failure(ended["said"], ended["code"], self.address.login, f"To see all of it: {again}")
        for line in measured.told_again(ended["said"]):
            log.warning("%s", line)
        for name in names:
            (scratch / name).write_text(board.ask("fetch", folder=results, name=name, most=MOST_BYTES), "utf-8")
        return [scratch / name for name in names]


def _with_program(board: Connection, bundle: str) -> str:
    """The workshop's program onto the board, beside the bundle; the name of its folder there."""
    program = f".{bundle}.program"
    bring(board, program, *program_files(), "run.py", SILENT)
    return program


def _run(board: Connection, what: str, arguments: list[str], clear: list[str], progress: Progress) -> dict[str, Any]:
    """Run a command of run.py there; how it ended. Its lines are the words beside the bar."""
    board.doing(f"running {arguments[1]}")
    progress.start(f"{what} there", 0)

    def told(line: str) -> None:
        log.debug("%s", line)
        progress.advance(0, line)

    try:
        ended = board.ask("run", told, arguments=arguments, clear=clear)
        progress.advance(1, f"on {board.address.login}")
    finally:
        progress.done()
    return {"code": ended["code"], "said": [printable(str(line)) for line in ended["said"]]}
