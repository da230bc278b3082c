"""A verdict in sentences: what was found, why it is not measured, what a person should know beside the tables.

Reads the verdict's data and decides nothing.
"""

from __future__ import annotations

from ..export.int8_facts import Int8Facts
from ..targets import flaws, thread_trial
from .verdict import (
    LEAST_IMAGES,
    AgainstFp32,
    Agreement,
    Board,
    Candidate,
    KeptBack,
    Machine,
    Obstacle,
    Over,
    Reason,
    Runtime,
    Verdict,
)

SYNTHETIC = "synthetic images"  # as images/gather.py names them
THROTTLING = {"none": "not throttled", "seen": "throttled", "unknown": "throttling unknown"}
WHY: dict[Reason, str] = {
    "not-reached": "it was not measured on the board",
    "wrong-board": "it was measured on another board",
    "emulated": "it was measured on an emulated processor",
    "unrecognised": "the machine could not be recognised (its device tree or GPU is unreadable, as in a container)",
    "unstable": "the measurement was not sound",
    "too-few-images": f"fewer than {LEAST_IMAGES} check images",
}

KEPT_BACK: dict[KeptBack, str] = {
    "not-faster": "not faster than fp32",
    "less-accurate": "less accurate than fp32",
    "not-compared": "fp32's run does not count",
    "not-asked": "not asked for",
}
CALIBRATION = {
    "minmax": "all values",
    "percentile": "all but the outermost values",
    "entropy": "least lost information",
}


def sentence(verdict: Verdict) -> str:
    """The verdict in one sentence that needs no glossary."""
    where = f"{verdict.device.name} ({_state(verdict.device, verdict.board)})" if verdict.device else "no machine"
    agreement = verdict.agreement
    same = (
        f"chooses what its teacher chooses on {_percent(agreement)} of {agreement.images} images" if agreement else ""
    )
    if verdict.verdict == "fail":
        said = "; ".join(over_words(over, verdict) for over in verdict.over)
        outside = "may be" if all(over.unsure for over in verdict.over) else "is"
        return f"On {where} the {verdict.selected} model {outside} outside its budget: {said}."
    if verdict.verdict == "pass" and verdict.latency_ms and verdict.memory_mb:
        return (
            f"On {where} the {verdict.selected} model {same}, answers within {verdict.latency_ms.p95:.1f} ms "
            f"(95 of 100 times) and takes {verdict.memory_mb.peak:.0f} MB: inside every budget."
        )
    why = " and ".join(WHY[reason] for reason in verdict.reasons)
    so_far = f" Measured on {where}, it {same}." if same else ""
    return f"Everything is built, but {verdict.profile} has no verdict yet: {why}.{so_far}"


def _state(machine: Machine, board: Board) -> str:
    """The power mode, by name, and the cooling state that a machine was measured in."""
    found = []
    if machine.power_mode:
        shipped = machine.shipped_mode or board.power_mode
        changed = machine.matches_profile and shipped not in (None, machine.power_mode)
        found.append(f"power mode {machine.power_mode}{f', not {shipped} as shipped' if changed else ''}")
    elif machine.matches_profile and board.has_power_modes:
        found.append("power mode unknown")
    if machine.power_mode and machine.gpu_max_mhz is not None:
        found.append(f"GPU up to {machine.gpu_max_mhz:.0f} MHz")
    if machine.temperature_c is not None:
        found.append(f"{machine.temperature_c:.0f} C")
    return "; ".join([*found, THROTTLING[machine.throttling]])


def over_words(over: Over, verdict: Verdict) -> str:
    """A budget that is exceeded, in words: which, and by how much."""
    value, low, limit = over.value, over.low, over.limit
    if value is None:
        return f"{over.figure}: no figure"
    if over.figure == "outputs":
        return f"outputs: not finite on {value:.0f} of {verdict.check.images} check images"
    if over.figure == "accuracy" and low is not None:
        return (
            f"accuracy: the student may be up to {-100 * low:.1f} points below its teacher, "
            f"{100 * (limit - low):.1f} more than the {-100 * limit:g} allowed"
        )
    if over.figure == "agreement" and low is not None:
        unsure = "unsure, " if over.unsure else ""
        return (
            f"agreement: {unsure}{value:.3f} on {verdict.check.images} images can be as low as {low:.3f}, "
            f"{limit - low:.3f} under the {limit:g} asked for"
        )
    if over.figure == "precision":
        if low is None:
            return f"precision: right on {-100 * value:.1f} points fewer images than fp32, {-100 * limit:g} are allowed"
        return (
            f"precision: it may be up to {-100 * low:.1f} points below fp32, "
            f"{100 * (limit - low):.1f} more than the {-100 * limit:g} allowed"
        )
    if over.figure == "latency" and over.high is not None:
        if over.unsure:
            return (
                f"latency: unsure, p95 is {value:.2f} ms and can be as high as {over.high:.2f}, "
                f"{over.high - limit:.2f} over the {limit:g} allowed"
            )
        return f"latency: p95 is {value:.2f} ms (up to {over.high:.2f}), {value - limit:.2f} over the {limit:g} allowed"
    what = "p95 is" if over.figure == "latency" else "the peak is"
    return f"{over.figure}: {what} {value:.2f} {over.unit}, {value - limit:.2f} over the {limit:g} allowed"


