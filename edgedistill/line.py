"""The straight line, top to bottom: class names and unlabelled photos in, a measured bundle out.

    text -> pool -> store -> classes -> distil -> export -> bundle -> verify

Every stage is a function of its inputs and keeps its result in the work folder (stage.py), so a killed build goes on
where it was and a changed input runs only what depends on it. Training never sees a label, a folder name or the
teacher: it reads the store.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch

from . import __version__
from .bundle import write
from .bundle.checkset import CheckInfo, CheckSet
from .bundle.content import Content, StudentFacts, TeacherFacts
from .bundle.manifest import GOLDEN_IMAGES
from .classes.prompts import (
    ClassVectors,
    TextBank,
    build_text_bank,
    class_vectors,
    close_pairs,
    prompt_weights,
    template_set,
)
from .distil import loop, methods, students
from .errors import InputError
from .export.graph import GraphFacts, export_models
from .images import pool
from .images.duplicates import near_duplicates
from .images.pixels import short_side_for
from .labels import Labels
from .profiles import Profile, load_profile
from .settings import BuildSettings
from .targets import machine
from .targets.errors import TargetError
from .targets.manifest import read_manifest
from .targets.preprocess import decode, to_pixels
from .teacher.store import TeacherStore, build_store
from .teacher.teacher import Teacher, find_teacher
from .verdict import decide
from .work import atomic
from .work.console import Bar
from .work.stage import Stage, WorkFolder
from .work.tally import Tally

log = logging.getLogger(__name__)

NEAR_DUPLICATE_ALARM = 0.2  # of the pool
PARITY_IMAGES = 32  # check images that the exported graphs are compared with torch on; the golden ones are the first


def build(settings: BuildSettings) -> decide.Verdict:
    """Run the whole line; return the verdict, which then also stands in the bundle as verdict.json.

    Raises InputError for input that cannot be used; what was finished before stays in the work folder.
    """
    line = Line(settings)
    with line.work.locked():
        bank = line.text()
        images = line.gather()
        stores = line.store(images)
        line.free_teacher()
        kept = line.training_rows(images, stores)
        classes = line.classes(bank, stores, kept)
        check = line.check_set(images, stores, classes)
        trained = [line.distil(seed, stores, kept, bank, classes, check) for seed in line.seeds]
        folder = line.bundle(trained, classes, check, images, stores, kept)
        return line.measure(folder)


@dataclass(frozen=True)
class Images:
    """The photos of a build: what trains and what checks, apart by content."""

    train: pool.Pool
    check: pool.Pool
    check_labels: np.ndarray
    """int64 [M], −1 where the true class is not known."""
    source: str
    unmatched_folders: tuple[str, ...]
    copies_of_check: int
    skipped: dict[str, list[str]]
    check_skipped: dict[str, list[str]]
    tally: Tally
    check_tally: Tally | None
    """Of the folder that the check images come from; None where it is the photos' own."""


@dataclass(frozen=True)
class Stores:
    """The teacher's features of both, and the stages they come from."""

    train: TeacherStore
    check: TeacherStore
    train_stage: Stage
    check_stage: Stage


@dataclass(frozen=True)
class Kept:
    """Rows of the train store that may train: those that are no near-duplicate of a check image."""

    rows: np.ndarray
    near_duplicates: int


@dataclass(frozen=True)
class Trained:
    """One seed's student, and how it did on the check set before (None: no such figure) and after training."""

    seed: int
    stage: Stage
    start: dict[str, Any] | None
    result: dict[str, Any]


