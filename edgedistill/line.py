"""The straight line, top to bottom: class names and unlabelled photos in, a measured bundle out.

    text -> pool -> store -> classes -> select -> distil -> export -> bundle -> verify

Every stage is a function of its inputs and keeps its result in the work folder (work/stage.py), so a killed build goes
on where it was and a changed input runs only what depends on it. Training never sees a label, a folder name or the
teacher: it reads the store. The one place for labels is --few-shot, before it, and only where it is asked for. What a
stage does stands in its room; here is the order, and who gets what from whom.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np

from .bundle.check_images import check_set
from .bundle.checkset import CheckSet
from .bundle.content import Content, Draft, StudentFacts, TeacherFacts, Trained
from .bundle.destination_lock import destination_lock
from .bundle.manifest import GOLDEN_IMAGES
from .bundle.write import holds, write_bundle
from .classes import stages as classes_stages
from .classes.class_vectors import ClassVectors
from .classes.few_shot import tuned
from .classes.text_bank import TextBank
from .devices.local import Local
from .devices.measurement import Measurement
from .distil import selected, student_start
from .distil import stages as distil_stages
from .distil.arithmetic import choose_device
from .distil.config import TrainConfig, batch_for, epochs_for, patient
from .distil.lesson import Lesson
from .distil.pace import VIEWS
from .distil.photo_statistics import made_alone
from .distil.stand_in import LessonShape
from .export.graph import GraphFacts, GraphSpec
from .export.models import Int8, export_models
from .export.stages import Shipped
from .images.few_shot import gather_few_shot
from .images.gather import Images, gather, rows_of
from .images.pixels import short_side_for
from .no_photos import Synthesis, settle_threads
from .request import Request, budget_overrides
from .settings import BuildSettings
from .targets import machine
from .teacher.in_use import TeacherInUse
from .teacher.names import find_teacher
from .teacher.prompt_src import TunedPrompts
from .teacher.stores import Kept, Stores, ViewPlan, fill_one, fill_stores, not_trained, training_rows
from .verdict.verdict import LABELLED_ENOUGH, Verdict
from .verdict.verify import verify
from .work.compute import Compute, torch_as_it_was
from .work.console import SILENT, Progress
from .work.gpu import gpu_errors_explained
from .work.shortage import shortages_explained
from .work.stage import WorkFolder

log = logging.getLogger(__name__)

PARITY_IMAGES = 32  # check images that the exported graphs are compared with torch on; the golden ones are the first


def build(settings: BuildSettings, progress: Progress = SILENT) -> Verdict:
    """Run the whole line; return the verdict, which then also stands in the bundle as verdict.json.

    Raises InputError for input that cannot be used; what was finished before stays in the work folder. A program may
    call it as often as it likes: it logs to `edgedistill` and leaves handlers, threads and random state as they were.
    """
    with at_work(settings, progress) as line:
        bank = line.text()
        nouns = line.nouns()
        images = line.gather()
        tuning = line.few_shot(bank, images)
        stores = line.store(images, tuning.prompts)
        line.free_teacher()
        kept = line.training_rows(images, stores)
        classes = line.tuned(line.classes(bank, images, stores, kept), tuning)
        kept = line.select(images, stores, kept, classes, nouns)
        check = line.check_set(images, stores, classes)
        trained = [line.distil(seed, stores, kept, bank, classes, check) for seed in line.seeds]
        folder = line.bundle(trained, bank, classes, check, images, stores, kept)
        return line.measure(folder)


@contextlib.contextmanager
def at_work(settings: BuildSettings, progress: Progress = SILENT) -> Iterator[Line]:
    """The line of a build, alone in its work folder. Until the folder is held, files are read and none is written, no
    hub is asked and no thread count is set; then the device is looked at, before what takes long. Raises InputError,
    also while another build is at work there or writes to the destination, where the device cannot measure, where the
    GPU fails, and where memory or a disk is full."""
    request = Request.read(settings)
    work = WorkFolder(settings.work)
    with contextlib.ExitStack() as held:
        held.enter_context(shortages_explained(settings.work, settings.bundle))
        held.enter_context(gpu_errors_explained())
        held.enter_context(work.locked())
        held.enter_context(destination_lock(settings.bundle))
        held.enter_context(torch_as_it_was())
        request.device.check(request.profile.to_json(), settings.bundle)
        yield Line(request, work, progress)


@dataclass(frozen=True, eq=False)
class Tuning:
    """What --few-shot gives of so many labelled photos: their features, float32 [K,V,D], with their classes, int64 [K],
    to tune class vectors with later; or prompts that are tuned already; or neither."""

    photos: int = 0
    shots: tuple[np.ndarray, np.ndarray] | None = None
    prompts: TunedPrompts | None = None


class Line:
    """The stages of one build, in the order `build` calls them. Holds what every stage needs: request and machine."""

    def __init__(self, request: Request, work: WorkFolder, progress: Progress) -> None:
        self.request, self.work, self.bar = request, work, progress
        settings = self.settings = request.settings
        self.profile = request.profile
        self.size, self.seeds = request.size, request.seeds
        self.compute = Compute(choose_device(settings.train_on).type, settle_threads(settings.threads, work))
        # The teacher first: where it is missing, one question to the hub is enough to say so.
        files = find_teacher(settings.teacher, arch=settings.teacher_arch, preprocess=settings.teacher_preprocess)
        self.teacher = TeacherInUse(files, settings.teacher_dtype, self.compute, self.work)
        self.plan = self._settle_student()
        self.start = distil_stages.Start(self.plan, files.dim, files.weight_hash, self.size)
        log.info("teacher %s, licence %s", files.id, files.licence)
        log.info("student %s, %d px", self.plan.reason, self.size)
        log.info("training on %s with %d threads", self.compute.device, self.compute.threads)
        labels, templates = request.labels, request.templates
        self.synthesis = Synthesis(settings, labels, templates, work, self.teacher, self.start, progress)
        if settings.synthesizes:
            self.synthesis.look_for_engine()

    def text(self) -> TextBank:
        """Every prompt's unit vector; the text tower runs once. Warns of classes the teacher can hardly tell apart."""
        request = self.request
        return classes_stages.text_bank(self.work, request.labels, request.templates, self.teacher, self.bar)

    def nouns(self) -> TextBank | None:
        """The same for generic nouns, where photos are selected by them."""
        request = self.request
        if self.settings.select_by != "known":
            return None
        return classes_stages.noun_bank(self.work, request.labels, request.templates, self.teacher, self.bar)

    def photos(self) -> Path:
        """--images, or a folder of images made from class names, beside the photos where there are any."""
        photos = self.settings.images
        if photos is None:
            made = self.synthesis.folder()
            log.info("look at them: %s", made)
            return made
        return self.synthesis.folder_beside(photos, self.size) if self.settings.synthesize else photos

    def gather(self) -> Images:
        """Index the photos and set check images apart by content, so that none of them trains. Where there are no
        photos, or few, images are made from the class names first."""
        return gather(self.photos(), self.settings.check, self.request.labels, self.bar)

    def few_shot(self, bank: TextBank, images: Images) -> Tuning:
        """--few-shot: what labelled photos tune, none of which is a check image. Without it, nothing."""
        settings = self.settings
        if settings.few_shot is None:
            return Tuning()
        photos = gather_few_shot(settings.few_shot, self.request.labels, images.check, self.bar)
        plan = ViewPlan(self._views(images), settings.seed, self.size)
        if settings.few_shot_tune == "prompts":
            prompts = classes_stages.tuned_prompts(self.work, photos, bank, self.teacher, plan, self.bar)
            return Tuning(len(photos.pool), prompts=prompts)
        store = fill_one(self.work, "few-shot", photos.pool, self.teacher, plan, self.bar)
        labels = photos.labels[rows_of(photos.pool, store.hashes)]
        return Tuning(len(labels), shots=(store.all_views(np.arange(len(store))), labels))

    def store(self, images: Images, prompts: TunedPrompts | None = None) -> Stores:
        """Run the teacher over every view once, through tuned prompts if there are any. Then it is not needed again."""
        plan = ViewPlan(self._views(images), self.settings.seed, self.size, self.settings.mix)
        return fill_stores(self.work, images, self.teacher, plan, self.bar, prompts)

    def free_teacher(self) -> None:
        """Nothing after the store may need it."""
        self.teacher.free()

    def training_rows(self, images: Images, stores: Stores) -> Kept:
        """All rows but near-duplicates of check images: those are left out and counted."""
        return training_rows(images, stores)

    def classes(self, bank: TextBank, images: Images, stores: Stores, kept: Kept) -> ClassVectors:
        """Weigh the prompts on the pool, and move what is baked to its photos. No label takes part, but whether there
        are enough for the verdict."""
        settings = self.settings
        return classes_stages.fitted(
            bank,
            settings.prompt_weights,
            self._refinement(images),
            stores.frozen,
            kept.rows,
            self.teacher.files.mean_feature,
            accuracy_decides=int((images.check_labels >= 0).sum()) >= LABELLED_ENOUGH,
        )

    def select(self, images: Images, stores: Stores, kept: Kept, classes: ClassVectors, nouns: TextBank | None) -> Kept:
        """Of the rows that may train, those that --select chooses; all of them without it. No label takes part."""
        settings = self.settings
        if settings.select is None:
            return kept
        options = selected.SelectionOptions(settings.select, settings.select_by or "threshold", settings.seed)
        return selected.select(self.work, images.train, stores, kept, classes, nouns, options)

    def tuned(self, classes: ClassVectors, tuning: Tuning) -> ClassVectors:
        """With --few-shot, what is baked is tuned; the teacher of every comparison keeps the text vectors."""
        if tuning.prompts is not None:
            baked = tuning.prompts.classes
            return dataclasses.replace(classes, baked=baked, few_shot=tuning.photos, few_shot_tune="prompts")
        return classes if tuning.shots is None else tuned(classes, *tuning.shots)

    def check_set(self, images: Images, stores: Stores, classes: ClassVectors) -> CheckSet:
        """What every machine is measured on: pixels at the model's size and the frozen teacher's answers."""
        return check_set(images, stores, classes, self.size)

    def distil(
        self, seed: int, stores: Stores, kept: Kept, bank: TextBank, classes: ClassVectors, check: CheckSet
    ) -> Trained:
        """Train one student from the store, to the last epoch; only then the check set is looked at."""
        lesson = self._lesson(stores, kept, bank, classes)
        questions = distil_stages.Questions(check.images, stores.check_stage)
        config = self._settled(seed, lesson, stores)
        stage = distil_stages.train(self.work, self.start, lesson, stores.train_stage, config, self.bar)
        before, after = distil_stages.answers(self.work, self.start, stage, seed, questions, classes)
        return Trained(seed, stage, None if before is None else check.figures(before), check.figures(after))

    def _lesson(self, stores: Stores, kept: Kept, bank: TextBank, classes: ClassVectors) -> Lesson:
        return Lesson(
            store=stores.train,
            rows=kept.rows,
            method=self.request.method,
            classes=classes,
            bank=bank,
            mean_feature=self.teacher.files.mean_feature,
        )

    def _settled(self, seed: int, lesson: Lesson, stores: Stores) -> TrainConfig:
        """How this seed trains, the epochs of --time with it."""
        config = self.config(seed, len(lesson.rows))
        if not made_alone(lesson.store, lesson.rows):  # what photos teach need not be held back
            config = dataclasses.replace(config, interpolation=1.0)
        if self.time is None:
            return config
        epochs, why = distil_stages.epochs_in(self.work, self.start, lesson, stores.train_stage, config, self.time)
        self.work.say(f"epochs {epochs}: {why}")
        return dataclasses.replace(config, epochs=epochs)

    def config(self, seed: int, images: int) -> TrainConfig:
        """How `images` photos train this seed, every choice settled; `distil` changes the epochs where --time does."""
        settings, recipe = self.settings, self.request.method.recipe
        batch = settings.batch or recipe.batch or batch_for(images)
        dtype: str = settings.student_dtype
        if dtype == "auto":
            dtype = distil_stages.student_dtype(self.work, self.start, batch, self.compute)
        return TrainConfig(
            size=self.size,
            epochs=settings.epochs or patient(recipe.epochs or epochs_for(images), settings.patience),
            batch=batch,
            views=settings.view_targets or recipe.view_targets or "blend",
            seed=seed,
            train_on=cast(Literal["cpu", "cuda"], self.compute.device),
            dtype=cast(Literal["float32", "bfloat16"], dtype),
            threads=self.compute.threads,
            **recipe.rates(fitted=self.start.knows_teacher),
        )

    def bundle(
        self,
        trained: Sequence[Trained],
        bank: TextBank,
        classes: ClassVectors,
        check: CheckSet,
        images: Images,
        stores: Stores,
        kept: Kept,
    ) -> Path:
        """Export the first seed's student, write the bundle; an unchanged one stays, with what was measured in it."""
        shipped, teacher, model = trained[0], self.teacher.files, self.profile.model
        golden_rows = rows_of(images.check, stores.check.hashes)[:GOLDEN_IMAGES]
        draft = Draft(
            labels=self.request.labels,
            profile=self.profile,
            teacher=TeacherFacts.of(teacher, classes.scale),
            student=StudentFacts.of(self.plan),
            student_folder=shipped.stage.path,
            class_vectors=classes,
            check=check,
            golden_files=[images.check.read(row) for row in golden_rows],
            size=self.size,
            budget_overrides=budget_overrides(self.settings),
            forced=None if self.settings.precision == "auto" else self.settings.precision,
            qat=self.settings.qat == "auto",
            start=shipped.start,
            seeds=[{"seed": one.seed, **one.result} for one in trained] if len(trained) > 1 else None,
            skipped=not_trained(images, stores, kept),
        )
        out, build_id = self.settings.bundle, draft.identity([*(one.stage for one in trained), stores.check_stage])
        if holds(out, build_id):
            log.info("the bundle %s is up to date", out)
            return out
        with self.work.scratch() as folder:
            exports = export_models(
                self.start.finished(shipped.stage),
                classes,
                folder,
                facts=GraphFacts(labels=self.request.labels.names, teacher_id=teacher.id, build_id=build_id),
                images=check.images[:PARITY_IMAGES],
                spec=GraphSpec(size=self.size, dynamic_batch=not model.static_shape, opset=model.opset),
                precisions=model.precisions,
                int8=self._int8(shipped, stores, self._lesson(stores, kept, bank, classes)),
            )
            for precision, reason in exports.not_built.items():
                log.info("%s is not built: %s", precision, reason)
            return write_bundle(out, Content(**vars(draft), build_id=build_id, exports=exports))

    def _int8(self, shipped: Trained, stores: Stores, lesson: Lesson) -> Int8 | None:
        """What int8 is made with, where the board may want it: photos that trained, and none of the check set."""
        if "int8" not in self.profile.model.precisions:
            return None
        config, settings = self._settled(shipped.seed, lesson, stores), self.settings
        student = Shipped(self.work, self.start, shipped.stage, lesson, stores.train_stage, config, self.bar)
        here = isinstance(self.request.device, Local) and machine.identify(self.profile.to_json()).status
        return student.int8(
            self.profile.runtime,
            fine_tune=settings.qat == "auto",
            only_if_faster=here == machine.MATCH and settings.precision == "auto",
        )

    @property
    def time(self) -> distil_stages.Time | None:
        """How long the seeds may train together, where --time says so."""
        seconds = self.settings.seconds
        return None if seconds is None else distil_stages.Time(seconds, len(self.seeds))

    def measure(self, folder: Path) -> Verdict:
        """Have the device measure the bundle, and decide; never cached."""
        return verify(folder, self.request.device, asked=Measurement(mode=self.settings.mode), progress=self.bar)

    def _refinement(self, images: Images) -> str:
        """--refine; by default class vectors move to photos alone, not to what was made from their own words."""
        settings = self.settings
        if settings.few_shot or self.request.method.aims_at_words:
            return "none"
        return "none" if settings.refine == "auto" and images.made is not None else settings.refine

    def _views(self, images: Images) -> int:
        """--views; where it is open, as many as the epochs of --time ask for, else the default."""
        if self.settings.views is not None:
            return self.settings.views
        if self.time is None:
            return VIEWS
        files, request = self.teacher.files, self.request
        shape = LessonShape(
            pool=images.train,
            tally=images.tally,
            short_side=short_side_for(files.image_size, self.size),
            dim=files.dim,
            names=request.labels.names,
            templates=request.templates,
            mix=self.settings.mix,
        )
        config = self.config(self.settings.seed, len(images.train))
        return distil_stages.views_in(self.work, self.start, shape, request.method, config, self.time)

    def _settle_student(self) -> student_start.Plan:
        """--student and its weights; what "auto" found, once for a work folder (distil/stages.py)."""
        settings, default = self.settings, self.profile.model.student
        if settings.student_weights == "auto":
            return distil_stages.student_start(self.work, settings.student or default, self.size)
        return student_start.plan(settings.student, settings.student_weights, default, self.size)
