"""The verdict as data: verdict.json, field by field. Codes and figures; words are made from them last (words.py).

    pass        measured on the profile's device, inside every budget                        exit 0
    fail        measured there, outside at least one budget: `over` says which               exit 3
    unmeasured  no measurement that may decide: `reasons` say why                            exit 4

Shares are 0..1, times milliseconds, memory MiB, intervals 95 %.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from .. import profiles
from ..errors import InputError
from ..export.int8_facts import Int8Facts
from ..records import plain, read
from ..targets import outside
from ..targets.flaws import Flaw

SCHEMA = 2
EXIT_CODES = {"pass": 0, "fail": 3, "unmeasured": 4}
LEAST_IMAGES = 50  # of a check set that may decide
LABELLED_ENOUGH = 500  # from here on accuracy decides: a student better than its teacher must disagree with it
AGAIN = "Measure the bundle again: edgedistill verify BUNDLE."

Outcome = Literal["pass", "fail", "unmeasured"]
# Why a verdict is unmeasured, in the order they are named.
Reason = Literal["not-reached", "wrong-board", "emulated", "unrecognised", "unstable", "too-few-images"]
REASONS: tuple[str, ...] = get_args(Reason)
Figure = Literal["outputs", "accuracy", "agreement", "precision", "latency", "memory"]
QUALITY: tuple[Figure, ...] = ("outputs", "accuracy", "agreement", "precision")
# Why a candidate that was soundly measured is not used (against_fp32.py); not-asked: --precision names another.
KeptBack = Literal["not-faster", "less-accurate", "not-compared", "not-asked"]


@dataclass(frozen=True, kw_only=True)
class Budget(profiles.Budget):
    """The profile's budgets as they count here. `overrides`: those that a flag or build.toml changed."""

    overrides: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Share of `images` where student and teacher choose the same class, with its Wilson interval."""

    value: float
    low: float
    high: float
    images: int


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Of both on the `images` whose true class is known; low and high are of student minus teacher (paired)."""

    teacher: float
    student: float
    low: float
    high: float
    images: int

    @property
    def decides(self) -> bool:
        """Whether there are enough true labels for accuracy to stand in for agreement."""
        return self.images >= LABELLED_ENOUGH


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds of one image a query; a percentile that is too thinly covered is None.

    p95_low, p95_high: the 95 % interval of p95 (targets/percentile.py), whose high end the budget is held against.
    """

    p50: float | None
    p95: float | None
    p99: float | None
    queries: int
    p95_low: float | None = None
    p95_high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Memory:
    """`kind`: rss_growth, memavailable_drop, gpu_free_drop ... (targets/memory.py)."""

    peak: float
    kind: str


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What is reported and decides nothing. None: not known.

    load_ms, first_ms: a cold start, from the model's file to a session, and its first query. end_to_end_ms: from an
    image file's bytes to its answer, the median. energy_mj: of a query, and what of it is above the idle_w that the
    board draws anyhow. first_p50_ms, last_p50_ms: of the first tenth of the measurement and of the last.
    """

    load_ms: float | None = None
    first_ms: float | None = None
    end_to_end_ms: float | None = None
    energy_mj: float | None = None
    energy_above_idle_mj: float | None = None
    idle_w: float | None = None
    first_p50_ms: float | None = None
    last_p50_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Over:
    """One budget that a candidate is outside of. `low` or `high`: the end of the interval that decides, where one does.

    `value` is None where there is no figure; of `outputs` it is the number of images whose outputs are not finite, of
    `precision` the share of images right, less fp32's.
    """

    figure: Figure
    value: float | None
    low: float | None = None
    high: float | None = None
    limit: float
    unit: str

    @property
    def unsure(self) -> bool:
        """Whether the figure itself is inside, and only the end of its interval outside."""
        if self.value is None:
            return False
        above, below = (self.low is not None and self.value >= self.limit), self.high is not None
        return above or (below and self.value <= self.limit)


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """Why a candidate does not decide: the reason, and, where the run was unsound, its flaws. runs: how many were made,
    of which this is the last."""

    reason: Reason
    flaws: tuple[Flaw, ...] = ()
    runs: int = 1


