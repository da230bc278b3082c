"""A process that decodes photos: files' bytes on stdin, prepared images on stdout, chunk after chunk.

Run by decoders.py as `python -m edgedistill.teacher.decoder SPEC`, SPEC being a Preparation as JSON. Numbers are
little-endian. In: how many files, uint32; the length of each, uint64; their bytes. Out: a record an image (`RECORD`);
then for each image its pixels and its centre view or, where `height` is 0, why it is none, in UTF-8.

It ends when stdin ends or stdout is closed: whoever started it is gone, however that happened.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from typing import BinaryIO

import numpy as np

from ..targets.preprocess import BadImage
from .centre_view import CentreView
from .decoding import Preparation, Prepared

COUNT, LENGTH = np.dtype("<u4"), np.dtype("<u8")
RECORD = np.dtype([("height", "<u4"), ("width", "<u4"), ("dhash", "<u8"), ("bytes", "<u8")])


def spec_of(prepare: Preparation) -> str:
    """The command line's argument. The centre view has to be a CentreView."""
    assert isinstance(prepare.centre, CentreView)
    return json.dumps({"centre": asdict(prepare.centre), "short_side": prepare.short_side})


def preparation(spec: str) -> Preparation:
    """What `spec_of` was given."""
    given = json.loads(spec)
    return Preparation(CentreView(**given["centre"]), given["short_side"])


def work(prepare: Preparation, given: BinaryIO, results: BinaryIO) -> None:
    """Answer every chunk until there is none."""
    while count := given.read(COUNT.itemsize):
        lengths = np.frombuffer(given.read(LENGTH.itemsize * int(np.frombuffer(count, COUNT)[0])), LENGTH)
        images = [prepare(given.read(int(length))) for length in lengths]
        contents = [content(image) for image in images]
        results.write(np.array([record(*pair) for pair in zip(images, contents)], RECORD).tobytes())
        for part in contents:
            results.write(part)
        results.flush()


def content(image: Prepared | BadImage) -> bytes:
    if isinstance(image, BadImage):
        return image.reason.encode()
    return image.pixels.tobytes() + image.centre.tobytes()


def record(image: Prepared | BadImage, content: bytes) -> tuple[int, int, int, int]:
    if isinstance(image, BadImage):
        return 0, 0, 0, len(content)
    height, width = image.pixels.shape[:2]
    return height, width, image.dhash, len(content)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the build, which ends this process too
    try:
        work(preparation(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:
        sys.stderr.close()  # nothing more to say, and nobody to say it to


if __name__ == "__main__":
    main()