def obstacle_words(obstacle: Obstacle, candidate: Candidate, verdict: Verdict) -> str:
    """Why a candidate's measurement does not decide."""
    title, wanted = verdict.board.title, " or ".join(verdict.board.runtimes)
    if obstacle.reason == "emulated":
        return f"{candidate.device} is no board, and nothing was timed there"
    if obstacle.reason == "unrecognised":
        return f"{candidate.device} could not be recognised as {title}"
    if obstacle.reason == "unstable":
        said = "; ".join(flaws.words(flaw) for flaw in obstacle.flaws)
        run = "the run" if obstacle.runs == 1 else f"the last of {obstacle.runs} runs"
        return f"{run} of {candidate_name(candidate)} on {candidate.device} does not count: {said}"
    return f"{candidate.device} with {candidate.runtime} is not what the profile is about: {title} with {wanted}"


def notes(verdict: Verdict) -> list[str]:
    """What a person should know beside the tables: why a run does not count, changed budgets, images not used."""
    changed = [f"{name} {value:g}" for name, value in verdict.budget.overrides.items()]
    skipped = {"photos": verdict.skipped.images, "check images": verdict.skipped.check}
    found = {
        obstacle_words(one.obstacle, one, verdict): None for one in verdict.precision_candidates if one.obstacle
    }  # each once, in order
    candidates = verdict.precision_candidates
    broken = [f"{candidate_name(one)} does not run: {one.error}" for one in candidates if one.error]
    told = {
        f"{one.device}: {flaws.words(flaw)}": None
        for one in candidates
        if one.selected or verdict.verdict == "unmeasured"
        for flaw in one.warnings
    }
    missing = [f"{one.precision} is not built: {one.not_built}" for one in candidates if one.not_built]
    compared = [words for one in candidates if (words := comparison_words(one))]
    made = {int8_words(one.int8): None for one in candidates if one.int8}
    forced = [f"{verdict.forced} was asked for with --precision"] if verdict.forced else []
    threads = [words] if (words := threads_words(verdict.runtime)) else []
    return [
        *([synthetic_words(verdict)] if verdict.check.synthetic else []),
        *(f"{words}." for words in (*found, *broken, *missing, *compared, *made, *forced, *threads, *told)),
        *([f"Budgets changed for this build: {', '.join(changed)}."] if changed else []),
        *(
            f"Not used, {what}: {', '.join(f'{count} {reason}' for reason, count in counts.items())}."
            for what, counts in skipped.items()
            if counts
        ),
    ]


def comparison_words(one: Candidate) -> str:
    """How a lower precision compares with fp32 on its device, and what follows; "" where there is nothing to say."""
    if one.precision == "fp32" or one.runtime is None or one.error or (one.obstacle and one.against_fp32 is None):
        return ""
    if one.against_fp32 is None:
        return f"{candidate_name(one)} was not compared with fp32, which was not measured there"
    figures = against_fp32_words(one.against_fp32)
    if one.kept_back:
        return f"{candidate_name(one)} is not used, {' and '.join(KEPT_BACK[why] for why in one.kept_back)}: {figures}"
    return f"{candidate_name(one)} beside fp32: {figures}"


def against_fp32_words(found: AgainstFp32) -> str:
    """Times, then images right, of a lower precision beside fp32."""
    speed = "no median" if found.p50 is None else f"its median is {found.p50:.2f} of fp32's"
    return (
        f"{speed}, right on {100 * found.difference:+.1f} points of {found.images} images "
        f"({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    )


def threads_words(runtime: Runtime | None) -> str:
    """How many threads were found to be enough; "" where all cores were worth it, or nothing was tried."""
    return thread_trial.words(runtime.threads, runtime.threads_tried) if runtime else ""


def int8_words(made: Int8Facts) -> str:
    """How int8 was made."""
    floating = f"; in float: {', '.join(made.floating)}" if made.floating else ""
    trained = f"; {made.fine_tuned}" if made.fine_tuned else ""
    return (
        f"int8: ranges by {made.calibration} ({CALIBRATION[made.calibration]}) on {made.photos} photos of the pool, "
        f"same class as fp32 on {100 * made.agreement:.1f} % of {made.judged} others{floating}{trained}"
    )


def synthetic_words(verdict: Verdict) -> str:
    """What a verdict on images that were made from class names is worth."""
    only = " only" if verdict.check.source == SYNTHETIC else ""
    return (
        f"Checked on {verdict.check.source}{only}: how well the student does on photos is not known. Photos in --check "
        "measure it, and a few hundred unlabelled ones in --images teach better."
    )


def candidate_name(candidate: Candidate) -> str:
    return f"{candidate.precision}, {candidate.runtime}" if candidate.runtime else candidate.precision


def _percent(agreement: Agreement) -> str:
    return f"{100 * agreement.value:.1f} %"
