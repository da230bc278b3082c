"""trtexec's output is read: samples of each version that differs, and anything at all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedistill.targets.trtexec_output import Summary, Times, parse

QUICKLY = settings(deadline=None, max_examples=50)  # a busy machine is no finding


def sample(version: int, case: str) -> str:
    """One case of a sample file: written by hand after the format strings of NVIDIA's sources, with made-up numbers."""
    text = Path(__file__).with_name(f"trtexec_v{version}.txt").read_text()
    (found,) = [part for part in text.split("%% case: ")[1:] if part.startswith(case)]
    return found.partition("\n")[2]


def test_a_run_of_tensorrt_10_is_read_whole() -> None:
    said = parse(sample(10, "agx-orin"))
    assert (said.passed, said.version, said.queries, said.queries_per_second) == (True, "10.3.0", 14974, 1497.22)
    assert (said.data_transfers, said.cuda_graph, said.spin_wait) == (True, True, True)
    percentiles = {"90": 0.671875, "95": 0.674072, "99": 0.688477}
    assert said.latency_ms == Times(0.647217, 1.01294, 0.667305, 0.666504, percentiles)
    assert said.gpu_ms is not None
    assert said.gpu_ms.median == 0.637695
    assert said.to_device_ms is not None
    assert said.to_device_ms.mean == 0.0240113
    assert (said.warnings, said.errors) == ((), ())


def test_warnings_are_read_with_the_lines_that_belong_to_them() -> None:
    said = parse(sample(10, "orin-nano"))
    assert len(said.warnings) == 2
    assert re.fullmatch(r"GPU compute time is unstable, with coefficient of variance = .*stability\.", said.warnings[1])
    assert said.cuda_graph is False


def test_a_failed_build_has_its_errors_and_no_times() -> None:
    said = parse(sample(10, "failed build"))
    assert (said.passed, said.queries, said.latency_ms) == (False, None, None)
    assert said.errors[0].startswith("[TRT] ModelImporter.cpp:948: While parsing node number 12")


@pytest.mark.parametrize(
    ("version", "case", "known", "copies"),
    [
        (10, "10.16 style banner", "10.16.2", False),
        (11, "TensorRT 11: graph", "11.4.1", False),
        (11, "TensorRT 11 with the 10.x behaviour", "11.4.1", True),
    ],
)
def test_what_was_timed_is_read_beside_the_times(version: int, case: str, known: str, copies: bool) -> None:
    said = parse(sample(version, case))
    assert (said.version, said.data_transfers) == (known, copies)
    assert said.to_host_ms is not None
    assert (said.to_host_ms.median == 0) == (not copies)


def test_the_numbers_of_versions_before_10_were_shorter() -> None:
    assert parse("&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec").version == "8.6.1"


def test_a_run_that_was_killed_has_neither_passed_nor_failed() -> None:
    whole = sample(10, "agx-orin")
    assert parse(whole[: whole.index("Timing trace")]).passed is None
    assert parse("") == Summary()


milliseconds = st.floats(0, 1e6, allow_nan=False).map(lambda value: float(f"{value:.6g}"))  # as an ostream writes them


@QUICKLY
@given(
    low=milliseconds,
    high=milliseconds,
    mean=milliseconds,
    median=milliseconds,
    percentiles=st.dictionaries(st.floats(0.1, 99.9).map(lambda value: f"{value:.3g}"), milliseconds, max_size=4),
    queries=st.integers(0, 10**9),
    transfers=st.booleans(),
    stamp=st.sampled_from(["[11/21/2026-15:02:52] ", ""]),
)
def test_what_was_written_is_what_is_read(
    low: float,
    high: float,
    mean: float,
    median: float,
    percentiles: dict[str, float],
    queries: int,
    transfers: bool,
    stamp: str,
) -> None:
    more = "".join(f", percentile({percent}%) = {value:g} ms" for percent, value in percentiles.items())
    line = f"min = {low:g} ms, max = {high:g} ms, mean = {mean:g} ms, median = {median:g} ms{more}"
    text = "\n".join(
        f"{stamp}[I] {words}"
        for words in (
            f"Data transfers: {'Enabled' if transfers else 'Disabled'}",
            f"Timing trace has {queries} queries over 3.1 s",
            f"Latency: {line}",
        )
    )
    said = parse(text)
    assert said.latency_ms == Times(low, high, mean, median, percentiles)
    assert (said.queries, said.data_transfers, said.gpu_ms) == (queries, transfers, None)


@QUICKLY
@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    for around in (text, f"[I] {text}", f"[I] Latency: {text}", f"[I] Throughput: {text} qps", f"&&&& PASSED {text}"):
        parse(around)


@QUICKLY
@given(noise=st.text(max_size=40), place=st.integers(0, 10_000))
def test_noise_takes_no_more_than_the_line_it_falls_into(noise: str, place: int) -> None:
    whole = sample(10, "orin-nano")
    lines = whole.splitlines()
    at = place % len(lines)
    parse("\n".join([*lines[:at], lines[at][: place % 60] + noise, *lines[at + 1 :]]))
    quiet = "".join(noise.split()).replace("[", "").replace("&", "")
    said = parse("\n".join([*lines[:at], quiet, *lines[at:]]))
    assert said == parse(whole)
