"""The device's command line: look at the machine, compile, verify, bench, predict.

Inside a bundle: `python run.py verify` (the bundle's run.py is this file, beside targets/). From the workshop:
`python -m edgedistill.targets.run verify --bundle DIR`. Needs Python 3.10, numpy and one runtime; `predict` also
Pillow. Exit codes: 0 done and valid, 4 measured but invalid, 2 the input or the machine, 130
interrupted, 143 by SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:

    def _end_at_once(number: int, frame: object) -> None:
        """On Ctrl-C while modules are still imported, half a second: nothing is begun that has to be tidied up."""
        try:
            os.write(2, b"interrupted\n")
        finally:
            os._exit(128 + number)

    signal.signal(signal.SIGINT, _end_at_once)

import argparse
import logging
import math
import platform
import warnings
from pathlib import Path
from typing import Any, NoReturn

if sys.version_info < (3, 10):  # noqa: UP036  # before what JetPack 5's 3.8 cannot read
    sys.stderr.write(f"error: this is Python {platform.python_version()}, and the bundle needs 3.10 or later\n")
    sys.stderr.write("Flash JetPack 6 or later, or name another Python, such as: python3.10 run.py doctor\n")
    sys.exit(2)

if __name__ == "__main__" and not __package__:
    # Started as a file: a bundle's run.py lies beside targets/, the original inside it. Either way `targets` is the
    # package that the relative imports below mean (PEP 366).
    _here = Path(__file__).resolve().parent
    sys.path.insert(0, str(_here if (_here / "targets").is_dir() else _here.parent))
    __package__ = "targets"

try:
    from . import lifeline, providers, runtimes, stopping, streams
    from .errors import TargetError
    from .length import HELP, MODES
    from .limits import PROFILE
    from .printable import line, log_lines, say
    from .run_bench import bench
    from .run_compile import compile_engines
    from .run_doctor import doctor
    from .run_memory import memory_of_serving
    from .run_predict import predict
    from .run_verify import verify
except ImportError as error:
    if __name__ != "__main__":
        raise
    if (error.name or "").partition(".")[0] == __package__.partition(".")[0]:
        sys.stderr.write(f"error: this bundle was copied by half: {' '.join(str(error).split())}\n")
        sys.stderr.write("Copy the bundle whole: run.py, targets/ and all that lies beside them\n")
    else:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        sys.stderr.write(f"Install it for this Python: {sys.executable} -m pip install {error.name or 'numpy'}\n")
    sys.exit(2)

THREADS = (
    "of a CPU runtime; 0: physical cores, at most 8 (default: the profile's; where it fixes none, verify finds out how "
    "many are worth it, and predict takes what the verdict was measured with)"
)
BENCH_HELP = (
    "quick: 1 s or more a model; full: as long as the profile says, 10 s or more; soak: 10 minutes a model. One run: "
    "below a line stands why it does not count, and the exit code is 4 then."
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code. Errors are two lines on stderr."""
    try:
        lifeline.end_with_parent()
        options = parser().parse_args(arguments)
        log_lines(logging.WARNING)
        return options.command(options)
    except TargetError as error:
        say(f"error: {error.wrong}", error=True)
        say(error.todo, error=True)
        return error.exit_code
    except MemoryError:
        say("error: the machine's memory is full", error=True)
        say("Close other programs, then run it again.", error=True)
        return TargetError.exit_code
    except KeyboardInterrupt:
        say("interrupted", error=True)
        return stopping.exit_code()


