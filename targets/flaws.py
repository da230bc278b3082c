"""Why a measurement does not count, as data: a code and its figures. Words are made where a person reads them.

Of one that counts, a warning has the same form.

    emulated          `what` emulates the processor: nothing was timed, and no memory measured
    hot               `what` is the thermal zone, `value` and `limit` are degrees Celsius
    throttled         `what` says how
    over-current      `value` events of the Jetson's counter `what` during the run
    power-cap         `what` drew as much power as it may; a warning, as GPUs of little power always do
    slow-clock        `what` ran at `value` MHz under load and may reach `limit`; a warning
    non-finite        `value` check images had an output that is NaN or infinite
    golden            a golden probability is off by `value`, more than `limit`
    golden-embedding  a golden image's embedding is `value` from the right one, more than `limit`
    golden-image      `value` golden images are answered as if they were another of them
    golden-head       a golden probability is off by `value`, more than `limit`, from what its own embedding gives
    golden-pixels     a golden pixel is off by `value` grey levels, more than `limit`
    memory-unknown    this system does not tell how much memory a process takes
    few-queries       `value` queries were timed, `limit` are asked for
    no-p95            `value` queries are too few for a 95th percentile
    no-interval       the result says nothing of how sure its 95th percentile is, as those of older bundles do
    busy              other programs kept `value` processors busy, `limit` were to spare
    stolen            other guests of the host took `value` of the processors' time, more than `limit`
    waited            our threads had no processor for `value` of the time that they could have run, more than `limit`
    slower            the last turns were slower than the first ones by `value`, more than `limit`
    unsteady          the median lies `value` above the quietest turns, more than `limit`
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

# The codes, each with the figures that it always has.
FIGURES: dict[str, tuple[str, ...]] = {
    "emulated": (),
    "hot": ("value", "limit"),
    "throttled": (),
    "over-current": ("value",),
    "power-cap": (),
    "slow-clock": ("value", "limit"),
    "non-finite": ("value",),
    "golden": ("value", "limit"),
    "golden-embedding": ("value", "limit"),
    "golden-image": ("value",),
    "golden-head": ("value", "limit"),
    "golden-pixels": ("value", "limit"),
    "memory-unknown": (),
    "few-queries": ("value", "limit"),
    "no-p95": ("value",),
    "no-interval": (),
    "busy": ("value", "limit"),
    "stolen": ("value", "limit"),
    "waited": ("value", "limit"),
    "slower": ("value", "limit"),
    "unsteady": ("value", "limit"),
}
_STATE_OF_THE_MACHINE = (
    *("hot", "throttled", "over-current", "power-cap", "slow-clock"),
    *("busy", "stolen", "waited", "slower", "unsteady"),
)


@dataclass(frozen=True)
class Flaw:
    """One reason. Figures that the code does not have are None."""

    code: str
    what: str = ""
    value: float | None = None
    limit: float | None = None

    @property
    def may_pass(self) -> bool:
        """Whether it lies in the state of the machine, so that a later run may be valid."""
        return self.code in _STATE_OF_THE_MACHINE

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def words(flaw: Flaw) -> str:
    """The flaw for a person, in one short phrase."""
    value, limit = flaw.value, flaw.limit
    if flaw.code == "emulated":
        return f"the processor is emulated on {flaw.what}: nothing was timed"
    if flaw.code == "hot":
        return f"too hot: {flaw.what} at {value:.0f} C, the limit is {limit:.0f} C"
    if flaw.code == "throttled":
        return f"throttled: {flaw.what}"
    if flaw.code == "over-current":
        return f"the supply could not follow: {flaw.what}, {value:.0f} times"
    if flaw.code == "power-cap":
        return f"the {flaw.what} was at its power cap"
    if flaw.code == "slow-clock":
        return f"the {flaw.what} ran at {value:.0f} MHz of the {limit:.0f} it may reach"
    if flaw.code == "non-finite":
        return f"outputs of {value:.0f} check images are not finite"
    if flaw.code == "golden":
        return f"golden probabilities are off by {value:.1e}, {limit:.1e} is allowed"
    if flaw.code == "golden-embedding":
        return f"a golden embedding is {value:.2g} from the right one, {limit:.2g} is allowed"
    if flaw.code == "golden-image":
        return f"{value:.0f} golden images are answered as if they were others"
    if flaw.code == "golden-head":
        return f"golden probabilities are off by {value:.1e} from what their embedding gives, {limit:.1e} is allowed"
    if flaw.code == "golden-pixels":
        return f"golden pixels are off by {value:.0f} of 255, {limit:.0f} is allowed"
    if flaw.code == "memory-unknown":
        return "the memory is not known: this system has neither /proc/self/status nor getrusage"
    if flaw.code == "few-queries":
        return f"{value:.0f} queries were timed, the profile asks for {limit:.0f}"
    if flaw.code == "no-interval":
        return "its p95 has no interval, as an older bundle measured it: build it again, or measure it with --device"
    if flaw.code == "busy":
        return f"other programs kept {value:.2f} processors busy, {limit:.2f} were to spare"
    if flaw.code == "stolen":
        return f"other guests of its host took {_percent(value)} of the processors' time, {_percent(limit)} is allowed"
    if flaw.code == "waited":
        return f"its threads waited for a processor {_percent(value)} of the time, {_percent(limit)} is allowed"
    if flaw.code == "slower":
        return f"its last turns were slower than its first by {_percent(value)}, {_percent(limit)} is allowed"
    if flaw.code == "unsteady":
        return f"its median lies {_percent(value)} above its quietest turns, {_percent(limit)} is allowed"
    return f"{value:.0f} queries are too few for a 95th percentile"


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{round(100 * share, 1):g} %"
