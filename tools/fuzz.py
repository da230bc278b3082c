"""Feed a reader with damaged files until its time is over: nothing but our own two-line error may come out.

    python tools/fuzz.py result --minutes 10 --json benchmarks/results/fuzz.json
    python tools/fuzz.py all --minutes 0.5

READER is one of fuzz_readers.READERS; several, or all, are taken in turn. Good files lie in tools/corpus/READER
(fuzz_corpus.py makes them); fuzz_mutations.py damages them. A crash is any other exception; a hang is more than 5 s of
processor time; the memory of the process must stay below 500 MB. An input that crashed or hung is kept in --found. Exit
1 if any was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from fuzz_mutations import damaged
from fuzz_readers import READERS, Reader

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import rows  # noqa: E402

CORPUS = ROOT / "tools/corpus"
HANG_S = 5.0
MOST_MB = 500


class Hang(BaseException):
    """Raised inside a reader that has used more processor time than it may."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="+", choices=[*READERS, "all"], metavar="READER")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="put the row of this reader into FILE")
    parser.add_argument("--found", type=Path, default=ROOT / ".edgedistill/fuzz", help="where bad inputs are kept")
    options = parser.parse_args()
    logging.disable()  # what is left out of a file is told in a log
    failed = False
    for name in READERS if "all" in options.readers else options.readers:
        row = fuzz(READERS[name], options.minutes * 60, random.Random(options.seed), options.found)
        print(json.dumps(row), flush=True)
        if options.json:
            rows.keep([row], options.json, lambda row: row["figure"], list(READERS))
        failed |= not row["met"]
    sys.exit(failed)


def fuzz(reader: Reader, seconds: float, random: random.Random, found: Path) -> dict[str, Any]:
    """One row: how many inputs were read in that time, and what they did."""
    seeds = [path.read_bytes() for path in sorted((CORPUS / reader.name).iterdir())]
    runs, slowest, bad = 0, 0.0, {"crash": set(), "hang": set()}
    processor_s = time.process_time()
    signal.signal(signal.SIGVTALRM, _hang)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        read = reader.open(Path(folder))
        for data in seeds:  # good files are read, or the rest shows nothing
            read(data)
        while time.monotonic() - began < seconds:
            data = damaged(random.choice(seeds), reader.kind, random)
            runs += 1
            what, taken, place = once(read, data, reader.errors)
            slowest = max(slowest, taken)
            if what != "fine" and place not in bad[what]:
                bad[what].add(place)
                print(f"{reader.name}: {what} {_kept(data, reader, what, found)}\n{place}", file=sys.stderr, flush=True)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    crashes, hangs = len(bad["crash"]), len(bad["hang"])
    return {
        "figure": reader.name,
        "value": runs,
        "minutes": round(seconds / 60, 2),
        "processor_minutes": round((time.process_time() - processor_s) / 60, 2),
        "crashes": crashes,
        "hangs": hangs,
        "slowest_ms": round(1000 * slowest, 1),
        "peak_mb": round(peak_mb),
        "met": not crashes and not hangs and peak_mb <= MOST_MB,
        "machine": rows.machine(),
        "command": rows.command(),
    }


def once(read: Any, data: bytes, errors: tuple[type[Exception], ...]) -> tuple[str, float, str]:
    """("fine", "crash" or "hang", seconds of processor time, where it happened) of one input."""
    began = time.process_time()
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)
    what, place = "fine", ""
    try:
        read(data)
    except errors as error:
        lines = str(error).split("\n")
        if hasattr(error, "wrong") and (len(lines) != 2 or not all(lines)):
            what, place = "crash", f"not two lines: {error!r}"
    except Hang:
        what, place = "hang", traceback.format_exc(limit=-4)
    except Exception:  # noqa: BLE001  whatever it is, it is what is looked for
        what, place = "crash", traceback.format_exc(limit=-4)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    taken = time.process_time() - began
    if what == "fine" and taken > HANG_S:
        what, place = "hang", "in one call that Python cannot interrupt"
    return what, taken, place.split("\n", 1)[-1] if place.startswith("Traceback") else place


def _kept(data: bytes, reader: Reader, what: str, found: Path) -> Path:
    found.mkdir(parents=True, exist_ok=True)
    path = found / f"{reader.name}-{what}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def _hang(number: int, frame: Any) -> NoReturn:
    raise Hang


if __name__ == "__main__":
    main()
