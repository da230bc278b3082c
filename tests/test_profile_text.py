"""`profiles list` and `profiles show` repeat what a profile's file says, a fact a line, nothing cut or invented."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgedistill.profile_text import NOT_MEASURED, show, table
from edgedistill.profiles import Profile, list_profiles, load_profile

NANO = """\
jetson-orin-nano  NVIDIA Jetson Orin Nano 8 GB (4 GB accepted)
  known by        device tree compatible with p3767-0003, p3767-0004 or p3767-0005
                  an NVIDIA GPU of compute capability 8.7 or more
                  3200 MB of memory or more
  runtimes        tensorrt, onnxruntime-cuda
                  TensorRT with a CUDA graph
                  on a CPU: 4 threads
  other machines  onnxruntime-cpu: agreement only, no latency
  student         resnet18 at 224 px, unless another is named
  graph           ONNX opset 18, one image at a time
  precisions      fp16, int8; fp32 is always built too
  budgets         p95 10 ms, 1000 MB, agreement 0.90, accuracy drop 0.03
  engine          TensorRT builds it with at most 512 MB of scratch memory
                  not built with less than 2000 MB free
  to measure      at least 10 s and 1000 queries after 0.5 s of warm-up; invalid above 95 C
  power modes     15W, 25W, MAXN_SUPER, 7W, 10W, 7W_AI, 7W_CPU
  software        JetPack 6.1-6.2.x  L4T 36.4-36.5, Python 3.10, CUDA 12.6, TensorRT 10.3, onnxruntime up to 1.23.2 (CPU wheel)
                  JetPack 7.2-7.2.1  L4T 39.2, Python 3.12, CUDA 13.2, TensorRT 10.16.2, onnxruntime 1.31.1 (CPU wheel)
  expected p50    mobilenetv3_large_100  fp16 0.6 to 3 ms, int8 0.6 to 3 ms
                  resnet18               fp16 0.7 to 3 ms, int8 0.5 to 2.5 ms
                  resnet50               fp16 2 to 7 ms, int8 1.2 to 5 ms
                  vit_base_patch32       fp16 2 to 9 ms
                  (in power mode MAXN_SUPER; fp16 set around a published measurement, int8 by arithmetic)
"""  # noqa: E501

CPU = """\
cpu  Any CPU (x86-64 or arm64)
  known by        machine x86_64, AMD64, aarch64 or arm64
  runtimes        onnxruntime-cpu
                  on a CPU: threads by trial, up to one for each physical core, at most 8
  other machines  onnxruntime-cpu: agreement only, no latency
  student         mobilenetv3_large_100 at 224 px, unless another is named
  graph           ONNX opset 18, one image at a time
  precisions      fp32, int8
  budgets         p95 20 ms, 1000 MB, agreement 0.90, accuracy drop 0.03
  to measure      at least 10 s and 1000 queries after 0.5 s of warm-up; invalid above 95 C
  software        PyPI  Python 3.10-3.14, onnxruntime 1.31.1 (Python 3.10: 1.23.2)
  expected p50    mobilenetv3_large_100  fp32 2 to 12 ms
                  resnet18               fp32 4 to 25 ms
                  resnet50               fp32 8 to 50 ms
                  vit_base_patch32       fp32 8 to 60 ms
                  (fp32 set around a published measurement)
"""


def shown(profile: Profile, capsys: pytest.CaptureFixture[str]) -> list[str]:
    show(profile)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("name", "text"), [("jetson-orin-nano", NANO), ("cpu", CPU)])
def test_the_facts_of_a_board_are_aligned_and_whole(name: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(load_profile(name), capsys)
    assert [line for line in lines if not line.startswith("  - ")] == [*text.splitlines(), f"  {NOT_MEASURED}"]


@pytest.mark.parametrize("name", list_profiles())
def test_every_board_is_shown_with_its_facts_and_every_note_whole(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = load_profile(name)
    heading, *lines = shown(profile, capsys)
    assert heading == f"{name}  {profile.title}"
    facts = {line[2:16].strip(): line[18:] for line in lines if not line.startswith("  - ")}
    assert facts["budgets"].startswith(f"p95 {profile.budget.latency_p95_ms:g} ms, {profile.budget.memory_mb:g} MB, ")
    assert ("power modes" in facts) == (profile.power is not None)
    assert facts["precisions"].startswith(", ".join(profile.model.precisions))
    text = "\n".join(lines)
    assert all(f" {stack.name} " in text for stack in profile.stack)
    assert [line[4:] for line in lines if line.startswith("  - ")] == list(profile.notes)


def test_a_fact_that_is_not_told_has_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    bare = replace(load_profile("cpu"), stack=(), plausible={}, notes=())
    names = {line[2:16].strip() for line in shown(bare, capsys)[1:]}
    assert not names & {"engine", "power modes", "software", "expected p50"}


def test_a_mode_that_every_such_board_ships_in_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    told = [line for line in shown(load_profile("jetson-orin"), capsys) if line.startswith("  power modes")]
    assert told == ["  power modes     MAXN, MODE_15W, MODE_30W (as shipped), MODE_50W, MAXN_SUPER, MODE_40W"]


def test_square_brackets_in_a_note_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    profile = replace(load_profile("cpu"), notes=("see [bold]onnxruntime[/bold] [1]",))
    assert "  - see [bold]onnxruntime[/bold] [1]" in shown(profile, capsys)


def test_the_list_has_a_heading_and_an_aligned_line_a_board() -> None:
    heading, *lines = table([load_profile(name) for name in ("raspberry-pi-4", "jetson-orin-nx")])
    assert heading == "profile         board                               p95 budget  memory budget  student"
    assert lines == [
        "raspberry-pi-4  Raspberry Pi 4                          100 ms         350 MB  mobilenetv3_large_100",
        "jetson-orin-nx  NVIDIA Jetson Orin NX 16 GB / 8 GB        8 ms        1200 MB  resnet18",
    ]
