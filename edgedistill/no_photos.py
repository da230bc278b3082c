"""The step before the line: a folder of images made from class names, for a build without photos or with few of them.

    text -> prompts -> images -> those that stay

`synthesize` does this alone; a build does it first where --images is missing or --synthesize was asked for, and then
takes the folder as it takes any folder of photos.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .bundle.destination_lock import destination_lock
from .choices import Diversify
from .classes import stages as classes_stages
from .classes.templates import Templates, template_set
from .classes.text_bank import TextBank
from .distil import stages as distil_stages
from .distil.arithmetic import choose_device
from .distil.stages import Start
from .distil.student_start import plan
from .errors import InputError
from .images.pool import Pool, scan
from .labels import Labels
from .settings import BuildSettings, SynthesizeSettings
from .synthesis import stages
from .synthesis.engine import Source
from .synthesis.folder import check_destination, copy_out
from .synthesis.folder_engine import Generated, generated_in
from .synthesis.judge import Judge
from .synthesis.objective import BatchNormStatistics
from .synthesis.pipeline_engine import from_pipeline
from .synthesis.prompts import Prompts
from .synthesis.stages import Making
from .synthesis.teacher_engine import ImageRecipe
from .synthesis.teacher_source import Memory, from_teacher
from .targets import cores
from .teacher.files import TeacherFiles
from .teacher.in_use import TeacherInUse
from .teacher.names import find_teacher
from .teacher.stores import ViewPlan, fill_one
from .work.compute import Compute, torch_as_it_was
from .work.console import SILENT, Progress
from .work.gpu import gpu_errors_explained
from .work.stage import WorkFolder

log = logging.getLogger(__name__)

DEFAULT_DIVERSIFY: dict[str, Diversify] = {"teacher": "mix", "diffusers": "styles"}
"""How prompts differ where --diversify does not say: a pipeline needs words."""
STUDENT = "mobilenetv3_small_100"  # whose statistics `synthesize` takes where no other network is named
TOLD = 20  # classes that the log names
PER_CLASS = 40  # images that are made of a class; about three quarters stay


def synthesize(settings: SynthesizeSettings, progress: Progress = SILENT) -> Path:
    """Make images from class names into the folder --out; return it.

    Raises InputError for input that cannot be used, and where --out holds files; what was made before stays in --work.
    """
    labels, templates = Labels.read(settings.classes), template_set(settings.templates)
    check_destination(settings.out)
    work = WorkFolder(settings.work)
    with gpu_errors_explained(), work.locked(), destination_lock(settings.out), torch_as_it_was():
        compute = Compute(choose_device(settings.train_on).type, settle_threads(settings.threads, work))
        files = find_teacher(settings.teacher, arch=settings.teacher_arch, preprocess=settings.teacher_preprocess)
        teacher = TeacherInUse(files, settings.teacher_dtype, compute, work)
        log.info("teacher %s, licence %s", files.id, files.licence)
        synthesis = Synthesis(settings, labels, templates, work, teacher, start_of(settings, files, work), progress)
        synthesis.look_for_engine()
        classes_stages.text_bank(work, labels, templates, teacher, progress)  # warns of classes that are too close
        made = copy_out(synthesis.folder(), settings.out)
        log.info("look at them: %s", made)
        return made


@dataclass(frozen=True, eq=False)
class Synthesis:
    """Images for the classes of one build, on one machine."""

    settings: SynthesizeSettings | BuildSettings
    labels: Labels
    templates: Templates
    work: WorkFolder
    teacher: TeacherInUse
    start: Start | None
    """The student's, where there is one: images under a teacher have the statistics that it remembers of photos."""
    bar: Progress

    def look_for_engine(self) -> None:
        """Raises InputError where what brings or makes the images is not here: before the teacher works, which may
        take minutes."""
        _ = self._generated, self._pipeline, self._maker

    def folder(self) -> Path:
        """The folder of a finished stage: images made for every class."""
        every = PER_CLASS if self._generated is None else len(self._generated.pool)
        return self._made(np.full(len(self.labels), self.settings.per_class or every))

    def folder_beside(self, photos: Path, size: int) -> Path:
        """The folder of a finished stage that holds these photos and images for the classes that have few of them.

        Which class a photo shows the teacher says; no label and no folder name takes part.
        """
        counts = self._counts(scan(photos, self.bar), size)
        wanted = np.maximum(0, (self.settings.per_class or PER_CLASS) - counts)
        few = [f"{self.labels.names[of]} {counts[of]}" for of in np.flatnonzero(wanted)]
        if not few:
            log.info("no images are made: of every class there are %d photos or more", counts.min())
            return photos
        more = f", and {len(few) - TOLD} more" if len(few) > TOLD else ""
        log.info("classes with few photos, as the teacher sees them: %s%s", ", ".join(few[:TOLD]), more)
        made = self._made(wanted)
        log.info("look at them: %s", made)
        return stages.together(self.work, made, photos)

    def _counts(self, photos: Pool, size: int) -> np.ndarray:
        """int64 [C]: of how many photos each class is the teacher's first choice."""
        vectors = self._bank(self.teacher).means()
        store = fill_one(self.work, "few", photos, self.teacher, ViewPlan(1, 0, size), self.bar)
        self.teacher.free()  # the store's pass dropped the text tower
        return np.bincount((store.centre() @ vectors.T).argmax(axis=1), minlength=len(self.labels))

    def _made(self, wanted: np.ndarray) -> Path:
        bank = self._bank(self.teacher)
        judge = Judge(self.teacher, bank.means(), bank.scale)
        source, prompts = self._source(bank, int(wanted.max()))
        rows = first_rows(prompts.classes, wanted)
        if not len(rows):
            raise InputError(
                f"no image in {self.settings.generated} is of a class that has few photos",
                "Add such images, or leave --generated out: then they are made.",
            )
        self._announce(source, len(rows))
        facts: dict[str, Any] = {
            "teacher": {"id": self.teacher.files.id, "licence": self.teacher.files.licence},
            "diversify": None if self.settings.generated else self._way,
        }
        making = Making(self.labels, prompts, rows, source, self.settings.seed)
        stage = stages.synthetic_images(self.work, making, judge, facts, self.bar)
        self.teacher.free()
        return stage.path

    @cached_property
    def _generated(self) -> Generated | None:
        """What --generated brings, where it is given."""
        folder = self.settings.generated
        return None if folder is None else generated_in(folder, self.labels, self.bar)

    @cached_property
    def _pipeline(self) -> Source | None:
        """The pipeline of --engine diffusers, not opened yet."""
        settings = self.settings
        if settings.engine != "diffusers" or settings.generated is not None:
            return None
        return from_pipeline(str(settings.engine_model), self.teacher.compute.device, settings.image_size)

    @cached_property
    def _maker(self) -> TeacherInUse:
        """The teacher that images are made under: that of --engine-model, or the one that judges and labels them."""
        settings = self.settings
        if settings.engine_model is None or settings.engine == "diffusers":
            return self.teacher
        files = find_teacher(settings.engine_model)
        return TeacherInUse(files, settings.teacher_dtype, self.teacher.compute, self.work)

    @property
    def _way(self) -> Diversify:
        return self.settings.diversify or DEFAULT_DIVERSIFY[self.settings.engine or "teacher"]

    def _bank(self, teacher: TeacherInUse) -> TextBank:
        return classes_stages.read_bank(self.work, self.labels, self.templates, teacher, self.bar)

    def _source(self, bank: TextBank, count: int) -> tuple[Source, Prompts]:
        """What makes the images, and prompts for it, `count` a class."""
        settings, maker = self.settings, self._maker
        if self._generated is not None:
            return self._generated.source(settings.image_size), self._generated.prompts(bank.means())
        source = self._pipeline
        if source is None:
            bank = bank if maker is self.teacher else self._bank(maker)
            memory = None if self.start is None else memory_of(self.start, maker.compute.device)
            source = from_teacher(maker, bank.means(), settings.image_size, memory)
        plan = stages.PromptPlan(self._way, count, settings.seed)
        return source, stages.prompts(self.work, plan, bank, maker, self.labels, self.bar)

    def _announce(self, source: Source, images: int) -> None:
        if self.settings.generated is None:
            log.info(
                "making %d images from class names (%s); real photos teach better: even a few hundred unlabelled ones",
                images,
                source.facts["engine"],
            )


