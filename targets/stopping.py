"""SIGTERM and a terminal that closes end a program as Ctrl-C does: what it began is tidied up, and it says what to do.

The exit code is a shell's: 128 and the signal's number, so 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
"""

from __future__ import annotations

import signal
from types import FrameType

_came = [int(signal.SIGINT)]


def stop_as_ctrl_c_does() -> None:
    """For a program, not a library. A signal that whoever started it had ignored (nohup does that) stays ignored."""
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _stop)


def exit_code() -> int:
    """Of a program that a KeyboardInterrupt ended."""
    return 128 + _came[-1]


def interruption(error: BaseException | None) -> bool:
    """Whether an error came of a KeyboardInterrupt that a library took for a failure of its own."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one would break into the tidying up; kill -9 still ends it
    _came.append(number)
    raise KeyboardInterrupt
