"""docs/study.md and its pictures, from the rows of the study and from nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import study_arms
import study_sets
from study_figures import NO_SEED, Difference, Line, difference, holm, read

PARTS = ("methods", "ablations", "convergence")
BARS = {"mean": 2.0, "worst": -3.0}
NOT_RUN = "not run"
BASELINES = ("kd", "embedding", "promptkd", "eikd", "nvidia")


HEAD = """\
Every way to teach on the same sets: same student and start, same views, same image-steps, the same seeds, the last
epoch. Half of each set trains without its labels, the other half is checked on. The teacher is the example's,
frozen, with the text vectors as the default weighs them; a real CLIP knows far more, so what carries over are
differences between methods, not the levels. Intervals are paired bootstraps over check photos (95 %, seeds averaged).
`trashnet` and `pacs_cartoon` are the development sets: what the defaults are was chosen on them, so figures on the
other five say more."""


ROOT = Path(__file__).resolve().parents[1]
COSTS = ROOT / "benchmarks/results/method_cost.json"
FILLED = (ROOT / "README.md", ROOT / "docs/methods.md")
BETWEEN = re.compile(r"(?<=<!-- study: methods -->\n).*?(?=<!-- end -->)", re.S)
LEARNS = {  # method -> what the student learns, and where it comes from
    "prg": (
        "prompt-weighted probabilities, the embedding, and relations between photos and classes",
        "our reading of [2408.12248](https://arxiv.org/abs/2408.12248)",
    ),
    "promptkd": ("probabilities over shared class vectors", "[2403.02781](https://arxiv.org/abs/2403.02781)"),
    "eikd": (
        "likely classes only, embedding and relations; with `--select` from chosen photos",
        "our reading of [2302.08771](https://arxiv.org/abs/2302.08771)",
    ),
    "data-free": (
        "the embedding, probabilities, and the prompt's class where the teacher agrees",
        "our reading of [2407.15155](https://arxiv.org/abs/2407.15155)",
    ),
    "kd": ("probabilities", "Hinton et al. 2015"),
    "embedding": ("the embedding, cosine or MSE", "as in CLIP-KD"),
    "dkd": ("probabilities, the best class apart from the others", "[2203.08679](https://arxiv.org/abs/2203.08679)"),
    "dist": ("correlations of probabilities, by photo and by class", "[2205.10536](https://arxiv.org/abs/2205.10536)"),
    "ls": ("probabilities and standardised logits", "[2403.01427](https://arxiv.org/abs/2403.01427)"),
    "affinity": ("probabilities over classes and over photos", "as in TinyCLIP"),
    "queue": ("likeness to photos seen before", "SEED, [2101.04731](https://arxiv.org/abs/2101.04731)"),
    "nvidia": ("the embedding by MSE, one centre crop", "NVIDIA-AI-IOT/clip-distillation"),
}


def write(out: Path) -> None:
    """study.md beside `out`, pictures in it, and the table of methods where users read it."""
    lines = read(out / "results.csv")
    pictures(lines, out)
    out.with_suffix(".md").write_text("\n".join(page(lines, out.name)) + "\n", encoding="utf-8")
    for path in FILLED:
        old = path.read_text(encoding="utf-8")
        path.write_text(filled(old, lines), encoding="utf-8")


def filled(text: str, lines: Sequence[Line]) -> str:
    """`text` with the table of methods as the rows have it."""
    table = "\n".join(method_table(lines, costs()))
    return BETWEEN.sub(lambda _: f"\n{table}\n\n", text)


def costs() -> dict[str, float]:
    """Method -> the time of its step over kd's, at 10 classes, as far as it was measured."""
    if not COSTS.exists():
        return {}
    rows = json.loads(COSTS.read_text(encoding="utf-8"))
    found = {
        row["figure"].partition(": ")[2].split()[0]: row["value"] for row in rows if ", 10 classes" in row["figure"]
    }
    return {"kd": 1.0, **found} if found else {}


def method_table(lines: Sequence[Line], cost: dict[str, float]) -> Iterator[str]:
    """Every method once, with what the study and the step times say of it: at one size, that of the most methods."""
    lines = fullest(lines)
    size = f", {lines[0].size} px" if lines else ""
    teacher = _of(lines, "methods", "teacher")
    body = []
    for name, (learns, source) in LEARNS.items():
        arm = study_arms.DEFAULT if name == "prg" else name
        mine = _of(lines, "methods", arm)
        points = _points(difference(mine, teacher)) if mine else NOT_RUN
        step = f"{cost[name]:.2f}" if name in cost else NOT_RUN
        body.append([f"`{name}`" + " (default)" * (name == "prg"), learns, points, step, source])
    yield from _table(["`--method`", "what the student learns", f"student − teacher{size}", "step", "source"], body)


def fullest(lines: Sequence[Line]) -> list[Line]:
    """The lines of the size at which the most methods were run, the larger of two."""
    arms: dict[int, set[str]] = {}
    for line in lines:
        if line.part == "methods":
            arms.setdefault(line.size, set()).add(line.arm)
    most = max(arms, key=lambda size: (len(arms[size]), size), default=None)
    return [line for line in lines if line.size == most]


