"""How long from a photo's file to its answer: decoding and resizing as well as the query.

The latency that the budget is about begins with pixels: an application may take these from a camera. Where it opens
files, this is what a person waits for; reading the disk is not in it. It decides nothing.
"""

from __future__ import annotations

from itertools import cycle, islice, pairwise
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np

from .golden import read_golden
from .manifest import Manifest
from .measure import Session

LEAST, SECONDS = 8, 1.0


def golden_files(manifest: Manifest) -> list[bytes]:
    """The files of the golden set, as they lie in golden.npz (result.py has it checked)."""
    golden = read_golden(manifest.file("golden.npz"), "fp32", manifest.size, len(manifest.labels))
    return [golden.files[start:end].tobytes() for start, end in pairwise(golden.offsets)]


def from_file(session: Session, files: list[bytes], size: int, seconds: float = SECONDS) -> dict[str, Any] | None:
    """p50 and p90 in ms over so many seconds of queries, at least one a file; None where Pillow is not installed, or
    one of the files is not read here (which result.py tells of as a flaw)."""
    try:
        from .preprocess import BadImage, decode, to_pixels
    except ImportError:
        return None
    times: list[int] = []
    began = perf_counter()
    for content in islice(cycle(files), 100_000):
        start = perf_counter_ns()
        try:
            session.run(to_pixels(decode(content), size)[None])
        except (ImportError, BadImage):
            return None
        times.append(perf_counter_ns() - start)
        if len(times) >= max(LEAST, len(files)) and perf_counter() - began >= seconds:
            break
    p50, p90 = np.percentile(np.array(times) / 1e6, [50, 90])
    return {"p50": round(float(p50), 4), "p90": round(float(p90), 4), "queries": len(times)}
