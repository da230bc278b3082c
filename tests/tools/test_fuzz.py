"""Every reader takes the good files of its corpus and answers damaged ones with its own error; fuzz.py would tell."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "benchmarks")]
import fuzz  # noqa: E402
from fuzz_mutations import LONGEST, damaged  # noqa: E402
from fuzz_readers import READERS, Reader  # noqa: E402


def good(reader: Reader) -> list[bytes]:
    return [path.read_bytes() for path in sorted((fuzz.CORPUS / reader.name).iterdir())]


@pytest.mark.parametrize("reader", READERS.values(), ids=list(READERS))
@given(seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_told_in_our_own_words(tmp_path: Path, reader: Reader, seed: int) -> None:
    draw = random.Random(seed)
    data = damaged(draw.choice(good(reader)), reader.kind, draw)
    assert fuzz.once(reader.open(tmp_path), data, reader.errors)[::2] == ("fine", "")


@pytest.mark.parametrize("reader", READERS.values(), ids=list(READERS))
def test_the_corpus_is_small_and_good(tmp_path: Path, reader: Reader) -> None:
    read = reader.open(tmp_path)
    for data in good(reader):
        assert len(data) < 8192
        read(data)


def raises(error: BaseException | None, data: bytes) -> None:
    if error is not None:
        raise error
    if data == b"endless":
        while True:
            pass


def test_a_crash_a_hang_and_an_error_of_one_line_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "HANG_S", 0.05)
    fuzz.signal.signal(fuzz.signal.SIGVTALRM, fuzz._hang)
    (ours, *_) = READERS["result"].errors

    class OneLine(ours):  # type: ignore[misc, valid-type]
        def __str__(self) -> str:
            return "one line"

    def what(data: bytes = b"", error: BaseException | None = None) -> str:
        return fuzz.once(lambda given: raises(error, given), data, READERS["result"].errors)[0]

    assert what() == "fine"
    assert what(error=ours("wrong", "Do it.")) == "fine"
    assert what(error=OneLine("wrong", "Do it.")) == "crash"
    assert what(error=KeyError("x")) == "crash"
    assert what(b"endless") == "hang"


def test_damage_repeats_with_its_seed_and_stays_small() -> None:
    for reader in READERS.values():
        first, second = (
            [damaged(good(reader)[0], reader.kind, draw) for _ in range(10)]
            for draw in (random.Random(1), random.Random(1))
        )
        assert first == second
        assert max(map(len, first)) <= LONGEST