def page(lines: Sequence[Line], folder: str) -> Iterator[str]:
    yield from _head(lines)
    for size in sorted({line.size for line in lines}, reverse=True):
        scale = [line for line in lines if line.size == size]
        steps = {part: max((line.image_steps for line in scale if line.part == part), default=0) for part in PARTS}
        yield f"\n## {size} px, {steps['methods']:,} image-steps\n"
        yield from _methods(scale)
        yield from _bars(scale)
        if any(_of(scale, "methods", arm.name) for arm in study_arms.METHODS):
            yield f"\n![Student less teacher, by set and method]({folder}/methods-{size}.svg)"
        yield from _ablations(scale, steps["ablations"])
        yield from _convergence(scale, folder, size)
    yield "\n## How it was run\n"
    if lines:
        yield f"On {', and '.join(sorted({line.machine for line in lines}))}:\n"
    yield "    python benchmarks/study.py --data photos/trashnet photos/pacs_cartoon photos/pacs_photo \\"
    yield "        photos/pacs_art_painting photos/pacs_sketch photos/caltech101"
    yield "\nWhat was cut short of that is said in the column of seeds; another size adds `--size` and `--image-steps`."
    if lines:
        hours = sum(line.seconds for line in lines) / 3600
        yield f"\nHours of training in all, summed over runs: {hours:.1f}. Every run is a row of"
        yield f"[results.csv]({folder}/results.csv)."


def _head(lines: Sequence[Line]) -> Iterator[str]:
    yield "<!-- Made by benchmarks/study.py --page from docs/study/results.csv. -->\n"
    yield "# Which method helps\n"
    yield HEAD
    if not lines:
        yield "\nNot run yet."


def _of(lines: Sequence[Line], part: str, arm: str) -> list[Line]:
    return [line for line in lines if line.part == part and line.arm == arm]


def _points(found: Difference) -> str:
    return f"{_signed(found.value)} ({_signed(found.low)} .. {_signed(found.high)})"


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in body:
        yield "| " + " | ".join(row) + " |"


def _methods(lines: Sequence[Line]) -> Iterator[str]:
    teacher = _of(lines, "methods", "teacher")
    sets = [line.set for line in teacher]
    yield "Top-1 on the check photos, mean over seeds; last column: student less teacher, mean over sets, in points.\n"
    body = []
    missing = []
    for arm in ("teacher", "start", *(arm.name for arm in study_arms.METHODS)):
        mine = _of(lines, "methods", arm)
        if not mine:
            missing.append(arm)
            continue
        values = [[line.accuracy for line in mine if line.set == name] for name in sets]
        cells = [f"{np.mean(found):.3f}" if found else NOT_RUN for found in values]
        last = "" if arm == "teacher" else _points(difference(mine, teacher))
        if not all(values):
            last += f", {sum(map(bool, values))} sets"
        body.append([arm, _seeds(mine, sets), *cells, last])
    yield from _table(["", "seeds", *sets, "student − teacher"], body)
    if missing:
        yield f"\nNot run at this size: {'; '.join(missing)}."


def _seeds(lines: Sequence[Line], sets: Sequence[str]) -> str:
    """How many seeds were run, in brackets how many on the set with the fewest where that differs."""
    counts = [sum(line.set == name and line.seed != NO_SEED for line in lines) for name in sets]
    most, least = max(counts), min(counts)
    return "" if not most else f"{most}" if most == least else f"{most} ({least})"


def _bars(lines: Sequence[Line]) -> Iterator[str]:
    teacher, mine = _of(lines, "methods", "teacher"), _of(lines, "methods", study_arms.DEFAULT)
    if not mine:
        return
    found = difference(mine, teacher)
    worst = min(found.sets, key=lambda name: found.sets[name])
    met = {True: "met", False: "**missed**"}
    yield "\n| what was promised | measured | |"
    yield "|---|---|---|"
    yield (
        f"| default less teacher, mean over sets: at least +{BARS['mean']:.0f} points, interval above 0 "
        f"| {_points(found)} | {met[found.value >= BARS['mean'] and found.low > 0]} |"
    )
    low = found.sets[worst]
    yield f"| no set below −{-BARS['worst']:.0f} | {worst} {_signed(low)} | {met[low >= BARS['worst']]} |"
    against = {name: difference(mine, _of(lines, "methods", name)) for name in BASELINES if _of(lines, "methods", name)}
    corrected = holm({name: one.p for name, one in against.items()})
    for name, one in against.items():
        below = one.value < 0 and corrected[name] < 0.05
        yield f"| default not below {name} | {_points(one)}, p = {corrected[name]:.3f} (Holm) | {met[not below]} |"


