"""How many files of a folder can be used and how many cannot, over every stage that looks at them.

The scan reads headers and the teacher pass decodes; a folder is refused for what both leave out together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ..errors import InputError


def counts(*found: Mapping[str, Collection[str]]) -> dict[str, int]:
    """Reason -> how many, sorted, over several tables of reason -> which."""
    total: Counter[str] = Counter()
    for table in found:
        total.update({reason: len(which) for reason, which in table.items()})
    return dict(sorted(total.items()))


@dataclass(frozen=True)
class Tally:
    """The files of one folder: its name, how many can be used, and reason -> how many cannot."""

    folder: str
    usable: int
    skipped: Mapping[str, int] = field(default_factory=dict)

    def losing(self, bad: Mapping[str, Collection[str]]) -> Tally:
        """The tally when these (reason -> which), usable so far, turn out to be bad."""
        return Tally(self.folder, self.usable - sum(counts(bad).values()), Counter(self.skipped) + Counter(counts(bad)))

    def refuse_mostly_bad(self) -> None:
        """Raise InputError when there is no usable image, or when more than half of the files cannot be used."""
        bad = sum(self.skipped.values())
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.skipped.items()))
        if self.usable <= 0:
            raise InputError(
                f"no usable image in {self.folder}"
                + (f" ({bad} files: {reasons})" if bad else " (it holds no photos)"),
                "Name a folder that holds photos (JPEG, PNG, WebP, ...).",
            )
        if bad > self.usable:
            raise InputError(
                f"{bad} of the {bad + self.usable} files in {self.folder} cannot be used: {reasons}",
                "Check that this is the right folder; move away what is no photo, or replace what is damaged.",
            )
