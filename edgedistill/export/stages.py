"""What the int8 graph of a build is made with, and what of it is kept in the work folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from ..distil import stages as distil_stages
from ..distil.config import TrainConfig
from ..distil.lesson import Lesson
from ..distil.student import Student
from ..profiles import Runtime
from ..targets.names import CPU
from ..work.console import Progress
from ..work.stage import Stage, WorkFolder
from .calibrate import Photos
from .models import Int8
from .quantise import ONNXRUNTIME, Dialect, dialect_for
from .speed import trial

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shipped:
    """The student that ships, as it was trained: `stage` from the store that `store_stage` made, its lesson and how."""

    work: WorkFolder
    start: distil_stages.Start
    stage: Stage
    lesson: Lesson
    store_stage: Stage
    config: TrainConfig
    progress: Progress

    def int8(self, runtime: Runtime, *, fine_tune: bool, only_if_faster: bool) -> Int8:
        """For a board with this runtime. fine_tune: the student may be trained on. only_if_faster: this machine is the
        board, so that a short trial tells whether accuracy is worth the time that it takes."""
        dialect = dialect_for(runtime.prefer)
        photos = Photos.of(self.lesson.store, self.lesson.rows, self.config.size, self.config.seed)
        return Int8(
            dialect=dialect,
            photos=photos,
            fine_tune=(lambda: self._fine_tuned(photos, dialect)) if fine_tune else None,
            worth=(lambda int8, fp32: self._worth(int8, fp32, photos, runtime.threads))
            if only_if_faster and dialect is ONNXRUNTIME and CPU in runtime.prefer  # which is what the trial runs
            else None,
        )

    def _fine_tuned(self, photos: Photos, dialect: Dialect) -> tuple[Student, str]:
        stage, words = distil_stages.trained_for_int8(
            self.work,
            self.start,
            self.stage,
            self.lesson,
            self.store_stage,
            self.config,
            photos.calibrating,
            self.progress,
            symmetric=dialect.symmetric,
        )
        return self.start.finished(stage), words

    def _worth(self, int8: Path, fp32: Path, photos: Photos, threads: int) -> bool:
        """What a short trial found when this work folder first met this student."""
        inputs = {"student": self.stage.path.name, "threads": threads}
        found, why = self.work.decision(
            "int8-worth", inputs, lambda: trial(int8, fp32, photos.judging, threads), kind=bool
        )
        log.info("%s%s", why, "" if found else ": nothing is done about its accuracy")
        return bool(found)
