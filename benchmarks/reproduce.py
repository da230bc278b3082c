"""A published experiment with this tool, on your copy of the public data: first the teacher, then label-free students.

    python benchmarks/reproduce.py --list
    python benchmarks/reproduce.py prg-cifar100 --data cifar-100-python --json prg_cifar100.json
    python benchmarks/reproduce.py promptkd-pets --data oxford_pets/images --split split_zhou_OxfordPets.json
    python benchmarks/reproduce.py promptkd-eurosat --data eurosat --teacher local-dir:clip --teacher-only

The protocols stand in protocols.py, the readers of the data in public_sets.py. In this order, whatever happens later:

1. The teacher is measured on the whole test split, with the protocol's prompts in a plain mean. Its figure is printed
   and written to --json.
2. Each student is a process of `edgedistill build`, which sees the training split as a flat folder without names and
   trains to the last epoch. The check images of the build are the lowest 1,000 hashes of the test split.
3. The student is measured on the whole test split, with the class vectors of its bundle.

Nothing is chosen by a test figure. Test files that repeat one another count once, and a training file that is in the
test split does not train. Run again after an interruption: layouts, features and stages are kept under --work.

Rows: PROTOCOL/WHO FIGURE, WHO being `teacher` or a student with its start. Figures are `top-1`, or, where base and
novel classes are known, `base`, `novel` (each among its own classes) and `HM`, their harmonic mean; of students also
`agreement` with the teacher and `difference` to it in points. Intervals are Wilson's 95 %; of a difference, that of
paired answers; of HM, the harmonic means of the two lower and of the two upper ends. What was not run has no value and
says "not run here" under `ran`. `changed` lists what the command line gave in place of the protocol's own, and "the
split" where the data had none. The file of --json holds the runs of its own command alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "0")  # weights are fetched as a build fetches them; zero_shot.py would say 1

import numpy as np
import protocols
import public_sets
import rows
from PIL import Image
from protocols import HALVES, NOT_RUN, Protocol, Run
from public_sets import Photos
from zero_shot import OpenClip, cached

from edgedistill.classes.class_vectors import ClassVectors
from edgedistill.classes.templates import template_set
from edgedistill.distil.arithmetic import choose_device
from edgedistill.distil.methods import METHODS
from edgedistill.distil.student_card import WEIGHTS, read_card
from edgedistill.distil.student_files import load_student
from edgedistill.distil.student_start import plan
from edgedistill.errors import EdgeDistillError, InputError
from edgedistill.settings import BuildSettings
from edgedistill.targets import preprocess
from edgedistill.teacher.names import find_teacher
from edgedistill.teacher.tower import Teacher
from edgedistill.verdict.intervals import paired_difference, wilson
from edgedistill.work import atomic

Line = dict[str, Any]
"""A row as --json has it."""

CHANGEABLE = ("teacher", "epochs", "views", "input_size")


def main() -> None:
    options = arguments()
    try:
        if options.list:
            print(protocols.page() if options.markdown else protocols.listing(), end="" if options.markdown else "\n")
        else:
            reproduce(options)
    except EdgeDistillError as error:
        print(f"error: {error.wrong}\n{error.todo}", file=sys.stderr)
        sys.exit(error.exit_code)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", nargs="?", help="one of --list")
    parser.add_argument("--list", action="store_true", help="print every protocol with its published figures")
    parser.add_argument("--markdown", action="store_true", help="with --list: as docs/reproduce.md")
    parser.add_argument("--data", type=Path, help="the public data set, unpacked")
    parser.add_argument("--split", type=Path, help="of promptkd-*: the public split file, JSON")
    parser.add_argument("--names", type=Path, help="of class folders: a file with `folder name` a line")
    parser.add_argument("--pool", type=Path, help="of eikd-*: unlabelled photos from elsewhere")
    parser.add_argument("--students", nargs="+", metavar="NAME", help="of the protocol's students, these alone")
    parser.add_argument("--starts", nargs="+", choices=protocols.STARTS, help="of their starts, these alone")
    parser.add_argument("--teacher-only", action="store_true", help="measure the teacher and train nothing")
    for name, kind in zip(CHANGEABLE, (str, int, int, int)):
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help="in place of the protocol's; rows tell so")
    parser.add_argument("--profile", default="cpu", help="as `edgedistill build` takes it")
    parser.add_argument("--train-on", default="auto", choices=["auto", "cpu", "cuda"], help="and measure on")
    parser.add_argument("--threads", type=int, help="as `edgedistill build` takes it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path(".edgedistill/reproduce"), help="where all of it is kept")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.protocol is None and not options.list:
        parser.error("name a protocol, or give --list")
    return options


def reproduce(options: argparse.Namespace) -> None:
    """One protocol, from the data to its rows. Raises InputError before any work for what cannot be run."""
    published = protocols.find(options.protocol)
    protocol, changed = as_asked(published, options)
    refuse_what_is_missing(protocol)
    found = read_data(protocol, options)
    changed += [] if found.published_split else ["the split"]
    wanted = chosen_runs(protocol, options.students, options.starts)
    print(f"{rows.machine()}\n{rows.command()}\n\n{protocols.listing([published])}\n", flush=True)
    runs = [] if options.teacher_only else possible_runs(wanted, protocol.input_size)
    templates = template_words(protocol, options.work)
    judge = Judge(protocol.teacher, templates, choose_device(options.train_on).type)
    photos = public_sets.lay_out(found, protocol.name, options.work)
    print(
        f"{photos.pool} photos to train on, {len(photos.files)} to test with, {len(photos.labels)} classes", flush=True
    )

    report = Report(protocol, changed, found.base is not None, options.json)
    features = cached(options.work / "features", judge.key, photos.files, judge.encode)
    teacher = answers(features @ judge.class_vectors(photos.labels).T, photos.truth, found.base)
    report.add("teacher", figures(teacher, photos.truth, found.base))
    del judge
    for run in runs:
        free_gpu()
        bundle = build(protocol, run, photos, templates, options)
        chosen = answers(student_scores(bundle, photos.files, options), photos.truth, found.base)
        report.add(run.title, figures(chosen, photos.truth, found.base) + beside(chosen, teacher, photos.truth))


# ---- what is asked for -----------------------------------------------------------------------------------------------


def as_asked(protocol: Protocol, options: argparse.Namespace) -> tuple[Protocol, list[str]]:
    """The protocol with what the command line gives in its place, and a list of that: ["epochs 2"]."""
    given = {name: getattr(options, name) for name in CHANGEABLE if getattr(options, name) is not None}
    given = {name: value for name, value in given.items() if value != getattr(protocol, name)}
    return dataclasses.replace(protocol, **given), [f"{name} {value}" for name, value in given.items()]


def refuse_what_is_missing(protocol: Protocol) -> None:
    """Raises InputError for a protocol that this version of the tool cannot follow."""
    known = {field.name for field in dataclasses.fields(BuildSettings)}
    missing = [f"--{name.replace('_', '-')}" for name in protocol.flags() if name not in known]
    missing += [f"the method {protocol.method}"] if protocol.method not in METHODS else []
    if protocol.lacks:
        raise InputError(
            f"{protocol.name} cannot be run: reproduce.py lacks {protocol.lacks}", "Choose another protocol."
        )
    if missing:
        raise InputError(
            f"{protocol.name} cannot be run: this version of edgedistill does not have {' and '.join(missing)}",
            f"Its entry stands in --list as {NOT_RUN!r}; choose another protocol.",
        )


def chosen_runs(protocol: Protocol, students: Sequence[str] | None, starts: Sequence[str] | None) -> list[Run]:
    """The protocol's runs that were asked for. Raises InputError for a student that is none of its own."""
    known = list(dict.fromkeys(run.student for run in protocol.runs))
    for name in students or ():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            todo = f"Did you mean {near[0]}?" if near else f"Its students are: {', '.join(known)}."
            raise InputError(f"{protocol.name} has no student {name!r}", todo)
    found = [
        run for run in protocol.runs if run.student in (students or known) and run.start in (starts or protocols.STARTS)
    ]
    if not found:
        titles = ", ".join(run.title for run in protocol.runs)
        raise InputError("no run is left by --students and --starts", f"The protocol's are: {titles}.")
    return found


