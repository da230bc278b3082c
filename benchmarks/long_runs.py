"""What lasts: one process with very many predictions, threads and forked workers, a bundle verified again and again.

    python benchmarks/long_runs.py [--predictions 100000] [--verifies 50] [--bundle DIR] [--json rows.json]

Without --bundle it takes the tiny one of the tests. The level of memory is RSS at the end over RSS after a tenth of the
way; of `verify` also open files, threads and what lies in the place for temporary files, each at the end less after the
second time. Answers are compared byte by byte with those of one thread at the start; what differs is counted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rows import Row, report, row

from edgedistill import Classifier, verify

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

THREADS = 8
WORKERS = 4
LEVEL = "<= 1.05"
NONE = "<= 0"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--bundle", type=Path, help="a bundle (default: a tiny one, made here)")
    parser.add_argument("--predictions", type=int, default=100_000)
    parser.add_argument("--verifies", type=int, default=50)
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = options.bundle or made(Path(folder) / "bundle")
        pictures = photos()
        rows = [
            *one_process(bundle, pictures, options.predictions),
            *threads(bundle, pictures, options.predictions // 10),
            *workers(bundle, pictures, max(1, options.predictions // 100)),
            *verified(bundle, options.verifies),
        ]
    report(rows, options.json)


def made(folder: Path) -> Path:
    """The bundle of the tests, real graphs of a small student; by another process, so that no torch is loaded here."""
    maker = multiprocessing.get_context("spawn").Process(target=tiny, args=(folder,))
    maker.start()
    maker.join()
    if maker.exitcode:
        sys.exit("the tiny bundle could not be made")
    return folder


def tiny(folder: Path) -> None:
    import tiny_bundle

    from edgedistill.bundle.write import write_bundle

    write_bundle(folder, tiny_bundle.parts())


def photos() -> list[np.ndarray]:
    """Noise of ten sizes, as decoded photos: uint8 [H, W, 3]."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40 + 7 * k, 64 + 5 * k, 3), np.uint8) for k in range(10)]


def answers(classifier: Classifier, pictures: Sequence[np.ndarray]) -> list[bytes]:
    return [classifier.predict(picture).probabilities.tobytes() for picture in pictures]


def asked(classifier: Classifier, pictures: Sequence[np.ndarray], right: list[bytes], times: int) -> int:
    """Predict `times` photos in turn; how many answers differ from the right ones."""
    wrong = 0
    for turn in range(times):
        index = turn % len(pictures)
        wrong += classifier.predict(pictures[index]).probabilities.tobytes() != right[index]
    return wrong


def one_process(bundle: Path, pictures: list[np.ndarray], times: int) -> list[Row]:
    classifier = Classifier(bundle)
    right = answers(classifier, pictures)
    wrong = asked(classifier, pictures, right, times // 10)
    early = rss_mb()
    wrong += asked(classifier, pictures, right, times - times // 10)
    return [
        row(f"{times:,} predictions: RSS at the end / after a tenth", [rss_mb() / early], "ratio", LEVEL),
        row(f"{times:,} predictions: other answers", [wrong], "answers", NONE),
    ]


def threads(bundle: Path, pictures: list[np.ndarray], times: int) -> list[Row]:
    """So many at once on one Classifier, `times` predictions in all."""
    classifier = Classifier(bundle)
    right = answers(classifier, pictures)
    with ThreadPoolExecutor(THREADS) as pool:

        def round_of(count: int) -> int:
            shares = [pool.submit(asked, classifier, pictures, right, count // THREADS) for _ in range(THREADS)]
            return sum(share.result() for share in shares)

        wrong = round_of(times // 10)
        early = rss_mb()
        wrong += round_of(times - times // 10)
        level = rss_mb() / early
    return [
        row(f"{THREADS} threads: RSS at the end / after a tenth", [level], "ratio", LEVEL),
        row(f"{THREADS} threads: other answers", [wrong], "answers", NONE),
    ]


def workers(bundle: Path, pictures: list[np.ndarray], times: int) -> list[Row]:
    """Forked: with the Classifier that the parent has used before (each opens one of its own), and one made after."""
    if "fork" not in multiprocessing.get_all_start_methods():
        return []
    made_before = Classifier(bundle)
    right = answers(made_before, pictures)

    def before() -> int:
        return asked(made_before, pictures, right, times)

    def after() -> int:
        return asked(Classifier(bundle), pictures, right, times)

    return [
        row(f"{WORKERS} forked workers, made {when} the fork: other answers", [forked(work)], "answers", NONE)
        for when, work in (("before", before), ("after", after))
    ] + [row("the parent after the forks: other answers", [asked(made_before, pictures, right, 10)], "answers", NONE)]


def forked(work: Callable[[], int]) -> int:
    """The sum over the workers; one that dies or hangs counts as a thousand."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    processes = [context.Process(target=lambda: queue.put(work())) for _ in range(WORKERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)
    lost = [process for process in processes if process.exitcode != 0]
    for process in lost:
        process.kill()
    return sum(queue.get() for _ in range(WORKERS - len(lost))) + 1000 * len(lost)


def verified(bundle: Path, times: int) -> list[Row]:
    """`verify` in this process, each time measured by a fresh one; the first two times load what stays loaded."""
    with tempfile.TemporaryDirectory() as place:
        usual, tempfile.tempdir = tempfile.tempdir, place
        try:
            answers, chosen, levels = set(), set(), []
            for _ in range(times):
                verdict = verify(bundle, threads=1)
                answers.add(frozenset((one.file, one.agreement) for one in verdict.precision_candidates))
                chosen.add(verdict.selected)
                levels.append(
                    (rss_mb(), len(os.listdir("/proc/self/fd")), threading.active_count(), left(place, bundle))
                )
        finally:
            tempfile.tempdir = usual
    early, last = levels[min(1, len(levels) - 1)], levels[-1]
    more = [one - other for one, other in zip(last, early)]
    what = f"{times} times verify"
    return [
        row(f"{what}: RSS at the end / after the second", [last[0] / early[0]], "ratio", LEVEL),
        row(f"{what}: more open files", [more[1]], "files", NONE),
        row(f"{what}: more threads", [more[2]], "threads", NONE),
        row(f"{what}: temporary files left", [last[3]], "files", NONE),
        row(f"{what}: other agreements of any model", [len(answers) - 1], "answers", NONE),
        row(f"{what}: precisions selected, by latency", [len(chosen)], "precisions"),
    ]


def left(place: str, bundle: Path) -> int:
    """What lies in the place for temporary files, and of scratch in the bundle."""
    return len(os.listdir(place)) + len(list(bundle.rglob(".*")))


def rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
