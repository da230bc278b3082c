"""A flaw is a code with figures; every code has words, and only the state of the machine may pass."""

from __future__ import annotations

import pytest

from edgedistill.targets.flaws import FIGURES, Flaw, words


@pytest.mark.parametrize("code", FIGURES)
def test_every_code_has_words_with_its_figures(code: str) -> None:
    flaw = Flaw(code, "cpu-thermal", **dict.fromkeys(FIGURES[code], 7.0))
    said = words(flaw)
    assert "None" not in said
    assert ("7" in said) == bool(FIGURES[code])
    assert Flaw(**flaw.to_json()) == flaw


def test_only_the_state_of_the_machine_may_be_another_the_next_time() -> None:
    assert [code for code in FIGURES if Flaw(code).may_pass] == [
        "hot",
        "throttled",
        "over-current",
        "power-cap",
        "slow-clock",
        "busy",
        "stolen",
        "waited",
        "slower",
        "unsteady",
    ]