def possible_runs(wanted: Sequence[Run], size: int) -> list[Run]:
    """Those that this tool can start here and now; the others are told and stay "not run here".

    A start from published weights is never replaced by one from scratch, which would be another experiment. Raises
    InputError where none is left.
    """
    found, reasons = [], []
    for run in wanted:
        try:
            start = plan(run.student, run.start, run.student, size)
        except InputError as error:
            reasons.append(f"{run.title}: {error.wrong}")
            continue
        if run.start == "auto" and start.source == "scratch":
            reasons.append(f"{run.title}: no published weights can be had here")
        else:
            found.append(run)
    for reason in reasons:
        print(f"{NOT_RUN}: {reason}", flush=True)
    if not found:
        raise InputError(f"no student can be trained: {'; '.join(reasons)}", "--teacher-only measures the teacher.")
    return found


def read_data(protocol: Protocol, options: argparse.Namespace) -> public_sets.PublicSet:
    """The data set of a protocol. Raises InputError where it is not there, or another than the protocol takes."""
    given = {"--data": options.data, "--split": options.split, "--names": options.names, "--pool": options.pool}
    if options.data is None:
        raise InputError(f"{protocol.name} needs --data", f"Give the folder of {protocol.data}, unpacked.")
    for flag, path in given.items():
        if path is not None and not path.exists():
            raise InputError(f"{flag} {path} does not exist", f"Check the path; the data is {protocol.data}.")
    if not options.data.is_dir():
        raise InputError(f"--data {options.data} is not a folder", f"Unpack {protocol.data} and give its folder.")
    fits = {"--data", "--names"} | ({"--pool"} if protocol.open_pool else set())
    fits |= {"--split"} if protocol.halves and protocol.layout == "folders" else set()
    for flag in (flag for flag, path in given.items() if path is not None and flag not in fits):
        raise InputError(f"{protocol.name} takes no {flag}", f"It takes {', '.join(sorted(fits))}.")
    if protocol.open_pool and options.pool is None:
        raise InputError(f"{protocol.name} needs --pool", "Give a folder of unlabelled photos from elsewhere.")
    names = public_sets.read_names(options.names) if options.names else None
    if options.split is not None:
        found = public_sets.from_split(options.data, options.split)
    elif protocol.layout == "imagenet":
        found = public_sets.imagenet(options.data, names)
    elif protocol.layout == "folders":
        found = public_sets.class_folders(options.data, names)
    else:
        found = public_sets.cifar(protocol.layout, options.data)
    if protocol.open_pool:
        found = dataclasses.replace(found, pool=public_sets.any_photos(options.pool))
    return found if protocol.halves else dataclasses.replace(found, base=None)