def _ablations(lines: Sequence[Line], steps: int) -> Iterator[str]:
    base = _of(lines, "ablations", study_arms.DEFAULT)
    if not base:
        return
    yield "\n### One thing changed\n"
    yield (
        f"On the development sets, {steps:,} image-steps: the default with one thing in its place, minus the default,\n"
        "in points of top-1. An interval that holds 0 is no help and no harm that these photos could show.\n"
    )
    body = []
    for group, arms in study_arms.ABLATIONS.items():
        for arm in arms:
            if arm.name == study_arms.DEFAULT:
                continue
            mine = _of(lines, "ablations", arm.name)
            if not mine:
                body.append([group, arm.name, "", NOT_RUN, *[""] * len(study_sets.DEVELOPMENT)])
                continue
            found = difference(mine, base)
            own = [_signed(found.sets[name]) if name in found.sets else "" for name in study_sets.DEVELOPMENT]
            body.append([group, arm.name, _seeds(mine, study_sets.DEVELOPMENT), _points(found), *own])
    yield from _table(["", "in its place", "seeds", "minus the default", *study_sets.DEVELOPMENT], body)
    yield "\nClass-dropping is not among them: it needs ten classes, and the development sets have six and seven."


def _convergence(lines: Sequence[Line], folder: str, size: int) -> Iterator[str]:
    mine = [line for line in lines if line.part == "convergence"]
    if not mine:
        return
    yield "\n### How soon\n"
    yield (
        "Epochs, image-steps and seconds until the check photos' top-1 first reaches 95 % of where the run ends; mean\n"
        "over seeds. One thread, beside another run on the other core.\n"
    )
    body = []
    for arm in study_arms.CONVERGENCE:
        for name in study_sets.DEVELOPMENT:
            runs = [line for line in mine if line.arm == arm.name and line.set == name]
            if runs:
                reached = [first_at(line) for line in runs]
                body.append(
                    [
                        arm.name,
                        name,
                        f"{np.mean([line.trained for line in runs]):.0f}",
                        f"{np.mean([line.accuracy for line in runs]):.3f}",
                        f"{np.mean(reached):.1f} of {np.mean([line.epochs for line in runs]):.0f}",
                        f"{np.mean([k * line.trained for k, line in zip(reached, runs)]):,.0f}",
                        f"{np.mean([k / line.epochs * line.seconds for k, line in zip(reached, runs)]):.0f}",
                    ]
                )
    yield from _table(["", "set", "photos", "ends at", "epochs", "image-steps", "seconds"], body)
    yield f"\n![Top-1 after every epoch]({folder}/convergence-{size}.svg)"


def first_at(line: Line, share: float = 0.95) -> int:
    """The first epoch, from 1, whose accuracy is `share` of the last one's."""
    values = [float(text) for text in line.accuracies.split()]
    return 1 + next(k for k, value in enumerate(values) if value >= share * values[-1])


def pictures(lines: Sequence[Line], out: Path) -> None:
    """methods-SIZE.svg and convergence-SIZE.svg, where there are rows for them. Same rows, same bytes."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {"svg.hashsalt": "edgedistill", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    from matplotlib import pyplot

    for size in sorted({line.size for line in lines}):
        scale = [line for line in lines if line.size == size]
        teacher = _of(scale, "methods", "teacher")
        arms = [arm.name for arm in study_arms.METHODS if _of(scale, "methods", arm.name)]
        if arms:
            figure, axes = pyplot.subplots(figsize=(8, 0.45 * len(teacher) + 1.6), layout="constrained")
            for k, arm in enumerate(arms):
                found = difference(_of(scale, "methods", arm), teacher).sets
                places = [row for row, line in enumerate(teacher) if line.set in found]
                values = [found[teacher[row].set] for row in places]
                axes.scatter(
                    values,
                    [row + 0.09 * (k - len(arms) / 2) for row in places],
                    label=arm,
                    s=24,
                    marker="osDv^X"[k % 6],
                )
            axes.axvline(0, color="0.4", linewidth=0.8)
            axes.set_yticks(range(len(teacher)), [line.set for line in teacher])
            axes.invert_yaxis()
            axes.set_xlabel("student − teacher, points of top-1")
            axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16))
            _save(figure, out / f"methods-{size}.svg")
        curves = [line for line in scale if line.part == "convergence"]
        if curves:
            sets = [name for name in study_sets.DEVELOPMENT if any(line.set == name for line in curves)]
            figure, axis = pyplot.subplots(
                1, len(sets), figsize=(4 * len(sets), 3), layout="constrained", squeeze=False
            )
            for axes, name in zip(axis[0], sets):
                for arm in study_arms.CONVERGENCE:
                    runs = [line for line in curves if line.arm == arm.name and line.set == name]
                    if runs:
                        mean = np.mean([[float(text) for text in line.accuracies.split()] for line in runs], axis=0)
                        steps = runs[0].trained * np.arange(1, len(mean) + 1)
                        axes.plot(steps, mean, label=arm.name, linewidth=1.2)
                axes.set_title(name, fontsize=9)
                axes.set_xlabel("image-steps")
            axis[0][0].set_ylabel("top-1 on check photos")
            axis[0][0].legend(frameon=False)
            _save(figure, out / f"convergence-{size}.svg")


def _save(figure: object, path: Path) -> None:
    from matplotlib import pyplot

    figure.savefig(path, metadata={"Date": None})  # type: ignore[attr-defined]
    pyplot.close(figure)  # type: ignore[arg-type]
