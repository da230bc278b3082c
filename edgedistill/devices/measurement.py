"""How a device is asked to measure: one object from the flags to run.py's command line."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError
from ..targets.length import MODES


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """mode: how long (targets/length.py). threads: of a CPU session, 0 for the physical cores, None for the profile's,
    or what a trial finds."""

    mode: str = MODES[0]
    threads: int | None = None

    def __post_init__(self) -> None:
        """Raises InputError for a mode that is none."""
        if self.mode not in MODES:
            raise InputError(f"--mode is {self.mode!r}", f"Use one of: {', '.join(MODES)}.")

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words that say so to `run.py verify`."""
        threads = ("--threads", str(self.threads)) if self.threads is not None else ()
        return ("--mode", self.mode, *threads)


FULL = Measurement()
