"""`profiles show` repeats what a profile's file says, a fact a line, nothing cut or invented."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgedistill.profile_text import show
from edgedistill.profiles import Profile, list_profiles, load_profile


def shown(profile: Profile, capsys: pytest.CaptureFixture[str]) -> list[str]:
    show(profile)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("name", list_profiles())
def test_every_board_is_shown_with_its_facts_and_every_note_whole(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = load_profile(name)
    heading, *lines = shown(profile, capsys)
    assert heading == f"{name}  {profile.title}"
    facts = {line[2:13].strip(): line[14:] for line in lines if not line.startswith("  - ")}
    assert facts["runtimes"].split(", ") == list(profile.runtime.prefer)
    assert facts["precisions"].split(", ") == list(profile.model.precisions)
    assert facts["student"].startswith(f"{profile.model.student} at {profile.model.input_size} px")
    assert facts["budgets"].startswith(f"p95 {profile.budget.latency_p95_ms:g} ms, {profile.budget.memory_mb:g} MB, ")
    assert [line[4:] for line in lines if line.startswith("  - ")] == list(profile.notes)


def test_expected_times_are_those_of_the_suggested_student_with_their_basis(
    capsys: pytest.CaptureFixture[str],
) -> None:
    profile = load_profile("jetson-orin")
    assert "  expected    fp16 0.35-1.2 ms (derived); int8 0.25-1 ms (anchored)" in shown(profile, capsys)
    unknown = replace(profile, model=replace(profile.model, student="resnet34"))
    assert not any(line.startswith("  expected") for line in shown(unknown, capsys))


def test_square_brackets_in_a_note_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    profile = replace(load_profile("cpu"), notes=("see [bold]onnxruntime[/bold] [1]",))
    assert shown(profile, capsys)[-1] == "  - see [bold]onnxruntime[/bold] [1]"