class Line:
    """The stages of one build, in the order `build` calls them. Holds what every stage needs: request and machine."""

    def __init__(self, settings: BuildSettings) -> None:
        self.settings = settings
        self.profile = with_budgets(load_profile(settings.profile), settings)
        self.size = settings.input_size or self.profile.model.input_size
        self.labels = Labels.read(settings.classes)
        self.templates = template_set(settings.templates)
        self.method = methods.make(settings.method, settings.option, **_targets(settings))
        _refuse_other_targets(self.method, settings.prompt_weights)
        self.seeds = range(settings.seed, settings.seed + settings.seeds)
        write.check_destination(settings.bundle)
        self.bar = Bar()
        self.work = WorkFolder(settings.work)
        self.device = loop.choose_device(settings.train_on)
        self.threads = self._settle_threads()
        # The teacher first: where it is missing, one question to the hub is enough to say so.
        self.teacher_files = find_teacher(
            settings.teacher, arch=settings.teacher_arch, preprocess=settings.teacher_preprocess
        )
        self.plan = self._settle_student()
        self._teacher: Teacher | None = None
        log.info("teacher %s, licence %s", self.teacher_files.id, self.teacher_files.licence)
        log.info("student %s, %d px", self.plan.reason, self.size)
        log.info("training on %s with %d threads", self.device, self.threads)

    # ---- text --------------------------------------------------------------------------------------------------------

    def text(self) -> TextBank:
        """Every prompt's unit vector. The text tower runs once; too close class names are named before any training."""
        stage = self.work.stage(
            "text",
            {
                "labels": self.labels.to_json(),
                "templates": list(self.templates.templates),
                "teacher": self.teacher_files.weight_hash,
                "architecture": self.teacher_files.transform_id,
            },
        )
        if not stage.done:
            build_text_bank(self.teacher("float32"), self.labels, self.templates, self.bar).save(stage.begin())
            stage.finish()
        bank = TextBank.load(stage.path)
        uniform = class_vectors(bank, np.full(bank.vectors.shape[1], 1 / bank.vectors.shape[1]), weighting="W1")
        for one, other, gap in close_pairs(uniform):
            log.warning(
                "the teacher hardly tells %r from %r (%.1f apart, 2 is close): reword one, or add synonyms",
                one,
                other,
                gap,
            )
        return bank

    # ---- pool --------------------------------------------------------------------------------------------------------

    def gather(self) -> Images:
        """Index the photos and set check images apart by content, so that none of them trains."""
        everything = pool.scan(self.settings.images, self.bar)
        if self.settings.check is None:
            train_pool, check_pool = everything.split()
            unknown = np.full(len(check_pool), -1)
            skipped, tally = everything.skipped, everything.tally
            found = Images(train_pool, check_pool, unknown, "pool split", (), 0, skipped, {}, tally, None)
        else:
            check = pool.scan_check(self.settings.check, self.labels, progress=self.bar)
            train_pool, copies = everything.without(check.pool)
            found = Images(
                train_pool,
                check.pool,
                check.labels,
                "--check",
                check.unmatched_folders,
                copies,
                everything.skipped,
                check.pool.skipped,
                everything.tally,
                dataclasses.replace(check.pool.tally, usable=check.pool.tally.usable + check.left_out),
            )
            for name in check.unmatched_folders:
                log.warning("the check folder %r is no class on the list: its images count without a label", name)
            if check.left_out:
                log.info("%d check images are left out: %d are enough", check.left_out, len(check.pool))
        if not len(found.train) or not len(found.check):
            raise InputError(
                f"{len(found.train)} photos to train on and {len(found.check)} to check with",
                "Give more photos in --images, or others than those in --check.",
            )
        _tell_skipped("photos", found.skipped)
        _tell_skipped("check images", found.check_skipped)
        return found

    # ---- store -------------------------------------------------------------------------------------------------------

    def store(self, images: Images) -> Stores:
        """Run the teacher over every view once. After this it is not needed again."""
        # One centre view hangs on no seed, so every --seed reads the same check store.
        passes = {
            "train": (images.train, "photos", self.settings.views, self.settings.seed),
            "check": (images.check, "check images", 1, 0),
        }
        stages: dict[str, Stage] = {}
        stores: dict[str, TeacherStore] = {}
        tally = images.tally
        dtype = self.teacher_dtype()
        short_side = short_side_for(self.teacher_files.image_size, self.size)
        for name, (source, what, count, seed) in passes.items():
            stage = self.work.stage(
                f"store-{name}",
                {
                    "pool": source.fingerprint,
                    "teacher": self.teacher_files.weight_hash,
                    "transform": self.teacher_files.transform_id,
                    "dtype": dtype,
                    "device": self.device.type,
                    "threads": self.threads,
                    "seed": seed,
                    "views": count,
                    "short_side": short_side,
                },
            )
            if not stage.done:
                teacher = self.teacher(dtype)
                teacher.free_text()
                build_store(
                    stage.begin(),
                    source,
                    teacher,
                    seed=seed,
                    views=count,
                    short_side=short_side,
                    tally=tally,
                    progress=self.bar,
                )
                stage.finish()
            stages[name], stores[name] = stage, TeacherStore.open(stage.path)
            _tell_skipped(what, _names(source, stores[name].skipped))
            tally = tally.losing(stores[name].skipped)
            tally.refuse_mostly_bad()
            tally = images.check_tally or tally
        return Stores(stores["train"], stores["check"], stages["train"], stages["check"])

    def training_rows(self, images: Images, stores: Stores) -> Kept:
        """Camera frames repeat: rows that nearly show a check image are left out and counted."""
        near = near_duplicates(stores.train, stores.check)
        kept = np.flatnonzero(~near)
        if near.any():
            log.info("%d photos nearly repeat a check image and do not train", near.sum())
        gone = (near.sum() + images.copies_of_check) / (len(near) + images.copies_of_check)
        if gone > NEAR_DUPLICATE_ALARM:
            log.warning(
                "%.0f %% of the photos repeat a check image: give --check photos from another place or day",
                100 * gone,
            )
        if len(kept) < 2:
            raise InputError("no photo is left to train on", "Give --check photos that are not in --images.")
        return Kept(kept, int(near.sum()))

    # ---- classes -----------------------------------------------------------------------------------------------------

    def classes(self, bank: TextBank, stores: Stores, kept: Kept) -> ClassVectors:
        """Weigh the prompts on the pool and make the vectors that are baked. No label takes part."""
        weighting = self.settings.prompt_weights
        mean_feature = self.teacher_files.mean_feature
        if weighting == "W3" and mean_feature is None:
            weighting = "W3-pool"
            log.info("prompt weights W3-pool: this teacher comes without a broad mean feature")
        weights = prompt_weights(bank, weighting, stores.train.centre_views(kept.rows), mean_feature)
        return class_vectors(bank, weights, weighting=weighting)

    def check_set(self, images: Images, stores: Stores, classes: ClassVectors) -> CheckSet:
        """What every machine is measured on: pixels at the model's size and the frozen teacher's answers."""
        rows = _rows_of(images.check, stores.check.hashes)
        pixels = np.stack([to_pixels(decode(images.check.read(row)), self.size) for row in rows])
        features = stores.check.centre()
        info = CheckInfo(
            images=len(rows),
            source=images.source,
            skipped=_counts(images.check_skipped, stores.check.skipped),
            unmatched_folders=images.unmatched_folders,
        )
        teacher_class = (features @ classes.text.T).argmax(axis=1)
        return CheckSet(pixels, features, teacher_class.astype(np.int64), images.check_labels[rows], info)

    # ---- distil ------------------------------------------------------------------------------------------------------

    def distil(
        self, seed: int, stores: Stores, kept: Kept, bank: TextBank, classes: ClassVectors, check: CheckSet
    ) -> Trained:
        """Train one student from the store, to the last epoch; only then the check set is looked at."""
        config = loop.TrainConfig(
            size=self.size,
            epochs=self.settings.epochs or loop.epochs_for(len(kept.rows)),
            batch=self.settings.batch or loop.batch_for(len(kept.rows)),
            views=cast(Literal["match", "mean", "blend"], self.settings.view_targets),
            seed=seed,
            train_on=cast(Literal["cpu", "cuda"], self.device.type),
            dtype=cast(Literal["float32", "bfloat16"], self.student_dtype(len(kept.rows))),
            threads=self.threads,
        )
        stage = self.work.stage(
            "distil",
            {
                "store": stores.train_stage.path.name,
                "rows": atomic.digest(kept.rows.tolist()),
                "classes": hashlib.sha256(classes.text.tobytes() + classes.baked.tobytes()).hexdigest(),
                "student": self.plan.key,
                "method": [self.method.name, methods.options(self.method)],
                "config": dataclasses.asdict(config),
            },
        )
        if not stage.done:
            student, _ = self.untrained(seed)
            loop.train(
                student, stores.train, kept.rows, self.method, classes, bank, config, stage.begin(), self.bar
            )
            stage.finish()
        before, after = self.answers(seed, stage, stores, classes, check)
        return Trained(seed, stage, None if before is None else _figures(before, check), _figures(after, check))

    def answers(
        self, seed: int, trained: Stage, stores: Stores, classes: ClassVectors, check: CheckSet
    ) -> tuple[list[int] | None, list[int]]:
        """The classes that a student chose for the check images before and after training.

        Before is None where its projector was not made for this teacher. No true label takes part.
        """
        stage = self.work.stage("answers", {"student": trained.path.name, "check": stores.check_stage.path.name})
        if not stage.done:
            start, projector_fits = self.untrained(seed)
            chosen = {
                "before": loop.evaluate(start, check.images, classes.baked).tolist() if projector_fits else None,
                "after": loop.evaluate(self.finished(trained), check.images, classes.baked).tolist(),
            }
            atomic.write_json(stage.begin() / "answers.json", chosen)
            stage.finish()
        chosen = json.loads((stage.path / "answers.json").read_text())
        return chosen["before"], chosen["after"]

    def untrained(self, seed: int) -> tuple[students.Student, bool]:
        """The student before training, and whether its projector was made for this very teacher."""
        return students.create_student(
            self.plan, self.teacher_files.dim, self.teacher_files.weight_hash, size=self.size, seed=seed
        )

    def finished(self, trained: Stage) -> students.Student:
        """The student that a training left."""
        files = self.teacher_files
        return students.load_student(trained.path, dim=files.dim, teacher_hash=files.weight_hash, size=self.size)[0]

    # ---- bundle, verify ----------------------------------------------------------------------------------------------

    def bundle(
        self,
        trained: Sequence[Trained],
        classes: ClassVectors,
        check: CheckSet,
        images: Images,
        stores: Stores,
        kept: Kept,
    ) -> Path:
        """Export the first seed's student, write the bundle; an unchanged one stays, with what was measured in it."""
        out, skipped = self.settings.bundle, _skipped(images, stores, kept)
        build_id = self.build_id(trained, stores, check, skipped)
        if _holds(out, build_id):
            log.info("the bundle %s is up to date", out)
            return out
        shipped = trained[0]
        model, golden_rows = self.profile.model, _rows_of(images.check, stores.check.hashes)[: GOLDEN_IMAGES]
        with self.work.scratch() as folder:
            exports = export_models(
                self.finished(shipped.stage),
                classes,
                folder,
                facts=GraphFacts(labels=self.labels.names, teacher_id=self.teacher_files.id, build_id=build_id),
                images=check.images[:PARITY_IMAGES],
                size=self.size,
                precisions=model.precisions,
                dynamic_batch=not model.static_shape,
                opset=model.opset,
            )
            for precision, reason in exports.not_built.items():
                log.info("%s is not built: %s", precision, reason)
            return write.write_bundle(
                out,
                Content(
                    build_id=build_id,
                    labels=self.labels,
                    profile=self.profile,
                    teacher=TeacherFacts(
                        id=self.teacher_files.id,
                        hash=self.teacher_files.weight_hash,
                        licence=self.teacher_files.licence,
                        dim=self.teacher_files.dim,
                        scale=classes.scale,
                    ),
                    student=StudentFacts(
                        name=self.plan.name, weights=self.plan.reason, licence=self.plan.licence
                    ),
                    student_folder=shipped.stage.path,
                    class_vectors=classes,
                    exports=exports,
                    check=check,
                    golden_files=[images.check.read(row) for row in golden_rows],
                    size=self.size,
                    budget_overrides=budget_overrides(self.settings),
                    start=shipped.start,
                    seeds=[{"seed": one.seed, **one.result} for one in trained] if len(trained) > 1 else None,
                    skipped=skipped,
                ),
            )

    def build_id(
        self, trained: Sequence[Trained], stores: Stores, check: CheckSet, skipped: dict[str, int]
    ) -> str:
        """Names this build by all of its inputs, true labels and what was skipped included: all that a bundle holds."""
        return atomic.digest(
            {
                "edgedistill": __version__,
                "students": [one.stage.inputs for one in trained],
                "check": stores.check_stage.inputs,
                "check_labels": hashlib.sha256(check.labels.tobytes()).hexdigest(),
                "check_info": dataclasses.asdict(check.info),
                "skipped": skipped,
                "teacher": [self.teacher_files.id, self.teacher_files.licence],
                "labels": self.labels.to_json(),
                "profile": self.profile.to_json(),
                "budgets": budget_overrides(self.settings),
            }
        )

    def measure(self, folder: Path) -> decide.Verdict:
        """Run the bundle on the device and decide; never cached. `--device folder` leaves it to the board."""
        if self.settings.device == "folder":
            return decide.leave_to_board(folder)
        return decide.measure(folder)

    # ---- the machine -------------------------------------------------------------------------------------------------

    def teacher(self, dtype: str) -> Teacher:
        """The teacher, loaded when a stage first needs it."""
        if self._teacher is None or self._teacher.dtype != dtype:
            self._teacher = self.teacher_files.load(str(self.device), dtype)
        return self._teacher

    def free_teacher(self) -> None:
        """Nothing after the store may need it."""
        self._teacher = None
        gc.collect()

    def teacher_dtype(self) -> str:
        """--teacher-dtype, or what a short measurement chose when this work folder first met this teacher."""

        def decide() -> tuple[str, str]:
            self._teacher = self.teacher_files.load(str(self.device), "auto")
            return self._teacher.dtype, self._teacher.dtype_reason

        if self.settings.teacher_dtype != "auto":
            return self.settings.teacher_dtype
        return self._decision("teacher-dtype", {"teacher": self.teacher_files.weight_hash}, decide)

    def student_dtype(self, images: int) -> str:
        """--student-dtype, or what a short measurement chose when this work folder first met this student."""
        if self.settings.student_dtype != "auto":
            return self.settings.student_dtype
        batch = self.settings.batch or loop.batch_for(images)
        return self._decision(
            "student-dtype",
            {"student": self.plan.name, "size": self.size, "batch": batch},
            lambda: loop.choose_dtype(self.untrained(0)[0], self.size, batch, self.device),
        )

    def _decision(self, name: str, inputs: dict[str, Any], decide: Callable[[], tuple[str, str]]) -> str:
        here = {"device": self.device.type, "threads": self.threads}
        value, reason = self.work.decision(name, inputs | here, decide)
        log.info("%s %s: %s", name.replace("-", " "), value, reason)
        return str(value)

    def _settle_threads(self) -> int:
        """--threads, or as many cores as this process may use, once for a work folder."""
        asked = self.settings.threads or int(
            self.work.decision("threads", {}, lambda: (machine.physical_cores(), "physical cores, at most 8"))[0]
        )
        torch.set_num_threads(asked)
        return asked


    def _settle_student(self) -> students.Plan:
        """--student and its weights; what "auto" found, once for a work folder: a hub that comes or goes between two
        runs must not train another student."""
        settings, default = self.settings, self.profile.model.student
        if settings.student_weights != "auto":
            return students.plan(settings.student, settings.student_weights, default, settings.input_size)
        name = settings.student or default
        made: list[students.Plan] = []

        def decide() -> tuple[dict[str, str | None], str]:
            made.append(students.plan(settings.student, "auto", default, settings.input_size))
            return {"source": made[0].source, "sha256": made[0].sha256}, made[0].reason

        kept, _ = self.work.decision("student-start", {"student": name}, decide)
        if made:
            return made[0]
        if kept["source"] == "scratch":
            log.info("as before in %s; with another --work the hub is asked for weights of %s", self.work.root, name)
        return students.plan_again(name, kept["source"], kept["sha256"], settings.input_size)


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


