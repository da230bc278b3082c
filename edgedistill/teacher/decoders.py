"""Photos decoded by processes of our own, in order, ahead of use: beside a GPU, threads would wait for Python's lock.

They are plain child processes that talk through pipes. multiprocessing would run the calling program's main module
again in each of them (spawn, forkserver) or copy a process that holds a GPU and threads (fork); its shared memory is
64 MB in a container. The parent reads the files and checks them, so any pool will do. What a child gives depends on
the file alone, so the results are the same for any number of them.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from io import BufferedReader
from typing import Any, Protocol, cast

import numpy as np

from ..errors import EdgeDistillError
from ..targets.preprocess import BadImage
from .decoder import COUNT, LENGTH, RECORD, spec_of
from .decoding import Preparation, Prepared

CHUNK = 8  # images that go through a pipe together
AHEAD = 2  # chunks a process may have before it or behind it
_PIPE_BYTES = 1 << 20  # of Linux's default, 64 KiB, an image fills several
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ


class ImageSource(Protocol):
    """What is read of a pool: sorted content hashes, uint8 [N, 32], and the bytes behind each."""

    @property
    def hashes(self) -> np.ndarray: ...
    def __len__(self) -> int: ...
    def read(self, row: int) -> bytes: ...


def usable_cores() -> int:
    """Processes to decode with: every core this process may use but one, which feeds the GPU and writes the store."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1)


def decoded(
    source: ImageSource, rows: range, prepare: Preparation, processes: int | None = None
) -> Generator[Prepared | BadImage, None, None]:
    """The images of these rows, in their order, made by `processes` (default: `usable_cores`) a few chunks ahead.

    Raises what `source.read` raises, and DecoderDied. The processes end with the generator, and with this process.
    """
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    with contextlib.ExitStack() as stack:
        count = max(1, min(processes or usable_cores(), len(chunks)))
        children = [stack.enter_context(_Child(source, prepare)) for _ in range(count)]
        waiting: deque[Future[list[Prepared | BadImage]]] = deque()
        for k, chunk in enumerate(chunks):
            waiting.append(children[k % count].decode(chunk))
            if len(waiting) >= AHEAD * count:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


class DecoderDied(EdgeDistillError):
    """A process that decodes photos ended before its time."""


class _Child:
    """One process, a thread that feeds it and a thread that reads what it makes: neither may wait for the other."""

    def __init__(self, source: ImageSource, prepare: Preparation) -> None:
        self._source = source
        self._side = prepare.centre.size  # type: ignore[attr-defined]  # a CentreView: spec_of insists
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgedistill.teacher.decoder", spec_of(prepare)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, cast("BufferedReader", self._process.stdout)
        for pipe in (self._in, self._out):
            _widen(pipe.fileno())
        self._feeder = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="decoded")
        self._ended = threading.Event()

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._process.kill()
        for threads in (self._feeder, self._reader):
            threads.shutdown(cancel_futures=True)
        with contextlib.suppress(BrokenPipeError):
            self._in.close()
        self._out.close()
        self._process.wait()

    def decode(self, rows: Sequence[int]) -> Future[list[Prepared | BadImage]]:
        return self._reader.submit(self._read, self._feeder.submit(self._feed, rows), rows)

    def _feed(self, rows: Sequence[int]) -> None:
        files = [self._source.read(row) for row in rows]
        try:
            self._in.write(np.array(len(files), COUNT).tobytes())
            self._in.write(np.array([len(data) for data in files], LENGTH).tobytes())
            for data in files:
                self._in.write(data)
            self._in.flush()
        except (BrokenPipeError, ValueError) as error:  # ValueError: closed, as everything ends
            raise self._died(rows) from error

    def _read(self, fed: Future[None], rows: Sequence[int]) -> list[Prepared | BadImage]:
        fed.result()
        records = self._exactly(RECORD.itemsize * len(rows), rows).view(RECORD)
        content = self._exactly(int(records["bytes"].sum()), rows)
        ends = np.cumsum(records["bytes"].astype(np.int64))
        parts = (content[end - int(record["bytes"]) : end] for record, end in zip(records, ends.tolist()))
        return [self._image(record, part) for record, part in zip(records, parts)]

    def _image(self, record: Any, content: np.ndarray) -> Prepared | BadImage:
        """Views of `content`, nothing copied."""
        height, width = int(record["height"]), int(record["width"])
        if not height:
            return BadImage(content.tobytes().decode())
        size = 3 * height * width
        centre = content[size:].reshape(self._side, self._side, 3)
        return Prepared(content[:size].reshape(height, width, 3), int(record["dhash"]), centre)

    def _exactly(self, size: int, rows: Sequence[int]) -> np.ndarray:
        found = np.empty(size, np.uint8)
        if self._out.readinto(found.data) < size:  # a buffered reader: short only at the end
            raise self._died(rows)
        return found

    def _died(self, rows: Sequence[int]) -> DecoderDied:
        named = getattr(self._source, "name", lambda row: self._source.hashes[row].tobytes().hex()[:16])
        photos = ", ".join(str(named(row)) for row in rows)
        return DecoderDied(
            f"a process that decodes photos was ended ({self._how()}) at one of: {photos}",
            "If memory ran out, run the same command again: it goes on here. If not, remove that photo.",
        )

    def _how(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout=5)
            return f"signal {-code}" if code < 0 else f"exit code {code}"
        return "its pipe is closed"


def _environment() -> dict[str, str]:
    """So that the child finds this package where this process found it, and starts no thread team of its own."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **one_thread, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def _widen(pipe: int) -> None:
    """Linux alone lets a pipe be wider, up to what the machine allows."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.fcntl(pipe, _SET_PIPE_SIZE, _PIPE_BYTES)
