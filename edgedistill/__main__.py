"""The command `edgedistill`, and `python -m edgedistill`."""

from __future__ import annotations

import os
import signal
from typing import NoReturn


def main() -> None:
    """Load the command line and run it. Ctrl-C while it is loaded ends at once: nothing has to be tidied up yet."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, _end_at_once)
    from .cli import main as run

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _end_at_once(number: int, frame: object) -> NoReturn:
    try:
        os.write(2, b"interrupted\n")
    finally:
        os._exit(128 + number)


if __name__ == "__main__":
    main()