def _holds(folder: Path, build_id: str) -> bool:
    """Whether `folder` is a whole bundle of this build."""
    try:
        return read_manifest(folder).build_id == build_id
    except TargetError:
        return False


def _rows_of(source: pool.Pool, hashes: np.ndarray) -> np.ndarray:
    """int64: the rows of `source` that these content hashes [K, 32] (sorted, all of them in it) belong to."""
    view = f"V{hashes.shape[1]}"
    return np.flatnonzero(
        np.isin(np.ascontiguousarray(source.hashes).view(view), np.ascontiguousarray(hashes).view(view)).ravel()
    )


def _figures(chosen: list[int], check: CheckSet) -> dict[str, Any]:
    """Agreement with the teacher and, where labels are known, accuracy of these choices for the check images."""
    predicted, known = np.array(chosen), check.labelled
    return {
        "agreement": float((predicted == check.teacher_class).mean()),
        "accuracy": float((predicted == check.labels)[known].mean()) if known.any() else None,
    }


def _counts(*found: dict[str, list[str]]) -> dict[str, int]:
    """Reason -> how many, over several such tables."""
    counts: Counter[str] = Counter()
    for table in found:
        counts.update({reason: len(names) for reason, names in table.items()})
    return dict(sorted(counts.items()))


def _names(source: pool.Pool, skipped: dict[str, list[str]]) -> dict[str, list[str]]:
    """Reason -> file names, for content hashes (hex) that a store left out."""
    rows = {source.hashes[row].tobytes().hex(): row for row in range(len(source))} if skipped else {}
    return {reason: [source.name(rows[content]) for content in found] for reason, found in skipped.items()}


def _tell_skipped(what: str, skipped: dict[str, list[str]]) -> None:
    for reason, names in sorted(skipped.items()):
        more = ", …" if len(names) > 3 else ""
        log.warning("skipped %d %s: %s (%s%s)", len(names), what, reason, ", ".join(names[:3]), more)


def _skipped(images: Images, stores: Stores, kept: Kept) -> dict[str, int]:
    """Reason -> how many photos did not train: unreadable files, copies and near-copies of check images."""
    counts = _counts(images.skipped, stores.train.skipped)
    counts["the same file as a check image"] = images.copies_of_check
    counts["near-duplicate of a check image"] = kept.near_duplicates
    return {reason: count for reason, count in sorted(counts.items()) if count}