def template_words(protocol: Protocol, work: Path) -> str:
    """What --templates takes: the set's name, or a file with the protocol's own, written below `work`."""
    if isinstance(protocol.templates, str):
        return protocol.templates
    work.mkdir(parents=True, exist_ok=True)
    path = work / f"{protocol.name}-templates.txt"
    atomic.write_bytes(path, "".join(f"{template}\n" for template in protocol.templates).encode())
    return str(path)


# ---- measuring -------------------------------------------------------------------------------------------------------


class Judge(OpenClip):
    """The teacher, in float32 on the device that trains: features of files, and class vectors as the plain mean."""

    def __init__(self, teacher: str, templates: str, device: str) -> None:
        files = find_teacher(teacher)
        self.teacher = Teacher(files, device=device, dtype="float32")
        self.templates = template_set(templates)
        self.key = f"{files.weight_hash} {files.transform_id} {device} {self.teacher.dtype}"


def student_scores(bundle: Path, files: Sequence[Path], options: argparse.Namespace) -> np.ndarray:
    """float32 [N,C]: cosine of the bundle's student with its class vectors, up to a factor, in float32."""
    import torch

    card = read_card(bundle)
    assert card.projector is not None
    assert card.teacher is not None
    device, size = choose_device(options.train_on), card.preprocessing.size
    student, _ = load_student(bundle, dim=card.projector.dim, teacher_hash=card.teacher.hash, size=size)
    student.eval().to(device)

    def encode(files: Sequence[Path]) -> np.ndarray:
        found = []
        for part in (files[k : k + 64] for k in range(0, len(files), 64)):
            pixels = np.stack([preprocess.to_pixels(preprocess.from_pil(Image.open(path)), size) for path in part])
            with torch.inference_mode():
                _, projected = student(torch.from_numpy(pixels).to(device))
            found.append(torch.nn.functional.normalize(projected, dim=-1).cpu().numpy())
        return np.concatenate(found)

    key = f"student {atomic.sha256_file(bundle / WEIGHTS)} {size} {device.type}"
    features = cached(options.work / "features", key, files, encode)
    return np.asarray(features @ ClassVectors.load(bundle).baked.T)


def free_gpu() -> None:
    """Hand the GPU memory that nothing uses any more to the build, which is another process."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def answers(scores: np.ndarray, truth: np.ndarray, base: int | None) -> np.ndarray:
    """int64 [N]: the class of the highest score [N,C]; with `base`, among the classes of the image's own half alone."""
    if base is None:
        return np.asarray(scores.argmax(axis=1))
    of_base, of_novel = scores[:, :base].argmax(axis=1), base + scores[:, base:].argmax(axis=1)
    return np.asarray(np.where(truth < base, of_base, of_novel))


