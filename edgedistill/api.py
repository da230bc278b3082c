"""build(), verify() and synthesize() for a Python program: what the commands do, without printing or exiting.

    verdict = edgedistill.build(profile="cpu", classes="labels.txt", images="photos/")
    verdict = edgedistill.verify("labels-cpu", results=["labels-cpu/results"])
    folder = edgedistill.synthesize(classes="labels.txt", out="made/")

Nothing is written to stdout and logging stays as the program set it up: what a build tells goes to the logger
"edgedistill", choices with their reasons as INFO, and its progress to stderr.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from . import settings
from .choices import (
    Diversify,
    Dtype,
    EngineName,
    FewShotTune,
    Mode,
    Precision,
    PromptWeights,
    Qat,
    Refinement,
    SelectBy,
    TeacherDtype,
    TrainOn,
    ViewTargets,
)

if TYPE_CHECKING:
    from .verdict.verdict import Verdict


def build(
    *,
    profile: str | Path | None = None,
    classes: str | Path | None = None,
    images: str | Path | None = None,
    check: str | Path | None = None,
    synthesize: bool | None = None,
    engine: EngineName | None = None,
    engine_model: str | Path | None = None,
    generated: str | Path | None = None,
    diversify: Diversify | None = None,
    per_class: int | None = None,
    image_size: int | None = None,
    select: float | None = None,
    select_by: SelectBy | None = None,
    teacher: str | None = None,
    teacher_arch: str | None = None,
    teacher_preprocess: str | Path | None = None,
    teacher_dtype: TeacherDtype | None = None,
    templates: str | Path | None = None,
    prompt_weights: PromptWeights | None = None,
    refine: Refinement | None = None,
    views: int | None = None,
    few_shot: str | Path | None = None,
    few_shot_tune: FewShotTune | None = None,
    mix: int | None = None,
    student: str | None = None,
    student_weights: str | Path | None = None,
    student_dtype: Dtype | None = None,
    input_size: int | None = None,
    method: str | None = None,
    option: Sequence[str] | None = None,
    view_targets: ViewTargets | None = None,
    epochs: int | None = None,
    patience: float | None = None,
    time: str | None = None,
    batch: int | None = None,
    seed: int | None = None,
    seeds: int | None = None,
    train_on: TrainOn | None = None,
    threads: int | None = None,
    precision: Precision | None = None,
    qat: Qat | None = None,
    device: str | None = None,
    mode: Mode | None = None,
    latency_budget: float | None = None,
    memory_budget: float | None = None,
    agreement_min: float | None = None,
    accuracy_drop_max: float | None = None,
    work: str | Path | None = None,
    out: str | Path | None = None,
    strict: bool | None = None,
    config: str | Path | None = None,
) -> Verdict:
    """Distil, export and measure a classifier for one board, as `edgedistill build` does; its flags are the keywords.

    Interrupted, the same call goes on where it was: finished stages are kept in `work`.

    profile and classes have to be given, here or in `config`. None means "not given": then `config` decides,
    then the default that stands first below, then the profile.

    profile             the board: a name from `edgedistill profiles list`, or a TOML file
    classes             labels.txt: a class a line, `name | synonym`
    images              folder of unlabelled photos; names of folders are ignored. None: images are made from the class
                        names, and the verdict says so; photos do better
    check               photos to measure on, class folders give true labels; None: a tenth of `images`
    synthesize          beside `images`: make images of the classes that have few photos. How images are made:
    engine              "teacher" (nothing else is needed), or "diffusers" (a text-to-image pipeline)
    engine_model        of "diffusers" the pipeline's hub id or folder; of "teacher" another CLIP to make them under
    generated           in place of an engine: a folder of images generated elsewhere, in class folders
    diversify           how prompts differ: "plain", "mix", "random", "contrastive", or a form of these
    per_class           so many of a class are made; beside photos: so many each class shall have
    image_size          pixels a side; None: the engine's
    select              train on so many of the photos at most, chosen without labels: a number, or a share up to 1
    select_by           how: "threshold" (the default), "confidence", "prototype", "known" or "random"
    teacher             MODEL/PRETRAINED, hf-hub:ID, local-dir:PATH, or a checkpoint file; the environment's
                        EDGEDISTILL_TEACHER where neither the call nor `config` names one
    teacher_arch        of a checkpoint file: its open_clip architecture
    teacher_preprocess  of a checkpoint file: JSON with size, mean, std, interpolation, resize_mode
    teacher_dtype       "auto" (a short measurement), "float32", "bfloat16" or "float16"
    templates           prompt templates: "general", "imagenet", "cifar", or a file with one {} a line
    prompt_weights      "uniform", "zero-shot" prompt ensembling, "zero-shot-pool" (by the pool's mean alone)
    refine              class vectors moved to the pool's photos: "auto", "none", "prototypes", "visual"
    views               stored views an image, 1 to 64; None: 8, with `time` 8 to 32
    mix                 mixed views an image beside these, 0 to 64: blends of two photos that the teacher looks at, too
    few_shot            folder with a few labelled photos in class folders, to tune with before the student is taught
                        None: no label teaches
    few_shot_tune       what they tune: the class "vectors" alone, which takes seconds, or the teacher's "prompts"
    student             a timm name, or "vit-b16-prompted" (PromptKD's own); None: the one of `student_weights`, else
                        the profile's
    student_weights     "auto" (from the hub, else from scratch), "none", or a folder with student.safetensors; of
                        "vit-b16-prompted" the CLIP whose tower it freezes, named as a teacher is
    student_dtype       arithmetic of the training: "auto", "float32" or "bfloat16"
    input_size          pixels a side, 32 to 1024; None: the profile's
    method              how to distil, a name of docs/methods.md; None: "prg", of images from class names "data-free"
    option              the method's own settings, "NAME=VALUE" each
    view_targets        what a crop is taught: to "match" its own view, the "mean" of all, or a "blend"
    epochs, batch       None: from the number of images
    patience            1 or more: so many times the epochs that follow from the number of images. Not with `epochs`
    time                how long training takes, all seeds together: "90s", "10m", "1.5h"; the epochs follow from a
                        short measurement, whose time counts, too. Not with `epochs` or `patience`
    seed, seeds         same seed, same bytes on a CPU; `seeds` many are trained, and the first one is shipped
    train_on            "auto", "cpu" or "cuda"
    threads             CPU threads of teacher and training; None: all cores
    precision           "auto": a lower one than fp32 is used where the device finds it faster and no worse; or "fp32",
                        "fp16", "int8": that one, whether it is faster or not
    qat                 "auto": where int8 loses too much, the student is trained on for it; "never"
    device              where to measure: "local", "ssh://USER@BOARD" (with :PORT and /FOLDER where needed), "folder"
                        (only write the bundle) or "folder:PLACE" (and copy it there, such as to a USB stick)
    mode                how long it measures: "full", as the profile says; "quick", a second or more a model; "soak",
                        ten minutes a model, and it does not count where it got slower meanwhile
    latency_budget      p95 in ms; memory_budget in MB; None: the profile's, as of the next two
    agreement_min       lower 95 % bound of agreement with the teacher, 0 to 1
    accuracy_drop_max   with 500 labelled check images: what the student may lose, 0 to 1
    work, out           folders of finished stages and of the bundle; out None: ./<labels>-<profile>/
    strict              of the command alone: its exit code when nothing could be measured
    config              a build.toml with the same names; what the call gives is stronger

    Returns the Verdict, which is also written into the bundle as verdict.json. Raises InputError for input that cannot
    be used, ModuleNotFoundError where the extra [build] is not installed.
    """
    given = {name: value for name, value in locals().items() if name != "config"}
    asked = settings.resolve(given, None if config is None else Path(config), os.environ)
    from . import line

    with _logging_kept():
        return line.build(asked)


def synthesize(
    *,
    classes: str | Path | None = None,
    out: str | Path | None = None,
    engine: EngineName | None = None,
    engine_model: str | Path | None = None,
    generated: str | Path | None = None,
    diversify: Diversify | None = None,
    per_class: int | None = None,
    image_size: int | None = None,
    teacher: str | None = None,
    teacher_arch: str | None = None,
    teacher_preprocess: str | Path | None = None,
    teacher_dtype: TeacherDtype | None = None,
    templates: str | Path | None = None,
    student: str | None = None,
    student_weights: str | Path | None = None,
    seed: int | None = None,
    train_on: TrainOn | None = None,
    threads: int | None = None,
    work: str | Path | None = None,
) -> Path:
    """Make images from class names, as `edgedistill synthesize` does: what a build without photos does first, alone.

    classes and out have to be given; out is a folder that is not there or is empty. The others are as of `build`;
    student_weights is the start of the student to be: images that the teacher makes get the statistics it remembers.
    Interrupted, the same call goes on where it was.

    Returns `out`: a folder a class, contact_sheet.jpg to look at, and synthesis.json, which says of every image what it
    was made to show and why it was kept or not. Raises InputError for input that cannot be used, ModuleNotFoundError
    where the extra [build] is not installed.
    """
    asked = settings.resolve_synthesis(locals(), os.environ)
    from . import no_photos

    with _logging_kept():
        return no_photos.synthesize(asked)


@contextmanager
def _logging_kept() -> Iterator[None]:
    """open_clip calls logging.info() and the like, which set up logging for the whole program where nobody did so yet.
    Meanwhile the root has the handler that counts where there is none, so nothing looks different."""
    root = logging.getLogger()
    stand_in = logging.lastResort if not root.handlers else None
    if stand_in is not None:
        root.addHandler(stand_in)
    try:
        yield
    finally:
        if stand_in is not None:
            root.removeHandler(stand_in)


def verify(
    bundle: str | Path,
    *,
    results: Iterable[str | Path] = (),
    device: str | None = None,
    mode: Mode = "full",
    threads: int | None = None,
) -> Verdict:
    """Measure a bundle, or judge what its board measured, as `edgedistill verify` does.

    bundle   the folder that `build` wrote
    results  files that `run.py verify` wrote on the board, folders of them, and bundles that were there; none: measure
    device   where to measure: "local" (this machine), "ssh://USER@BOARD", or "folder:PLACE" (what came back from there)
    mode     how long: "quick", "full" or "soak" (ten minutes a candidate)
    threads  of a CPU session, 0: the physical cores, at most 8; None: the profile's choice, or found by trial

    Returns the Verdict, which is also written into the bundle as verdict.json. Raises InputError for a damaged bundle,
    a result that does not belong to it, an unknown device and a runtime that does not start.
    """
    from .devices.device import find_device
    from .devices.measurement import Measurement
    from .verdict.verify import verify

    paths = [results] if isinstance(results, (str, os.PathLike)) else results
    here = os.path.expanduser
    place = find_device(device) if device is not None else None
    asked = Measurement(mode=mode, threads=threads)
    return verify(Path(here(bundle)), place, [Path(here(path)) for path in paths], asked=asked)
