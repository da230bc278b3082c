"""The verdict: what decides, what only informs, and that nothing missing ever passes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measured
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from measured import check_set, manifest

from edgedistill.bundle.checkset import CheckSet
from edgedistill.errors import InputError
from edgedistill.targets.flaws import Flaw
from edgedistill.verdict.decide import decide, quality
from edgedistill.verdict.intervals import wilson
from edgedistill.verdict.results import read_result
from edgedistill.verdict.tables import rows
from edgedistill.verdict.verdict import (
    EXIT_CODES,
    REASONS,
    Agreement,
    Costs,
    Machine,
    Obstacle,
    Over,
    Seed,
    Start,
    Verdict,
)
from edgedistill.verdict.words import notes, sentence

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., Verdict]:
    """decide() on results that went through a file, as they do in life."""

    def verdict(check: CheckSet, *contents: dict[str, Any], named: bool = True, of: Any = None) -> Verdict:
        bundle = of or manifest()
        paths = [measured.written(tmp_path, content, f"{index}.json") for index, content in enumerate(contents)]
        results = [read_result(path, bundle, measured.MANIFEST_SHA256, len(check)) for path in paths]
        return decide(bundle, check, results, named=named)

    return verdict


Judge = Callable[..., Verdict]


def test_inside_every_budget_on_the_board_is_a_pass(judge: Judge) -> None:
    check = check_set(200)
    verdict = judge(check, measured.result(check, different=4))
    assert (verdict.verdict, verdict.reasons, verdict.exit_code) == ("pass", (), 0)
    assert verdict.selected == "fp16"
    low, high = wilson(196, 200)
    assert verdict.agreement == Agreement(value=0.98, low=low, high=high, images=200)
    assert verdict.device == Machine(
        name="Test Board",
        matches_profile=True,
        power_mode="25W",
        gpu_max_mhz=918,
        temperature_c=61.0,
        throttling="none",
    )


@pytest.mark.parametrize(
    ("change", "over"),
    [
        (
            lambda r: r["latency_ms"].update(measured.latency(12.5)),
            Over(figure="latency", value=12.5, high=12.75, limit=10.0, unit="ms"),
        ),
        (lambda r: r["memory_mb"].update(peak=130.25), Over(figure="memory", value=130.25, limit=100.0, unit="MB")),
        (
            lambda r: r.update(predictions=measured.answers(check_set(200), 30)),
            Over(figure="agreement", value=0.85, low=wilson(170, 200)[0], limit=0.9, unit="share"),
        ),
    ],
)
def test_one_budget_exceeded_is_a_fail_that_says_which_and_by_how_much(
    judge: Judge, change: Change, over: Over
) -> None:
    check = check_set(200)
    content = measured.result(check)
    change(content)
    verdict = judge(check, content)
    assert (verdict.verdict, verdict.exit_code, verdict.reasons) == ("fail", 3, ())
    assert verdict.over == (over,)


def test_a_figure_exactly_at_its_budget_is_inside(judge: Judge) -> None:
    check = check_set(200)
    content = measured.result(check, p95=9.9)
    content["latency_ms"]["p95_high"] = 10.0
    content["memory_mb"]["peak"] = 100.0
    assert judge(check, content).verdict == "pass"


def test_a_p95_that_may_be_over_its_budget_is_no_pass_and_is_told_as_unsure(judge: Judge) -> None:
    check = check_set(200)
    verdict = judge(check, measured.result(check, p95=9.9))
    (over,) = verdict.over
    assert (verdict.verdict, over.figure, over.unsure) == ("fail", "latency", True)
    said = "may be outside its budget: latency: unsure, p95 is 9.90 ms and can be as high as 10.10, 0.10 over the 10"
    assert said in sentence(verdict)
    assert "is outside its budget: latency: p95 is 12.00 ms (up to 12.24)" in sentence(
        judge(check, measured.result(check, p95=12.0))
    )


def test_what_says_nothing_of_how_sure_its_p95_is_does_not_decide(judge: Judge) -> None:
    check = check_set(200)
    content = measured.result(check)
    del content["latency_ms"]["p95_low"], content["latency_ms"]["p95_high"], content["runs"]
    (row, *_) = judge(check, content).precision_candidates
    assert row.obstacle == Obstacle(reason="unstable", flaws=(Flaw("no-interval"),))


def test_what_did_not_count_three_times_is_unmeasured_with_the_reason(judge: Judge) -> None:
    check = check_set(200)
    busy = {"code": "busy", "what": "", "value": 1.2, "limit": 0.2}
    verdict = judge(check, measured.result(check) | {"invalid": [busy], "runs": 3})
    assert (verdict.verdict, verdict.reasons) == ("unmeasured", ("unstable",))
    assert notes(verdict)[0] == (
        "the last of 3 runs of fp16, tensorrt on Test Board does not count: "
        "other programs kept 1.20 processors busy, 0.20 were to spare."
    )


def test_every_exceeded_budget_is_named(judge: Judge) -> None:
    check = check_set(200)
    content = measured.result(check, different=100, p95=20.0)
    content["memory_mb"]["peak"] = 1000
    assert [over.figure for over in judge(check, content).over] == ["agreement", "latency", "memory"]


@pytest.mark.parametrize(
    ("change", "named", "reason"),
    [
        (lambda r: r.update(matches_profile=False), False, "not-reached"),
        (lambda r: r.update(matches_profile=False), True, "wrong-board"),
        (lambda r: r.update(invalid=[measured.EMULATED]), True, "emulated"),
        (lambda r: r.update(invalid=[measured.EMULATED], matches_profile=False), False, "emulated"),
        (lambda r: r.update(matches_profile=None), True, "unrecognised"),
        (lambda r: r.update(matches_profile=None), False, "unrecognised"),
        (lambda r: r.update(invalid=[measured.THROTTLED]), True, "unstable"),
        (lambda r: r["golden"].update(ok=False), True, "unstable"),
        (lambda r: r["latency_ms"].update(queries=399), True, "unstable"),
        (lambda r: r["latency_ms"].update(measured.latency(None)), True, "unstable"),
        (lambda r: r["memory_mb"].update(peak=None), True, "unstable"),
        (lambda r: r["runtime"].update(name="onnxruntime-cpu"), True, "not-reached"),
    ],
)
def test_a_result_that_may_not_decide_is_unmeasured_with_its_reason(
    judge: Judge, change: Change, named: bool, reason: str
) -> None:
    check = check_set(200)
    content = measured.result(check)
    change(content)
    verdict = judge(check, content, named=named)
    assert (verdict.verdict, verdict.reasons, verdict.exit_code) == ("unmeasured", (reason,), 4)
    assert verdict.selected == "fp32"
    assert [one.obstacle.reason for one in verdict.precision_candidates if one.obstacle] == [reason]
    assert verdict.agreement is not None  # still shown
    assert verdict.device is not None
    assert verdict.device.name == "Test Board"


def test_an_unsound_run_says_what_was_wrong_with_it(judge: Judge) -> None:
    check = check_set(200)
    content = measured.result(check) | {"invalid": [measured.HOT]}
    content["latency_ms"] |= measured.latency(None) | {"queries": 300}
    (row, *_) = judge(check, content).precision_candidates
    assert row.obstacle is not None
    assert row.obstacle.flaws == (
        Flaw("hot", "cpu", 97.0, 95.0),
        Flaw("few-queries", value=300, limit=400),
        Flaw("no-p95", value=300),
    )


def test_what_decides_nothing_is_reported_as_far_as_it_is_known(judge: Judge) -> None:
    check = check_set(200)
    told = {
        "cold_start_ms": {"load": 12.5, "first": 3.0},
        "end_to_end_ms": {"p50": 6.0, "p90": 7.0, "queries": 8},
        "energy": {"mj": 20.0, "mj_above_idle": -0.5, "idle_w": None},
    }
    verdict = judge(check, measured.result(check) | told)
    assert verdict.costs == Costs(
        load_ms=12.5, first_ms=3.0, end_to_end_ms=6.0, energy_mj=20.0, energy_above_idle_mj=-0.5
    )
    shown = {line[0]: line[1:3] for line in rows(verdict)}
    assert shown["cold start"] == ("12.50 ms", "first query 3.00 ms")
    assert shown["energy a query"] == ("20.0 mJ", "-0.50 above idle, – W")
    assert judge(check, measured.result(check) | {"energy": None, "end_to_end_ms": None}).costs == Costs()
    with pytest.raises(InputError, match=r"energy\.mj is missing or not a number"):
        judge(check, measured.result(check) | {"energy": {"mj": "much"}})


def test_wrong_golden_answers_are_told_with_what_the_bundle_allows(judge: Judge) -> None:
    check = check_set(200)
    content = measured.result(check)
    content["golden"] |= {"max_abs_diff": 0.5, "ok": False}
    (row, *_) = judge(check, content).precision_candidates
    assert row.obstacle is not None
    assert row.obstacle.flaws == (Flaw("golden", value=0.5, limit=2e-2),)


def test_without_any_result_the_board_was_not_reached(judge: Judge) -> None:
    verdict = judge(check_set(200))
    assert (verdict.verdict, verdict.reasons) == ("unmeasured", ("not-reached",))
    assert verdict.agreement is None
    assert verdict.latency_ms is None


@pytest.mark.parametrize(("images", "verdict"), [(49, "unmeasured"), (50, "pass")])
def test_fewer_than_fifty_check_images_are_too_few(judge: Judge, images: int, verdict: str) -> None:
    check, bundle = check_set(images), manifest()
    bundle["budget"]["agreement_min"] = 0.5
    found = judge(check, measured.result(check), of=bundle)
    assert found.verdict == verdict
    assert found.reasons == (("too-few-images",) if images < 50 else ())


def test_several_reasons_are_all_named_in_a_fixed_order(judge: Judge) -> None:
    check = check_set(20)
    hot, foreign = measured.result(check), measured.result(check, precision="fp32")
    hot["invalid"] = [measured.HOT]
    foreign["matches_profile"] = False
    assert judge(check, hot, foreign).reasons == ("wrong-board", "unstable", "too-few-images")


def test_a_sound_result_decides_beside_an_unsound_one(judge: Judge) -> None:
    check = check_set(200)
    hot = measured.result(check, precision="fp16", p95=1.0)
    hot["invalid"] = [measured.HOT]
    verdict = judge(check, hot, measured.result(check, precision="fp32"))
    assert (verdict.verdict, verdict.selected) == ("pass", "fp32")


def test_of_two_that_pass_the_faster_is_selected(judge: Judge) -> None:
    check = check_set(200)
    slow, fast = measured.result(check, precision="fp32", p95=6.0), measured.result(check, precision="fp16", p95=4.0)
    for order in ((slow, fast), (fast, slow)):
        verdict = judge(check, *order)
        assert (verdict.selected, verdict.latency_ms.p95) == ("fp16", 4.0)
        assert [(row.precision, row.selected) for row in verdict.precision_candidates[:2]] == [
            ("fp16", True),
            ("fp32", False),
        ]


def test_a_half_precision_that_was_measured_slower_is_not_selected(judge: Judge) -> None:
    """As on an H100: both inside every budget, fp16 p50 1.30 and p95 2.12 ms, fp32 1.22 and 1.75 ms."""
    check, bundle = check_set(200), manifest()
    bundle["profile"]["runtime"]["prefer"] = ["tensorrt", "onnxruntime-cuda"]
    found = []
    for precision, p50, p95 in (("fp16", 1.30, 2.12), ("fp32", 1.22, 1.75)):
        content = measured.result(check, precision=precision)
        content["latency_ms"] |= measured.latency(p95) | {"p50": p50, "p99": 2 * p95}
        content["runtime"]["name"] = "onnxruntime-cuda"
        found.append(content)
    verdict = judge(check, *found, of=bundle)
    assert (verdict.verdict, verdict.selected, verdict.runtime.name) == ("pass", "fp32", "onnxruntime-cuda")
    assert (verdict.latency_ms.p50, verdict.model.precision) == (1.22, "fp32")


def test_the_threads_of_the_selected_candidate_stand_in_the_verdict(judge: Judge) -> None:
    check = check_set(200)
    fast, slow = measured.result(check, p95=4.0), measured.result(check, precision="fp32", p95=6.0)
    fast["runtime"] |= {"threads": 1, "threads_tried": {"1": 6.7, "2": 8.8}}
    slow["runtime"] |= {"threads": 2, "threads_tried": {"1": 20.0, "2": 14.0}}
    runtime = judge(check, slow, fast).runtime
    assert (runtime.threads, runtime.threads_tried) == (1, {"1": 6.7, "2": 8.8})
    runtime = judge(check, measured.result(check)).runtime
    assert (runtime.threads, runtime.threads_tried) == (None, None)


def test_one_model_under_two_runtimes_is_two_candidates(judge: Judge) -> None:
    check = check_set(200)
    slow, fast = measured.result(check, p95=6.0), measured.result(check, p95=4.0)
    slow["runtime"]["name"] = "onnxruntime-cuda"
    verdict = judge(check, slow, fast)
    rows = [row for row in verdict.precision_candidates if row.precision == "fp16"]
    assert [(row.runtime, row.selected) for row in rows] == [("tensorrt", True), ("onnxruntime-cuda", False)]


def test_a_candidate_that_does_not_run_is_shown_and_the_others_decide(judge: Judge) -> None:
    check = check_set(200)
    verdict = judge(check, measured.failed("fp16"), measured.result(check, precision="fp32"))
    assert (verdict.verdict, verdict.selected) == ("pass", "fp32")
    assert [row.error for row in verdict.precision_candidates if row.precision == "fp16"] == [
        "the engine cannot be built"
    ]
    alone = judge(check, measured.failed("fp16"))
    assert (alone.verdict, alone.reasons) == ("unmeasured", ("unstable",))


def test_a_fast_precision_that_lost_quality_is_never_selected_over_one_that_kept_it(judge: Judge) -> None:
    check = check_set(200)
    poor_but_fast = measured.result(check, different=60, precision="fp16", p95=1.0)
    good_but_slow = measured.result(check, precision="fp32", p95=15.0)
    verdict = judge(check, poor_but_fast, good_but_slow)
    assert (verdict.verdict, verdict.selected) == ("fail", "fp32")
    assert [over.figure for over in verdict.over] == ["latency"]


def test_from_500_labelled_images_on_accuracy_decides(judge: Judge) -> None:
    # The teacher is wrong on 100 of 600; the student disagrees with it exactly there, and is right.
    check = check_set(600, labelled=600, teacher_wrong=100)
    content = measured.result(check)
    content["predictions"] = check.labels.tolist()
    verdict = judge(check, content)
    assert verdict.verdict == "pass"
    assert verdict.agreement.low < 0.9
    assert verdict.accuracy.student == 1.0
    assert verdict.accuracy.teacher == pytest.approx(5 / 6)
    assert verdict.accuracy.low > 0


def test_below_500_labelled_images_agreement_decides_and_accuracy_is_shown(judge: Judge) -> None:
    check = check_set(600, labelled=499, teacher_wrong=100)
    content = measured.result(check)
    content["predictions"] = np.where(check.labelled, check.labels, check.teacher_class).tolist()
    verdict = judge(check, content)
    assert (verdict.verdict, verdict.accuracy.images) == ("fail", 499)
    assert verdict.over[0].figure == "agreement"


def test_a_student_that_may_be_more_than_the_allowed_drop_behind_fails(judge: Judge) -> None:
    check = check_set(600, labelled=600)
    verdict = judge(check, measured.result(check, different=18))  # 3.0 points below, the interval reaches further
    assert verdict.verdict == "fail"
    assert verdict.over[0].figure == "accuracy"
    # ±1.96 sqrt(4 - 16/600) / 600 around -4/600 stays above -0.03
    assert judge(check, measured.result(check, different=4)).verdict == "pass"


def test_without_labels_accuracy_is_unknown_not_zero(judge: Judge) -> None:
    check = check_set(200)
    assert judge(check, measured.result(check)).accuracy is None


def test_outputs_that_are_not_finite_fail(judge: Judge) -> None:
    check = check_set(1000)
    content = measured.result(check)
    content["predictions"][7] = -1
    verdict = judge(check, content)
    assert verdict.verdict == "fail"
    assert verdict.over[0] == Over(figure="outputs", value=1, limit=0, unit="images")


def test_agreement_class_by_class_adds_up() -> None:
    check = check_set(100)
    predictions = np.array(measured.answers(check, 10))
    found = quality(check, predictions, measured.NAMES)
    assert [row.name for row in found.classes] == list(measured.NAMES)
    assert sum(row.images for row in found.classes) == 100
    assert sum(row.agree for row in found.classes) == 90


def test_the_verdict_holds_every_key_and_is_json(judge: Judge) -> None:
    check = check_set(200, labelled=10)
    content = json.loads(json.dumps(judge(check, measured.result(check)).to_json(), allow_nan=False))
    assert set(content) >= {
        "schema",
        "verdict",
        "reasons",
        "over",
        "profile",
        "build_id",
        "selected",
        "budget",
        "agreement",
        "accuracy",
        "latency_ms",
        "memory_mb",
        "model",
        "precision_candidates",
        "device",
        "teacher",
        "check",
        "start",
        "seeds",
        "skipped",
    }
    assert set(content["agreement"]) == {"value", "low", "high", "images"}
    assert set(content["accuracy"]) == {"teacher", "student", "low", "high", "images"}
    assert set(content["latency_ms"]) >= {"p50", "p95", "p99"}
    assert set(content["memory_mb"]) == {"peak", "kind"}
    assert content["model"] == {"bytes": 2000, "precision": "fp16"}
    assert content["teacher"] == {"id": "local-dir:teacher", "hash": "c" * 64}
    assert content["check"] == {"images": 200, "source": "pool split", "synthetic": False}
    candidates = {row["precision"]: row for row in content["precision_candidates"]}
    assert candidates["int8"]["not_built"] == "there are no photos to calibrate on"
    assert candidates["fp16"]["selected"] is True
    assert candidates["fp32"]["runtime"] is None


def test_facts_of_the_build_and_changed_budgets_are_carried_over(judge: Judge) -> None:
    bundle, check = manifest(), check_set(200)
    bundle |= {
        "budget_overrides": {"memory_mb": 64.0},
        "start": {"agreement": 0.5, "accuracy": None},
        "seeds": [{"seed": 0, "agreement": 0.9, "accuracy": 0.8}],
        "skipped": {"truncated": 3},
    }
    verdict = judge(check, measured.result(check), of=bundle)
    assert verdict.budget.overrides == {"memory_mb": 64.0}
    assert verdict.start == Start(agreement=0.5, accuracy=None)
    assert verdict.seeds == (Seed(seed=0, agreement=0.9, accuracy=0.8),)
    assert (verdict.skipped.images, verdict.skipped.check) == ({"truncated": 3}, {"truncated": 1})


@pytest.mark.parametrize("key", ["latency_p95_ms", "memory_mb", "agreement_min", "accuracy_drop_max"])
@pytest.mark.parametrize("value", [None, float("nan"), "10", True])
def test_a_manifest_without_a_budget_is_refused(judge: Judge, key: str, value: object) -> None:
    bundle, check = manifest(), check_set(200)
    bundle["budget"][key] = value
    with pytest.raises(InputError, match=key):
        judge(check, measured.result(check), of=bundle)
    del bundle["budget"][key]
    with pytest.raises(InputError, match=f"{key} is missing"):
        judge(check, measured.result(check), of=bundle)


# ---- what must hold whatever was measured ----------------------------------------------------------------------------

LEVELS = st.fixed_dictionaries(
    {
        "different": st.integers(0, 80),
        "p95": st.none() | st.floats(0.1, 30),
        "peak": st.none() | st.floats(0, 300),
        "matches": st.sampled_from([True, True, True, False, None]),
        "invalid": st.sampled_from([[], [], [], [measured.HOT]]),
        "golden": st.sampled_from([True, True, True, False]),
        "runtime": st.sampled_from(["tensorrt", "tensorrt", "onnxruntime-cuda", "onnxruntime-cpu"]),
        "queries": st.sampled_from([1000, 1000, 400, 20]),
        "precision": st.sampled_from(["fp32", "fp16"]),
        "named": st.booleans(),
    }
)


def content_of(check: CheckSet, levels: dict[str, Any]) -> dict[str, Any]:
    content = measured.result(check, different=levels["different"], precision=levels["precision"])
    p95 = levels["p95"]
    content["latency_ms"].update(measured.latency(p95), queries=levels["queries"])
    content["memory_mb"]["peak"] = levels["peak"]
    content["golden"]["ok"] = levels["golden"]
    content["runtime"]["name"] = levels["runtime"]
    content |= {"matches_profile": levels["matches"], "invalid": levels["invalid"]}
    return content


def decides(levels: dict[str, Any]) -> bool:
    return (
        levels["matches"] is True
        and not levels["invalid"]
        and levels["golden"]
        and levels["runtime"] != "onnxruntime-cpu"
        and levels["queries"] >= 400
        and levels["p95"] is not None
        and levels["peak"] is not None
    )


@given(levels=LEVELS, images=st.sampled_from([20, 49, 50, 200]))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_pass_means_that_everything_was_measured_and_inside(
    judge: Judge, levels: dict[str, Any], images: int
) -> None:
    check = check_set(images)
    levels = {**levels, "different": min(levels["different"], images)}
    verdict = judge(check, content_of(check, levels), named=levels["named"])
    assert (verdict.verdict != "unmeasured") == (decides(levels) and images >= 50)
    if verdict.verdict == "pass":
        assert levels["p95"] * 1.02 <= 10
        assert levels["peak"] <= 100
        assert wilson(images - levels["different"], images)[0] >= 0.9
    assert (verdict.verdict == "fail") == bool(verdict.over)
    assert (verdict.verdict == "unmeasured") == bool(verdict.reasons)
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json(), allow_nan=False))) == verdict
    if verdict.verdict == "unmeasured":
        assert set(verdict.reasons) <= set(REASONS)
        assert verdict.selected == "fp32"
    assert verdict.exit_code == EXIT_CODES[verdict.verdict]
    assert sentence(verdict).endswith(".")


@given(levels=LEVELS, slower=st.floats(0, 20), larger=st.floats(0, 200), worse=st.integers(0, 60))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_worse_measurement_never_turns_into_a_pass(
    judge: Judge, levels: dict[str, Any], slower: float, larger: float, worse: int
) -> None:
    check = check_set(200)
    before = judge(check, content_of(check, levels))
    spoilt = copy.deepcopy(levels)
    spoilt["different"] += worse
    spoilt["p95"] = spoilt["p95"] and spoilt["p95"] + slower
    spoilt["peak"] = spoilt["peak"] and spoilt["peak"] + larger
    after = judge(check, content_of(check, spoilt))
    assert not (after.verdict == "pass" and before.verdict != "pass")
    assert (after.verdict == "unmeasured") == (before.verdict == "unmeasured")


TIED: dict[str, Any] = {
    "different": 5,
    "p95": 1.0,
    "matches": True,
    "invalid": [],
    "golden": True,
    "runtime": "tensorrt",
    "queries": 1000,
    "precision": "fp32",
    "named": False,
}


@example(first=TIED | {"peak": 0.0}, second=TIED | {"peak": 101.0})
@given(first=LEVELS, second=LEVELS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_results_does_not_matter(judge: Judge, first: dict[str, Any], second: dict[str, Any]) -> None:
    check = check_set(100)
    one, two = content_of(check, first), content_of(check, second)
    forth, back = judge(check, one, two), judge(check, two, one)
    assert (forth.verdict, forth.reasons, forth.selected) == (back.verdict, back.reasons, back.selected)
    alone = [judge(check, content).verdict for content in (one, two)]
    assert (forth.verdict == "pass") == ("pass" in alone)


def test_the_sentence_says_what_a_person_needs(judge: Judge) -> None:
    check = check_set(200)
    passed = sentence(judge(check, measured.result(check, different=4)))
    assert passed == (
        "On Test Board (power mode 25W; GPU up to 918 MHz; 61 C; not throttled) the fp16 model chooses what its "
        "teacher chooses on 98.0 % of 200 images, answers within 5.0 ms (95 of 100 times) and takes 80 MB: inside "
        "every budget."
    )
    assert "latency: p95 is 20.00 ms" in sentence(judge(check, measured.result(check, p95=20.0)))
    foreign = measured.result(check)
    foreign["matches_profile"] = False
    assert "Measured on Test Board" in sentence(judge(check, foreign, named=False))


# ---- a lower precision beside fp32 -----------------------------------------------------------------------------------


def two(check: CheckSet, *, p95: float = 4.0, wrong: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """fp32, right on all images in 8 ms; fp16, in `p95` ms, with another answer on the first `wrong`."""
    return measured.result(check, precision="fp32", p95=8.0), measured.result(check, different=wrong, p95=p95)


def of(verdict: Verdict, precision: str) -> Any:
    return next(row for row in verdict.precision_candidates if row.precision == precision)


def test_a_lower_precision_that_is_faster_and_as_good_is_used_and_its_figures_are_told(judge: Judge) -> None:
    check = check_set(1000)
    verdict = judge(check, *two(check, wrong=5))
    assert (verdict.verdict, verdict.selected) == ("pass", "fp16")
    found = of(verdict, "fp16").against_fp32
    assert (found.p50, found.p95, found.same) == (0.5, 0.5, 0.995)
    assert (found.difference, found.images) == (-0.005, 1000)
    assert -0.01 < found.low < -0.005 < found.high < 0
    assert of(verdict, "fp32").against_fp32 is None
    assert any("fp16, tensorrt beside fp32: its median is 0.50 of fp32's" in line for line in notes(verdict))


@pytest.mark.parametrize(
    ("p95", "wrong", "why"),
    [
        (7.9, 0, ("not-faster",)),  # within 2 %: as fast
        (16.0, 0, ("not-faster",)),
        (4.0, 12, ("less-accurate",)),  # 1.2 points: the interval allows it, the drop itself does not
        (4.0, 40, ("less-accurate",)),
        (16.0, 40, ("not-faster", "less-accurate")),
    ],
)
def test_a_lower_precision_that_is_slow_or_bad_is_kept_back_and_says_why(
    judge: Judge, p95: float, wrong: int, why: tuple[str, ...]
) -> None:
    check = check_set(1000)
    verdict = judge(check, *two(check, p95=p95, wrong=wrong))
    assert (verdict.verdict, verdict.selected, verdict.latency_ms.p95) == ("pass", "fp32", 8.0)
    assert of(verdict, "fp16").kept_back == why
    (line,) = [line for line in notes(verdict) if line.startswith("fp16, tensorrt is not used")]
    assert ("not faster than fp32" in line) == ("not-faster" in why)
    assert ("less accurate than fp32" in line) == ("less-accurate" in why)


def test_a_lower_precision_whose_outputs_are_not_numbers_is_kept_back(judge: Judge) -> None:
    check = check_set(200)
    fp32, fp16 = two(check)
    fp16["predictions"] = [-1] * 200
    verdict = judge(check, fp32, fp16)
    assert (verdict.verdict, verdict.selected) == ("pass", "fp32")
    assert of(verdict, "fp16").kept_back == ("less-accurate",)


def test_one_output_that_is_not_a_number_is_enough_to_leave_a_lower_precision_out(judge: Judge) -> None:
    """As many right as fp32 within the limits, and faster; the run itself need not have said so."""
    check = check_set(1000)
    fp32, fp16 = two(check)
    fp16["predictions"][7] = -1
    verdict = judge(check, fp32, fp16)
    assert (verdict.verdict, verdict.selected) == ("pass", "fp32")
    assert [over.figure for over in of(verdict, "fp16").over] == ["outputs"]


def test_where_labels_decide_a_lower_precision_is_held_to_the_true_class(judge: Judge) -> None:
    check = check_set(600, labelled=600, teacher_wrong=100)
    fp32, fp16 = two(check)
    fp16["predictions"] = check.labels.tolist()  # another class than fp32's on 100 images, each time the right one
    verdict = judge(check, fp32, fp16)
    assert verdict.selected == "fp16"
    found = of(verdict, "fp16").against_fp32
    assert (found.difference, found.same) == (pytest.approx(100 / 600), pytest.approx(500 / 600))


def test_a_tail_that_is_slower_than_fp32s_keeps_a_faster_median_back(judge: Judge) -> None:
    check = check_set(200)
    fp32, fp16 = two(check)
    fp16["latency_ms"] |= measured.latency(8.5) | {"p50": 2.0}
    assert of(judge(check, fp32, fp16), "fp16").kept_back == ("not-faster",)


def test_beside_an_fp32_run_that_does_not_count_nothing_is_known_to_be_faster(judge: Judge) -> None:
    check = check_set(200)
    fp32, fp16 = two(check)
    fp32["invalid"] = [measured.HOT]
    verdict = judge(check, fp32, fp16)
    assert (verdict.verdict, verdict.reasons, verdict.selected) == ("unmeasured", ("unstable",), "fp32")
    assert of(verdict, "fp16").kept_back == ("not-compared",)


@pytest.mark.parametrize("fp32", [[], [measured.failed("fp32")]])
def test_alone_on_its_device_a_lower_precision_is_held_to_the_budgets_and_that_is_said(
    judge: Judge, fp32: list[dict[str, Any]]
) -> None:
    check = check_set(200)
    verdict = judge(check, *fp32, measured.result(check))
    assert (verdict.verdict, verdict.selected) == ("pass", "fp16")
    assert "fp16, tensorrt was not compared with fp32, which was not measured there." in notes(verdict)


def test_one_that_was_asked_for_is_used_even_where_it_is_slower(judge: Judge) -> None:
    check, bundle = check_set(200), manifest() | {"forced": "fp16"}
    verdict = judge(check, *two(check, p95=9.0), of=bundle)
    assert (verdict.verdict, verdict.selected, verdict.forced) == ("pass", "fp16", "fp16")
    assert of(verdict, "fp32").kept_back == ("not-asked",)
    assert "fp16 was asked for with --precision." in notes(verdict)


def test_one_that_was_asked_for_and_loses_too_much_fails(judge: Judge) -> None:
    check, bundle = check_set(1000), manifest() | {"forced": "fp16"}
    verdict = judge(check, *two(check, wrong=40), of=bundle)
    assert (verdict.verdict, verdict.selected) == ("fail", "fp16")
    assert [over.figure for over in verdict.over] == ["precision"]
    assert "below fp32" in sentence(verdict)


def test_one_that_was_asked_for_and_does_not_run_leaves_no_verdict(judge: Judge) -> None:
    check, bundle = check_set(200), manifest() | {"forced": "fp16"}
    verdict = judge(check, measured.result(check, precision="fp32"), measured.failed("fp16"), of=bundle)
    assert (verdict.verdict, verdict.reasons) == ("unmeasured", ("unstable",))


def test_the_report_says_how_int8_was_made(judge: Judge) -> None:
    check, bundle = check_set(200), manifest()
    bundle["models"][1]["int8"] = {
        "dialect": "tensorrt",
        "calibration": "entropy",
        "photos": 128,
        "seed": 0,
        "judged": 256,
        "agreement": 0.992,
        "tried": {"minmax": 0.9, "entropy": 0.95},
        "layers": 21,
        "floating": ["conv_stem"],
        "fine_tuned": "",
    }
    verdict = judge(check, measured.result(check), of=bundle)
    (line,) = [line for line in notes(verdict) if line.startswith("int8: ")]
    assert "entropy" in line
    assert "99.2 % of 256" in line
    assert "in float: conv_stem" in line
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"power_mode": "15W", "gpu_max_mhz": 612}, "power mode 15W, not 25W as shipped; GPU up to 612 MHz; 61 C; not"),
        ({"power_mode": None}, "power mode unknown; 61 C; not throttled"),
        ({"temperature_c": None, "watched": []}, "power mode 25W; GPU up to 918 MHz; throttling unknown"),
        ({"power_mode": None, "temperature_c": -12.5}, "power mode unknown; -12 C; not throttled"),
    ],
)
def test_the_sentence_names_power_mode_and_cooling_state(judge: Judge, changed: dict[str, Any], said: str) -> None:
    check = check_set(200)
    found = sentence(judge(check, measured.result(check) | {"conditions": measured.conditions(**changed)}))
    assert f"On Test Board ({said}" in found


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        ({"power_mode_as_shipped": "15W"}, "power mode 25W, not 15W as shipped; GPU up to 918 MHz; 61 C; not"),
        ({"power_mode_as_shipped": "25W"}, "power mode 25W; GPU up to 918 MHz; 61 C; not"),
        ({"power_mode_as_shipped": None}, "power mode 25W; GPU up to 918 MHz; 61 C; not"),
    ],
)
def test_which_mode_a_board_ships_in_is_what_it_says_itself(judge: Judge, evidence: dict[str, Any], said: str) -> None:
    check = check_set(200)
    result = measured.result(check)
    result["device"] |= {"evidence": evidence}
    assert f"On Test Board ({said}" in sentence(judge(check, result))


def test_where_boards_differ_and_do_not_tell_nothing_is_said_of_how_they_ship(judge: Judge) -> None:
    check, bundle = check_set(200), manifest()
    bundle["profile"]["power"]["default"] = None
    for mode, said in (("15W", "power mode 15W; GPU up to 918 MHz"), (None, "power mode unknown; 61 C")):
        result = measured.result(check) | {"conditions": measured.conditions(power_mode=mode)}
        assert f"On Test Board ({said}" in sentence(judge(check, result, of=bundle))


def test_the_result_of_an_older_bundle_says_that_throttling_is_unknown(judge: Judge) -> None:
    check = check_set(200)
    older = measured.result(check)
    del older["conditions"], older["warnings"]
    verdict = judge(check, older)
    assert verdict.verdict == "pass"
    assert "(power mode unknown; throttling unknown)" in sentence(verdict)


def test_a_throttled_run_decides_nothing_and_is_called_so(judge: Judge) -> None:
    check = check_set(200)
    events = {"code": "over-current", "what": "OC2, average current", "value": 3, "limit": None}
    verdict = judge(check, measured.result(check) | {"invalid": [events]})
    assert (verdict.verdict, verdict.reasons) == ("unmeasured", ("unstable",))
    assert verdict.device is not None
    assert verdict.device.throttling == "seen"
    assert "the supply could not follow: OC2, average current, 3 times" in " ".join(notes(verdict))


def test_a_warning_decides_nothing_and_is_told(judge: Judge) -> None:
    check = check_set(200)
    peaks = {"code": "over-current", "what": "OC3, instantaneous current", "value": 27, "limit": None}
    verdict = judge(check, measured.result(check) | {"warnings": [peaks]})
    assert verdict.verdict == "pass"
    assert "Test Board: the supply could not follow: OC3, instantaneous current, 27 times." in notes(verdict)
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"teacher": {"id": "x"}}, "teacher.hash is missing"),
        ({"teacher": None}, "teacher is None"),
        ({"models": [{"file": "a", "precision": "fp32", "bytes": "many"}]}, "models[0].bytes is 'many'"),
        ({"not_built": ["int8"]}, "not_built[0] is 'int8'"),
        ({"seeds": 3}, "seeds is 3"),
        ({"skipped": []}, "skipped is []"),
        ({"forced": 1}, "forced is 1"),
    ],
)
def test_a_manifest_edited_by_hand_is_refused_by_key(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        decide(measured.manifest() | change, measured.check_set(), [], named=False)
    assert said in caught.value.wrong