@dataclass(frozen=True)
class Figure:
    """One measured number of a teacher or a student, with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    unit: str


def figures(chosen: np.ndarray, truth: np.ndarray, base: int | None) -> list[Figure]:
    """How often `chosen` [N] is `truth` [N]: top-1, or of base and novel classes, and their harmonic mean."""
    if base is None:
        return [_share("top-1", chosen == truth)]
    of_base, of_novel = ((chosen == truth)[part] for part in (truth < base, truth >= base))
    halves = [_share("base", of_base), _share("novel", of_novel)]
    one, other = halves
    value, low, high = (
        harmonic(*pair) for pair in ((one.value, other.value), (one.low, other.low), (one.high, other.high))
    )
    return [*halves, Figure("HM", value, low, high, "top-1")]


def beside(chosen: np.ndarray, teacher: np.ndarray, truth: np.ndarray) -> list[Figure]:
    """How often a student chooses as its teacher does, and how much more often it is right, over all test images."""
    right, its = chosen == truth, teacher == truth
    value, low, high = paired_difference(int((right & ~its).sum()), int((~right & its).sum()), len(truth))
    difference = Figure("difference", 100 * value, 100 * low, 100 * high, "points")
    return [_share("agreement", chosen == teacher, "share"), difference]


def harmonic(one: float, other: float) -> float:
    return 2 * one * other / (one + other) if one + other else 0.0


def _share(name: str, hits: np.ndarray, unit: str = "top-1") -> Figure:
    low, high = wilson(int(hits.sum()), len(hits))
    return Figure(name, float(hits.mean()) if len(hits) else 0.0, low, high, unit)


# ---- builds ----------------------------------------------------------------------------------------------------------


def build(protocol: Protocol, run: Run, photos: Photos, templates: str, options: argparse.Namespace) -> Path:
    """The bundle of one run: `edgedistill build` as a process. Ends the script where that stops; it has said why."""
    out = photos.folder / f"{run.student}-{run.start}-{options.seed}"
    words = build_words(protocol, run, photos, templates, options, out)
    print(f"\n{shlex.join(['edgedistill', *words])}", flush=True)
    code = subprocess.run([sys.executable, "-m", "edgedistill", *words]).returncode
    if code:
        raise SystemExit(code)
    return out


def build_words(
    protocol: Protocol, run: Run, photos: Photos, templates: str, options: argparse.Namespace, out: Path
) -> list[str]:
    folder = photos.folder
    words: list[object] = ["build", "--profile", options.profile, "--device", "folder", "--seed", options.seed]
    words += ["--classes", folder / "labels.txt", "--images", folder / "pool", "--check", folder / "check"]
    words += ["--teacher", protocol.teacher, "--templates", templates]
    words += ["--student", run.student, "--student-weights", run.start, "--train-on", options.train_on]
    for name, value in protocol.flags().items():
        words += [f"--{name.replace('_', '-')}", value]
    for option in protocol.options:
        words += ["--option", option]
    words += ["--threads", options.threads] if options.threads else []
    words += ["--work", options.work / "stages", "--out", out]
    return [str(word) for word in words]


# ---- rows ------------------------------------------------------------------------------------------------------------


class Report:
    """The rows of a protocol: written and printed again whenever something was measured, "not run here" before."""

    def __init__(self, protocol: Protocol, changed: Sequence[str], halves: bool, path: Path | None) -> None:
        self.protocol, self.changed, self.path = protocol, list(changed), path
        own = HALVES if halves else ("top-1",)
        of_student = (*own, "agreement", "difference")
        self.wanted = {"teacher": own} | {run.title: of_student for run in protocol.runs}
        self.measured: dict[str, list[Figure]] = {}

    def add(self, who: str, found: Sequence[Figure]) -> None:
        self.measured[who] = list(found)
        lines = self.lines()
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(self.path, f"{json.dumps(lines, indent=1)}\n".encode())
        print(f"\n{table(lines)}\n", flush=True)

    def lines(self) -> list[Line]:
        """Every row of the protocol, in its order."""
        facts = {"changed": self.changed, "machine": rows.machine(), "command": rows.command()}
        found: list[Line] = []
        for who, names in self.wanted.items():
            known = {figure.name: figure for figure in self.measured.get(who, [])}
            for name in names:
                title = f"{self.protocol.name}/{who} {name}"
                if name in known:
                    one = known[name]
                    row = rows.Row(figure=title, value=one.value, low=one.low, high=one.high, unit=one.unit)
                    found.append({**asdict(row), "met": row.met, "ran": "here", **facts})
                else:
                    empty = dict.fromkeys(("value", "low", "high", "unit"))
                    found.append({"figure": title, **empty, "bar": "", "met": None, "ran": NOT_RUN, **facts})
        return found


def table(lines: Sequence[Line]) -> str:
    width = max(len(line["figure"]) for line in lines)
    shown = []
    for line in lines:
        told = NOT_RUN
        if line["value"] is not None:
            kind = "+.2f" if line["unit"] == "points" else ".4f"
            told = f"{line['value']:{kind}}  {line['low']:{kind}} .. {line['high']:{kind}}  {line['unit']}"
        shown.append(f"{line['figure']:<{width}}  {told}")
    if lines[0]["changed"]:
        shown.append(f"not the protocol's: {', '.join(lines[0]['changed'])}")
    return "\n".join(shown)


if __name__ == "__main__":
    main()