@dataclass(frozen=True, kw_only=True)
class AgainstFp32:
    """A lower precision beside fp32 on the same device. p50, p95: its latency over fp32's; None: no such figure.

    difference, low, high: share of the `images` it gets right, less fp32's (paired); right is the true label where
    labels decide, else the teacher's choice. same: share of all check images where both choose the same class.
    """

    p50: float | None
    p95: float | None
    difference: float
    low: float
    high: float
    images: int
    same: float


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One model file under one runtime on one device; a precision not built, or not measured, has no runtime.

    `selected`: the one in use. `error`: why it does not run there. `over`: the budgets it is outside of.
    `against_fp32`: of a lower precision, where fp32 was measured on the same device. `kept_back`: why it is not used
    though it was soundly measured. `warnings`: what to know of a run that may count.
    """

    precision: str
    selected: bool = False
    not_built: str | None = None
    file: str | None = None
    bytes: int | None = None
    runtime: str | None = None
    device: str | None = None
    latency_ms: Latency | None = None
    memory_mb: float | None = None
    agreement: float | None = None
    accuracy: float | None = None
    over: tuple[Over, ...] = ()
    obstacle: Obstacle | None = None
    warnings: tuple[Flaw, ...] = ()
    error: str | None = None
    against_fp32: AgainstFp32 | None = None
    kept_back: tuple[KeptBack, ...] = ()
    int8: Int8Facts | None = None


@dataclass(frozen=True, kw_only=True)
class Model:
    """The model in use, or the one that the figures are of."""

    bytes: int
    precision: str


@dataclass(frozen=True, kw_only=True)
class Board:
    """What the profile is about: its title, the runtimes it ships with, whether it has power modes, and the one that
    every such board ships in, where there is one."""

    title: str
    runtimes: tuple[str, ...]
    power_mode: str | None = None
    has_power_modes: bool = False


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where the figures come from, and in which state. matches_profile None: it could not be recognised.

    power_mode: a Jetson's, by name. shipped_mode: the one that it ships in, as it says itself. gpu_max_mhz: the clock
    that its GPU could reach. temperature_c: of the processor that ran the model, at the end. None: not known.
    throttling: "unknown" where nothing would have told of it.
    """

    name: str
    matches_profile: bool | None
    power_mode: str | None = None
    shipped_mode: str | None = None
    gpu_max_mhz: float | None = None
    temperature_c: float | None = None
    throttling: Literal["none", "seen", "unknown"] = "unknown"


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What executed the model.

    threads: of a session on the processor. threads_tried: the median in ms by the number of threads, where it was found
    by trial. None: there are none, or the result does not tell.
    """

    name: str
    version: str
    threads: int | None = None
    threads_tried: dict[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """The frozen teacher: its name and the SHA-256 of its weights."""

    id: str
    hash: str


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was measured on. `source`: "--check", "pool split", "synthetic images" or "photos and synthetic images"."""

    images: int
    source: str
    synthetic: bool


@dataclass(frozen=True, kw_only=True)
class Start:
    """The student before training, as torch measured it in the workshop."""

    agreement: float
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Seed:
    """One seed's student after training, as torch measured it in the workshop."""

    seed: int
    agreement: float
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """Reason -> how many photos did not train, and how many check images could not be used."""

    images: dict[str, int] = field(default_factory=dict)
    check: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ClassAgreement:
    """Of the check images that the teacher calls `name`, on how many the student agrees."""

    name: str
    images: int
    agree: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was decided of a bundle, and every figure behind it.

    selected: the precision in use, "fp32" while unmeasured. forced: the one that --precision asked for, or None.
    reasons: why it is unmeasured, [] otherwise. over: the budgets that the best candidate is outside of. agreement,
    accuracy, latency_ms, memory_mb, costs, model, device, runtime: of the selected candidate, or of the best one
    measured where none may decide; None where there is no such figure. precision_candidates: all of them, with what was
    measured and why not. classes: agreement class by class. next: what to run where for a verdict that is missing,
    as shell lines; in the file, from the folder that holds the bundle.
    """

    verdict: Outcome
    reasons: tuple[Reason, ...]
    over: tuple[Over, ...]
    profile: str
    board: Board
    build_id: str
    selected: str
    budget: Budget
    agreement: Agreement | None
    accuracy: Accuracy | None
    latency_ms: Latency | None
    memory_mb: Memory | None
    model: Model
    precision_candidates: tuple[Candidate, ...]
    device: Machine | None
    runtime: Runtime | None
    teacher: Teacher
    check: Check
    start: Start | None
    seeds: tuple[Seed, ...] | None
    skipped: Skipped
    classes: tuple[ClassAgreement, ...] = ()
    next: tuple[str, ...] = ()
    forced: str | None = None
    costs: Costs | None = None
    schema: int = SCHEMA

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

    @property
    def by_accuracy(self) -> bool:
        """Whether accuracy decided, and not agreement."""
        return self.accuracy is not None and self.accuracy.decides

    def to_json(self) -> dict[str, Any]:
        """JSON values: what verdict.json holds."""
        return plain(self)

    @classmethod
    def from_json(cls, table: Any, where: str = "verdict.json") -> Verdict:
        """The inverse of `to_json`; `where` names the file in errors.

        Raises InputError for a verdict of another schema, and for a key that is unknown, missing or mistyped.
        """
        if isinstance(table, dict) and table.get("schema") != SCHEMA:
            raise InputError(
                f"{where} has schema {table.get('schema')!r}, this version reads schema {SCHEMA}: verify again", AGAIN
            )
        try:
            return read(cls, table, where)
        except InputError as error:
            raise InputError(error.wrong, AGAIN) from error


def read_verdict(bundle: Path) -> Verdict:
    """The verdict that stands in a bundle folder. Raises InputError where there is none, or it is not readable."""
    path = bundle / "verdict.json"
    try:
        return Verdict.from_json(outside.read_object(path), str(path))
    except FileNotFoundError as error:
        raise InputError(f"{bundle} has no verdict.json", AGAIN) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", AGAIN) from error
    except outside.Unfit as error:
        raise InputError(f"{path} {error}", AGAIN) from error