class _Parser(argparse.ArgumentParser):
    """argparse, with errors in our two lines."""

    def error(self, message: str) -> NoReturn:
        self.exit(TargetError.exit_code, f"error: {line(message)}\nSee: {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="run.py",
        description="Measure and use this bundle's classifier on the machine you are on.",
        epilog="Start with `doctor`; it ends with what to run next. Exit codes: 0 done and valid, 4 measured but "
        "invalid (too hot, throttled, wrong outputs), 2 wrong input or machine.",
    )
    parser.add_argument("--bundle", type=_path, metavar="DIR", help="the bundle (default: where this file is)")
    # Accepted after the command as well; suppressed as default, or it would hide one given before.
    bundle: dict[str, Any] = {"type": _path, "metavar": "DIR", "default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Any, help: str | None) -> argparse.ArgumentParser:
        shown: dict[str, Any] = {} if help is None else {"help": help}  # a command without help is not listed
        added = commands.add_parser(name, description=run.__doc__, **shown)
        added.set_defaults(command=run, itself=_itself(), mode=MODES[0], warmup_s=None, min_s=None, min_queries=None)
        added.add_argument("--bundle", **bundle)
        return added

    def choices(added: argparse.ArgumentParser, several: bool = False) -> None:
        words = "only this one; repeatable" if several else "fp32, fp16 ..."
        action = "append" if several else "store"
        added.add_argument("--model", metavar="PRECISION", help=words, action=action)
        words = f"{', '.join(runtimes.RUNTIMES)} (default: the profile's{'; repeatable' if several else ''})"
        added.add_argument("--runtime", metavar="NAME", help=words, action=action)
        added.add_argument("--threads", type=_count, metavar="N", help=THREADS)

    def lengths(added: argparse.ArgumentParser, words: str = HELP) -> None:
        added.add_argument("--mode", choices=MODES, default=MODES[0], help=words.replace("%", "%%"))
        for name, kind in (("--warmup-s", _seconds), ("--min-s", _seconds), ("--min-queries", _queries)):
            added.add_argument(name, type=kind, help=argparse.SUPPRESS)

    command("doctor", doctor, "say what this machine is and has, and what to run next")

    added = command("compile", compile_engines, "build TensorRT engines for this very machine")
    added.add_argument("--model", metavar="PRECISION", help="only this one")
    added.add_argument("--again", action="store_true", help="build even where an engine fits")

    added = command("verify", verify, "measure every candidate on the check set and write a result each")
    choices(added, several=True)
    lengths(added)
    added.add_argument("--out", type=_path, metavar="DIR", help="default: results/, a file a candidate")

    added = command("bench", bench, "latency of every model, side by side")
    choices(added)
    lengths(added, BENCH_HELP)
    words = "10 minutes of each model alone, and the 90th percentile as MLPerf estimates it; not an MLPerf result"
    added.add_argument("--mlperf-like", action="store_true", help=words)
    added.add_argument("--json", type=_path, metavar="FILE", help="write the rows there")

    added = command("predict", predict, "classify image files (needs Pillow)")
    added.add_argument("images", nargs="+", type=_path, metavar="IMAGE")
    choices(added)
    added.add_argument("--json", action="store_true", help="one JSON object a line")

    added = command("memory", memory_of_serving, None)
    choices(added)
    lengths(added)
    return parser


def _itself() -> list[str]:
    """What Python is given to start this program again."""
    return ["-m", __name__] if __name__ != "__main__" else ["-m", __spec__.name] if __spec__ else [__file__]


def _path(text: str) -> Path:
    """With the home folder for a ~ that no shell replaced, as in --out=~/results."""
    return Path(os.path.expanduser(text))


def _count(text: str) -> int:
    return _whole(text, int(PROFILE["runtime.threads"].high))


def _queries(text: str) -> int:
    return _whole(text, 10**9)


def _whole(text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and int(text) <= most):
        raise argparse.ArgumentTypeError(f"{line(text, 40)!r} is no whole number from 0 to {most}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1e6:
        raise argparse.ArgumentTypeError(f"{line(text, 40)!r} is no number of seconds from 0 to 1000000")
    return number


if __name__ == "__main__":
    # A program of its own: neither a character that cannot be encoded nor a reader who went away ends it, Pillow's
    # warnings stay out, float32 is float32, and onnxruntime reports to nobody.
    streams.settle()
    warnings.filterwarnings("ignore", module=r"PIL\.")
    providers.turn_tf32_off()
    providers.turn_telemetry_off()
    stopping.stop_as_ctrl_c_does()
    if callable(signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
