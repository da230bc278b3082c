"""What a build was asked for, read and checked before any work: nothing here writes a file or asks a network."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from .bundle.write import check_destination
from .classes.templates import Templates, template_set
from .devices.device import Device, find_device
from .distil import methods
from .distil.methods.base import Method
from .errors import InputError
from .images.synthetic import records_in
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
    method: Method
    device: Device

    @classmethod
    def read(cls, settings: BuildSettings) -> Request:
        """Raises InputError for what cannot be read, for options that do not fit each other, and for an --out that may
        not be written."""
        profile = with_budgets(load_profile(settings.profile), settings)
        labels = Labels.read(settings.classes)
        templates = template_set(settings.templates)
        method = methods.make(settings.method or method_for(settings), settings.option)
        check_class_vectors(settings, method)
        device = find_device(settings.device)
        check_destination(settings.bundle)
        return cls(settings, profile, labels, templates, method, device)

    @property
    def size(self) -> int:
        """Pixels a side of what the student sees."""
        return self.profile.model.input_size

    @property
    def seeds(self) -> range:
        return range(self.settings.seed, self.settings.seed + self.settings.seeds)


def method_for(settings: BuildSettings) -> str:
    """How a student is taught unless --method says so: images that were made from class names ask for another way than
    photos do."""
    made = settings.images is None or settings.synthesize or bool(records_in(settings.images))
    return "data-free" if made else "prg"


def check_class_vectors(settings: BuildSettings, method: Method) -> None:
    """Raises InputError where class vectors are to be moved twice, or by a method that aims at the words themselves."""
    moved = {"--few-shot": settings.few_shot is not None, "--refine": settings.refine not in ("auto", "none")}
    asked = [flag for flag, given in moved.items() if given]
    if len(asked) > 1:
        raise InputError(
            "--few-shot and --refine both move the class vectors", "Leave one of them out: labelled photos say more."
        )
    if asked and method.aims_at_words:
        raise InputError(
            f"{asked[0]} moves the class vectors, and {method.name} with these options teaches what the words say",
            "Leave out one of the two; for prg, prompts=class-vectors goes with both.",
        )


def with_budgets(profile: Profile, settings: BuildSettings) -> Profile:
    """The profile with the budgets, the input size and the precision that flags or build.toml changed."""
    budget = dataclasses.replace(profile.budget, **budget_overrides(settings))
    model = dataclasses.replace(profile.model, input_size=settings.input_size or profile.model.input_size)
    if settings.precision != "auto":
        model = dataclasses.replace(model, precisions=(settings.precision,))
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
