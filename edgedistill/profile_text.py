"""`edgedistill profiles show`: what is known of one board, for a person."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from .profiles import Profile


def show(profile: Profile) -> None:
    """Print the facts, budgets and notes of `profile` on stdout."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(f"{profile.name}  ", style="bold") + Text(profile.title))
    model, budget, runtime = profile.model, profile.budget, profile.runtime
    facts = {
        "runtimes": ", ".join(runtime.prefer),
        "precisions": ", ".join(model.precisions),
        "student": f"{model.student} at {model.input_size} px, batch {model.batch}",
        "budgets": f"p95 {budget.latency_p95_ms:g} ms, {budget.memory_mb:g} MB, agreement {budget.agreement_min:.2f}, "
        f"accuracy drop {budget.accuracy_drop_max:.2f}",
        "software": "; ".join(stack.name for stack in profile.stacks),
        "expected": "; ".join(
            f"{precision} {'-'.join(f'{end:g}' for end in expected.models[model.student])} ms ({expected.basis})"
            for precision, expected in profile.plausible.items()
            if model.student in expected.models
        ),
    }
    for name, value in facts.items():
        if value:
            console.print(f"  {name:<11} {value}", markup=False)
    for note in profile.notes:
        console.print(f"  - {note}", markup=False)
