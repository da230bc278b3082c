"""A case made ready: its model loaded in as many threads as it is worth, its queries made, and one of them answered."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

from .. import profiles
from ..targets import cores, load, machine, thread_trial
from ..targets.cudart import Gpu
from ..targets.flaws import Flaw
from ..targets.length import Loop
from ..targets.names import ON_CPU
from ..targets.watched import Subject, Watched
from .case import Case, Opened, open_case
from .inputs import Feed, batch_of, feeds

HOT_C = 95.0  # where no profile fits the machine


@dataclass(frozen=True)
class Ready:
    """case: with its threads. batch: items a query."""

    case: Case
    opened: Opened
    batch: int
    queries: list[Feed]
    gpu: Gpu | None

    def subject(self) -> Subject:
        """What is timed."""
        return Subject(self.opened.run, self.queries, self.gpu, self.opened.describe().get("threads"))

    def flaws(self, timed: Watched, hot_c: float) -> list[Flaw]:
        """Why it does not count. hot_c: `hot_c_of`. Other programs may keep the processors busy that its threads
        leave."""
        threads = self.opened.describe()["threads"] or 1
        return timed.flaws(hot_c, load.room_for_others(threads, len(cores.usable_cores())))


def made_ready(
    case: Case, facts: machine.Facts, loop: Loop, closing: ExitStack, opens: Callable[[Case], Opened] = open_case
) -> Ready:
    """The case, which `closing` closes. loop: what it will be timed by. opens: another way to load a case.

    Raises InputError, TargetError where it does not run.
    """
    case = _settled(case, min(thread_trial.SECONDS, loop.min_s), opens)
    opened = opens(case)
    closing.callback(opened.close)
    batch = batch_of(opened.inputs, case.batch)
    queries = feeds(opened.inputs, batch, case.given)
    opened.run(queries[0])
    gpu = facts.gpus[0] if case.on_gpu and facts.gpus else None
    return Ready(case, opened, batch, queries, gpu)


def _settled(case: Case, seconds: float, opens: Callable[[Case], Opened]) -> Case:
    """The case with its threads: where nobody fixed them, those that a trial of so many seconds finds, as `verify`
    does (targets/thread_trial.py)."""
    if case.threads is not None or case.runtime not in ON_CPU:
        return case
    first = opens(replace(case, threads=1))
    try:
        queries = feeds(first.inputs, batch_of(first.inputs, case.batch), case.given)
    finally:
        first.close()
    tried = thread_trial.medians(lambda count: opens(replace(case, threads=count)), queries, seconds)
    return replace(case, threads=thread_trial.fewest(tried) if tried else 1)


def hot_c_of(facts: machine.Facts) -> float:
    """Celsius above which a run here does not count: that of the profile that fits this machine best."""
    fitting = profiles.fitting(facts)
    return profiles.load_profile(fitting[0]).measure.hot_c if fitting else HOT_C
