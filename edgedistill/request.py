"""What a build was asked for, read and checked before any work: nothing here writes a file or asks a network."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from .bundle.write import check_destination
from .classes.prompts import Templates, template_set
from .distil import methods
from .errors import InputError
from .labels import Labels
from .profiles import Profile, load_profile
from .settings import BuildSettings


@dataclass(frozen=True)
class Request:
    """The settings, and what the files they name hold. `profile`: with the budgets and the input size that count."""

    settings: BuildSettings
    profile: Profile
    labels: Labels
    templates: Templates
    method: methods.Method

    @classmethod
    def read(cls, settings: BuildSettings) -> Request:
        """Raises InputError for what cannot be read, for options that do not fit each other, and for an --out that may
        not be written."""
        profile = with_budgets(load_profile(settings.profile), settings)
        labels = Labels.read(settings.classes)
        templates = template_set(settings.templates)
        method = methods.make(settings.method, settings.option, **_targets(settings))
        _refuse_other_targets(method, settings.prompt_weights)
        check_destination(settings.bundle)
        return cls(settings, profile, labels, templates, method)

    @property
    def size(self) -> int:
        """Pixels a side of what the student sees."""
        return self.profile.model.input_size

    @property
    def seeds(self) -> range:
        return range(self.settings.seed, self.settings.seed + self.settings.seeds)


def with_budgets(profile: Profile, settings: BuildSettings) -> Profile:
    """The profile with the budgets and the input size that flags or build.toml changed."""
    budget = dataclasses.replace(profile.budget, **budget_overrides(settings))
    model = dataclasses.replace(profile.model, input_size=settings.input_size or profile.model.input_size)
    return dataclasses.replace(profile, budget=budget, model=model)


def budget_overrides(settings: BuildSettings) -> dict[str, Any]:
    """The budgets that were asked for, by their name in the profile; the verdict says that they were."""
    asked = {
        "latency_p95_ms": settings.latency_budget,
        "memory_mb": settings.memory_budget,
        "agreement_min": settings.agreement_min,
        "accuracy_drop_max": settings.accuracy_drop_max,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _targets(settings: BuildSettings) -> dict[str, str]:
    """PRG aims at the prompt weights that are baked; the other methods read the class vectors alone."""
    return {"targets": settings.prompt_weights} if settings.method == "prg" else {}


def _refuse_other_targets(method: methods.Method, weighting: str) -> None:
    """Raise InputError where a student would be trained towards other prompt weights than its bundle is given."""
    if isinstance(method, methods.PRG) and method.targets != weighting:
        raise InputError(
            f"--option targets={method.targets} is not --prompt-weights {weighting}: the student would aim at other "
            "class vectors than those in its bundle",
            f"Leave the option out, or give --prompt-weights {method.targets}.",
        )