def start_of(settings: SynthesizeSettings, teacher: TeacherFiles, work: WorkFolder) -> Start | None:
    """The start that a build would train on, of which `synthesize` takes the statistics alone: as a build takes
    --student and --student-weights, and with STUDENT for the profile's. None where no teacher makes the images."""
    if settings.generated is not None or settings.engine == "diffusers":
        return None
    size, weights = settings.image_size or ImageRecipe().size, settings.student_weights or "auto"
    if weights == "auto":
        planned = distil_stages.student_start(work, settings.student or STUDENT, size)
    else:
        planned = plan(settings.student, weights, STUDENT, size)
    log.info("statistics of photos from the student %s", planned.reason)
    return Start(planned, teacher.dim, teacher.weight_hash, size)


def memory_of(start: Start, device: str) -> Memory:
    """What the start's BatchNorm layers remember; nothing where it has none, or none that ever saw a photo."""

    def opened() -> BatchNormStatistics | None:
        student, _ = start.untrained(0)
        student.eval().requires_grad_(False).to(device)
        try:
            return BatchNormStatistics(student.backbone, student.mean.tolist(), student.std.tolist())
        except ValueError:
            log.info("the student's start remembers no photos: images are made without its statistics, and teach less")
            return None

    return Memory(start.plan.key, opened)


def first_rows(classes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """int64: of each class c of int64 [N] the first wanted[c] rows, class after class, so that a batch is of few."""
    return np.concatenate([np.flatnonzero(classes == of)[:count] for of, count in enumerate(wanted)])


def settle_threads(asked: int | None, work: WorkFolder) -> int:
    """--threads, or as many cores as this process may use, once for a work folder."""
    threads: int = asked or work.decision("threads", {}, _physical_cores, kind=int)[0]
    torch.set_num_threads(threads)
    return threads


def _physical_cores() -> tuple[int, str]:
    return cores.physical_cores(), "physical cores, at most 8"
