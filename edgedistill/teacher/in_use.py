"""The teacher while a build needs it: found at once, loaded when a stage first asks for it, freed after the last."""

from __future__ import annotations

import gc
from functools import cached_property

from ..work.compute import Compute
from ..work.stage import WorkFolder
from .files import TeacherFiles
from .gpu_pass import best_batch
from .tower import Teacher


class TeacherInUse:
    """One build's teacher on one machine. `asked`: --teacher-dtype."""

    def __init__(self, files: TeacherFiles, asked: str, compute: Compute, work: WorkFolder) -> None:
        self.files = files
        self.compute = compute
        self._asked = asked
        self._work = work
        self._teacher: Teacher | None = None

    def load(self, dtype: str) -> Teacher:
        """The teacher, loaded when a stage first needs it."""
        if self._teacher is None or self._teacher.dtype != dtype:
            self._teacher = Teacher(self.files, self.compute.device, dtype)
        return self._teacher

    def free(self) -> None:
        """Nothing after the store may need it."""
        self._teacher = None
        gc.collect()

    @cached_property  # the choice is logged: once for a build, however many stages ask
    def dtype(self) -> str:
        """--teacher-dtype, or what a short measurement chose when this work folder first met this teacher."""

        def decide() -> tuple[str, str]:
            self._teacher = Teacher(self.files, self.compute.device, "auto")
            return self._teacher.dtype, self._teacher.dtype_reason

        if self._asked != "auto":
            return self._asked
        return self.compute.choice(self._work, "teacher-dtype", {"teacher": self.files.weight_hash}, decide)

    def gpu_batch(self, dtype: str) -> int | None:
        """Views a batch on a GPU: what a short measurement chose when this work folder first met this teacher.

        None on a CPU.
        """
        if self.compute.device == "cpu":
            return None
        inputs = {"teacher": self.files.weight_hash, "dtype": dtype}

        def decide() -> tuple[str, str]:
            views, reason = best_batch(self.load(dtype))
            return str(views), reason

        return int(self.compute.choice(self._work, "teacher-batch", inputs, decide))
