"""`edgedistill profiles list` and `profiles show`: what is known of the boards, for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

from rich.text import Text

from .profiles import Engine, Identify, Measure, OnnxRuntime, Power, Profile, Runtime, Stack
from .work.console import Terminal

BASIS = {"anchored": "set around a published measurement", "derived": "by arithmetic"}
SOFTWARE = {"l4t": "L4T", "python": "Python", "cuda": "CUDA", "tensorrt": "TensorRT", "onnxruntime": "onnxruntime"}
NOT_MEASURED = "Budgets are decisions and times are expectations: edgedistill measured none of them."


def table(profiles: Sequence[Profile]) -> list[str]:
    """The boards under a heading, a line each."""
    rows = [("profile", "board", "p95 budget", "memory budget", "student")]
    for profile in profiles:
        budget = profile.budget
        limits = (f"{budget.latency_p95_ms:g} ms", f"{budget.memory_mb:g} MB")
        rows.append((profile.name, profile.title, *limits, profile.model.student))
    name, title, latency, memory, _ = (max(len(row[column]) for row in rows) for column in range(5))
    return [f"{a:<{name}}  {b:<{title}}  {c:>{latency}}  {d:>{memory}}  {e}" for a, b, c, d, e in rows]


def show(profile: Profile) -> None:
    """Print the facts, budgets and notes of `profile` on stdout."""
    console = Terminal(soft_wrap=True)
    console.print(Text(f"{profile.name}  ", style="bold") + Text(profile.title))
    for name, lines in _facts(profile).items():
        for line in lines:
            console.print(f"  {name:<14}  {line}", markup=False)
            name = ""
    for note in profile.notes:
        console.print(f"  - {note}", markup=False)
    console.print(f"  {NOT_MEASURED}", markup=False)


def _facts(profile: Profile) -> dict[str, list[str]]:
    """Name of a fact -> its lines, none where the profile says nothing of it."""
    model, budget, runtime, power = profile.model, profile.budget, profile.runtime, profile.power
    return {
        "known by": list(_identity(profile.identify)),
        "runtimes": list(_runtimes(runtime)),
        "onnxruntime": list(_onnxruntime(profile.onnxruntime)),
        "other machines": [f"{runtime.reference}: agreement only, no latency"],
        "student": [f"{model.student} at {model.input_size} px, unless another is named"],
        "graph": [f"ONNX opset {model.opset}, {'one image at a time' if model.static_shape else 'batches too'}"],
        "precisions": [_precisions(model.precisions)],
        "budgets": [
            f"p95 {budget.latency_p95_ms:g} ms, {budget.memory_mb:g} MB, agreement {budget.agreement_min:.2f}, "
            f"accuracy drop {budget.accuracy_drop_max:.2f}"
        ],
        "engine": list(_limits(profile.engine)),
        "to measure": [_measured(profile.measure)],
        "power modes": [_modes(power)] if power else [],
        "software": _aligned([(stack.name, _versions(stack)) for stack in profile.stack]),
        "expected p50": _expected(profile),
    }


def _identity(identify: Identify) -> Iterator[str]:
    """A line a condition; all of them have to hold."""
    words = {
        "compatible": "device tree compatible with {}",
        "not_compatible": "device tree not compatible with {}",
        "model": "device tree model {}",
        "machine": "machine {}",
        "cpu_model": "processor {}",
        "cpu_flags": "processor flags {}",
    }
    for name, sentence in words.items():
        if wanted := getattr(identify, name):
            yield sentence.format(_list(wanted, "and" if name == "cpu_flags" else "or"))
    if identify.gpu:
        capability = identify.min_compute_capability
        yield "an NVIDIA GPU" + (f" of compute capability {capability} or more" if capability else "")
    if identify.min_memory_mb:
        yield f"{identify.min_memory_mb} MB of memory or more"


def _runtimes(runtime: Runtime) -> Iterator[str]:
    yield ", ".join(runtime.prefer)
    if runtime.cuda_graph:
        yield "TensorRT with a CUDA graph"
    by_trial = "threads by trial, up to one for each physical core, at most 8"
    yield f"on a CPU: {f'{runtime.threads} threads' if runtime.threads else by_trial}"


def _onnxruntime(own: OnnxRuntime) -> Iterator[str]:
    """What is not onnxruntime's own default."""
    if not own.arena:
        yield "gives memory back after a call"
    if not own.spin:
        yield "its idle threads sleep"
    if own.optimisation != "all":
        yield f"optimises the graph: {own.optimisation}"
    if own.io_binding:
        yield "inputs and outputs bound once"


def _precisions(named: Sequence[str]) -> str:
    """The precisions in their order."""
    return ", ".join(named) + ("" if "fp32" in named else "; fp32 is always built too")


def _limits(engine: Engine) -> Iterator[str]:
    if engine.workspace_mb is not None:
        yield f"TensorRT builds it with at most {engine.workspace_mb} MB of scratch memory"
    if engine.free_mb is not None:
        yield f"not built with less than {engine.free_mb} MB free"
    if engine.dla_core is not None:
        yield f"what can runs on DLA core {engine.dla_core}, the rest on the GPU"


def _measured(measure: Measure) -> str:
    return (
        f"at least {measure.min_s:g} s and {measure.min_queries} queries after {measure.warmup_s:g} s of warm-up; "
        f"invalid above {measure.hot_c:g} C"
    )


def _modes(power: Power) -> str:
    return ", ".join(f"{mode} (as shipped)" if mode == power.default else mode for mode in power.modes)


def _versions(stack: Stack) -> str:
    """As in "L4T 39.2, Python 3.12": every field but the name that is told."""
    found = {field.name: getattr(stack, field.name) for field in fields(stack) if field.name != "name"}
    return ", ".join(f"{SOFTWARE[name]} {version}" for name, version in found.items() if version)


def _expected(profile: Profile) -> list[str]:
    """Milliseconds by student and precision, then what they rest on."""
    models = dict.fromkeys(model for expected in profile.plausible.values() for model in expected.p50_ms)
    rows = [
        (
            model,
            ", ".join(
                f"{precision} {expected.p50_ms[model][0]:g} to {expected.p50_ms[model][1]:g} ms"
                for precision, expected in profile.plausible.items()
                if model in expected.p50_ms
            ),
        )
        for model in models
    ]
    by_basis: dict[str, list[str]] = {}
    for precision, expected in profile.plausible.items():
        by_basis.setdefault(expected.basis, []).append(precision)
    basis = ", ".join(f"{_list(names, 'and')} {BASIS[name]}" for name, names in by_basis.items())
    mode = f"in power mode {profile.power.reference}; " if profile.power else ""
    return [*_aligned(rows), f"({mode}{basis})"] if rows else []


def _list(words: Sequence[str], last: str) -> str:
    """As in "a, b or c"."""
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _aligned(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Pairs as lines of two columns."""
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:<{width}}  {text}" for name, text in rows]
