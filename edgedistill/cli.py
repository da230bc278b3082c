"""The command line: parse, call, print, exit. Nothing heavy is imported before a command needs it.

Data goes to stdout, talk to stderr; JSON is ASCII, so that every encoding carries it. Exit codes: 0 done or pass,
2 your input or environment, 3 measured outside a budget, 4 not measured (or --strict), 1 our bug; 130 interrupted,
143 by SIGTERM.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional

import typer
from typer.core import TyperCommand

from .choices import (
    DIVERSIFY,
    DTYPES,
    ENGINES,
    FEW_SHOT_TUNE,
    MODES,
    PRECISION,
    PROMPT_WEIGHTS,
    QAT,
    REFINEMENTS,
    SELECT_BY,
    TEACHER_DTYPES,
    TEMPLATE_SETS,
    TRAIN_ON,
    VIEW_TARGETS,
)
from .distil.methods import METHODS
from .errors import EdgeDistillError, InputError, install_extra
from .targets.length import HELP
from .targets.names import RUNTIMES, TORCH_TENSORRT
from .targets.printable import say, say_json
from .targets.providers import turn_telemetry_off
from .targets.stopping import exit_code, stop_as_ctrl_c_does
from .targets.streams import lost, settle, unread
from .work.shortage import shortages_explained

app = typer.Typer(
    name="edgedistill",
    help="Class names and unlabelled photos in; a small classifier, measured on the device it ships to, out.",
    epilog="First:  edgedistill doctor    Then:  edgedistill build --profile cpu --classes labels.txt --images photos/",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
profiles_app = typer.Typer(help="The boards edgedistill knows: facts, budgets, runtimes.", no_args_is_help=True)
app.add_typer(profiles_app, name="profiles")

# Typer reads these annotations at run time on Python 3.10, where it needs Optional rather than "X | None".
Text = Optional[str]  # noqa: UP045
Number = Optional[int]  # noqa: UP045
Real = Optional[float]  # noqa: UP045
File = Optional[Path]  # noqa: UP045
Texts = Optional[list[str]]  # noqa: UP045
Numbers = Optional[list[int]]  # noqa: UP045
Files = Optional[list[Path]]  # noqa: UP045
WORKSHOP = ("torch", "torchvision", "open_clip", "timm", "onnx", "onnxscript", "safetensors")
PLACES = (
    "Where to measure: local, ssh://USER@BOARD:PORT/FOLDER (the last two where needed), folder or folder:PLACE (later)."
)
LENGTHS = f"How long to measure. {HELP}"
BENCH_MODELS = "ONNX files, bundles (each of their models), TensorRT engines that `run.py compile` built."
OPENS_FILES = [name for name in RUNTIMES if name != TORCH_TENSORRT]  # that one builds a student itself
BY_CTRL_C = 130  # what click ends with on every KeyboardInterrupt
_told_interrupted: list[bool] = []
INPUT, MAKING, TEACHER, STUDENT, TRAINING, BUDGETS, RUN = (
    "Input", "Images from class names", "Teacher", "Student", "Training", "Budgets", "Running",
)  # fmt: skip


def flag(name: str, panel: str, help: str, default: str | bool = False) -> Any:
    """An option of `build` or `synthesize`. Its real default lives in settings.py; `default` is what the help shows."""
    return typer.Option(name, rich_help_panel=panel, help=help, show_default=default)


# What two commands share.
ClassesFlag = Annotated[File, flag("--classes", INPUT, "labels.txt: a class a line, `name | synonym`.")]
TemplatesFlag = Annotated[
    Text,
    flag(
        "--templates",
        INPUT,
        f"Prompt templates: {', '.join(TEMPLATE_SETS)}, or a file with one {{}} a line.",
        "general",
    ),
]
TeacherFlag = Annotated[
    Text,
    flag(
        "--teacher",
        TEACHER,
        "MODEL/PRETRAINED, hf-hub:ID, local-dir:PATH, or a checkpoint file.",
        "ViT-B-16/datacomp_xl_s13b_b90k",
    ),
]
TeacherArchFlag = Annotated[Text, flag("--teacher-arch", TEACHER, "For a checkpoint file: its open_clip architecture.")]
TeacherPreprocessFlag = Annotated[
    File,
    flag(
        "--teacher-preprocess",
        TEACHER,
        "For a checkpoint file: JSON with size, mean, std, interpolation, resize_mode.",
    ),
]
TeacherDtypeFlag = Annotated[
    Text,
    flag("--teacher-dtype", TEACHER, f"{', '.join(TEACHER_DTYPES)}; auto makes a short measurement.", "auto"),
]
EngineFlag = Annotated[
    Text,
    flag(
        "--engine",
        MAKING,
        f"What makes the images: {', '.join(ENGINES)}. The teacher alone, or a text-to-image pipeline.",
        "teacher",
    ),
]
EngineModelFlag = Annotated[
    Text,
    flag(
        "--engine-model",
        MAKING,
        "Of diffusers: a pipeline's hub id or folder. Of teacher: another CLIP to make them under.",
        "the teacher",
    ),
]
GeneratedFlag = Annotated[
    File, flag("--generated", MAKING, "A folder of images that were generated elsewhere, in class folders.")
]
DiversifyFlag = Annotated[
    Text,
    flag("--diversify", MAKING, f"How prompts are made to differ: {', '.join(DIVERSIFY)}.", "mix; of diffusers styles"),
]
PerClassFlag = Annotated[Number, flag("--per-class", MAKING, "Images to make of a class.", "40")]
ImageSizeFlag = Annotated[Number, flag("--image-size", MAKING, "Pixels a side of such an image.", "the engine's")]
SeedFlag = Annotated[Number, flag("--seed", TRAINING, "Same seed, same bytes on a CPU.", "0")]
MakingSeedFlag = Annotated[Number, flag("--seed", MAKING, "Same seed, same bytes on a CPU.", "0")]
TrainOnFlag = Annotated[Text, flag("--train-on", TRAINING, f"{', '.join(TRAIN_ON)}.", "auto")]
ComputeOnFlag = Annotated[Text, flag("--train-on", RUN, f"What computes: {', '.join(TRAIN_ON)}.", "auto")]
ThreadsFlag = Annotated[Number, flag("--threads", RUN, "CPU threads for the teacher and training.", "all cores")]
WorkFlag = Annotated[File, flag("--work", RUN, "Finished stages are kept and reused here.", ".edgedistill")]
DebugFlag = Annotated[bool, flag("--debug", RUN, "Show tracebacks.")]


@app.command()
def build(
    context: typer.Context,
    profile: Annotated[
        Text,
        flag("--profile", INPUT, "Board to build for: a name from `profiles list`, or a TOML file."),
    ] = None,
    classes: ClassesFlag = None,
    images: Annotated[
        File,
        flag("--images", INPUT, "Folder of unlabelled photos; folder names are ignored.", "made from the class names"),
    ] = None,
    check: Annotated[
        File,
        flag(
            "--check",
            INPUT,
            "Photos to measure on; class folders, where there are any, give true labels.",
            "a tenth of --images",
        ),
    ] = None,
    select: Annotated[
        Real,
        flag("--select", INPUT, "Train on at most so many of the photos: a number, or a share such as 0.5.", "all"),
    ] = None,
    select_by: Annotated[
        Text,
        flag("--select-by", INPUT, f"How they are chosen: {', '.join(SELECT_BY)}.", "threshold"),
    ] = None,
    templates: TemplatesFlag = None,
    config: Annotated[
        File,
        flag("--config", INPUT, "build.toml with the same names as these flags; flags win."),
    ] = None,
    synthesize: Annotated[
        bool, flag("--synthesize", MAKING, "Beside --images: make images of the classes with few photos.")
    ] = False,
    engine: EngineFlag = None,
    engine_model: EngineModelFlag = None,
    generated: GeneratedFlag = None,
    diversify: DiversifyFlag = None,
    per_class: PerClassFlag = None,
    image_size: ImageSizeFlag = None,
    teacher: TeacherFlag = None,
    teacher_arch: TeacherArchFlag = None,
    teacher_preprocess: TeacherPreprocessFlag = None,
    teacher_dtype: TeacherDtypeFlag = None,
    prompt_weights: Annotated[
        Text,
        flag(
            "--prompt-weights",
            TEACHER,
            f"{', '.join(PROMPT_WEIGHTS)}: prompt ensembling, or that by the pool's mean alone.",
            "zero-shot",
        ),
    ] = None,
    refine: Annotated[
        Text,
        flag("--refine", TEACHER, f"{', '.join(REFINEMENTS)}: class vectors moved to the photos.", "auto"),
    ] = None,
    views: Annotated[Number, flag("--views", TEACHER, "Stored views an image.", "8; with --time 8 to 32")] = None,
    mix: Annotated[
        Number,
        flag("--mix", TEACHER, "Mixed views an image beside these: blends of two photos, for long trainings.", "0"),
    ] = None,
    few_shot: Annotated[
        File,
        flag(
            "--few-shot",
            TEACHER,
            "A few labelled photos in class folders, to tune with before the student is taught.",
            "none",
        ),
    ] = None,
    few_shot_tune: Annotated[
        Text,
        flag(
            "--few-shot-tune",
            TEACHER,
            f"{', '.join(FEW_SHOT_TUNE)}: the teacher's prompts, or the class vectors alone.",
            "vectors",
        ),
    ] = None,
    student: Annotated[
        Text, flag("--student", STUDENT, "Any timm name, or vit-b16-prompted.", "the start's, else the profile's")
    ] = None,
    student_weights: Annotated[
        Text,
        flag(
            "--student-weights",
            STUDENT,
            "auto (hub, else scratch), none, or a folder with student.safetensors; of vit-b16-prompted its CLIP, named "
            "as a teacher is.",
            "auto",
        ),
    ] = None,
    student_dtype: Annotated[
        Text,
        flag("--student-dtype", STUDENT, f"Arithmetic of the training: {', '.join(DTYPES)}.", "auto"),
    ] = None,
    input_size: Annotated[Number, flag("--input-size", STUDENT, "Pixels a side.", "the profile's")] = None,
    method: Annotated[
        Text, flag("--method", TRAINING, f"{', '.join(METHODS)}.", "prg; of images from class names data-free")
    ] = None,
    option: Annotated[
        Texts,
        flag("--option", TRAINING, "A method's own setting, NAME=VALUE; repeatable."),
    ] = None,
    view_targets: Annotated[
        Text,
        flag(
            "--view-targets",
            TRAINING,
            f"{', '.join(VIEW_TARGETS)}: a crop is taught its own view, the mean of all, or both.",
            "blend",
        ),
    ] = None,
    epochs: Annotated[
        Number, flag("--epochs", TRAINING, "Passes over the training images.", "60,000 / images, between 20 and 100")
    ] = None,
    patience: Annotated[
        Real,
        flag("--patience", TRAINING, "Times the default epochs, 1 or more: 3 or 10 where a student falls short.", "1"),
    ] = None,
    time: Annotated[
        Text,
        flag(
            "--time",
            TRAINING,
            "How long training takes, of all seeds together: 90s, 10m, 1.5h. Epochs follow from a short measurement.",
        ),
    ] = None,
    batch: Annotated[
        Number, flag("--batch", TRAINING, "Images a step.", "128, at most a quarter of the images")
    ] = None,
    seed: SeedFlag = None,
    seeds: Annotated[
        Number,
        flag("--seeds", TRAINING, "Train this many seeds, report mean and spread, ship the first.", "1"),
    ] = None,
    train_on: TrainOnFlag = None,
    precision: Annotated[
        Text,
        flag("--precision", RUN, f"{', '.join(PRECISION)}; auto: what the device finds faster and no worse.", "auto"),
    ] = None,
    qat: Annotated[
        Text,
        flag("--qat", RUN, f"{', '.join(QAT)}: train the student on for int8, where that loses too much.", "auto"),
    ] = None,
    latency_budget: Annotated[Real, flag("--latency-budget", BUDGETS, "p95 in ms.", "the profile's")] = None,
    memory_budget: Annotated[Real, flag("--memory-budget", BUDGETS, "MB.", "the profile's")] = None,
    agreement_min: Annotated[
        Real,
        flag("--agreement-min", BUDGETS, "Lower 95 % bound of agreement with the teacher, 0 to 1.", "the profile's"),
    ] = None,
    accuracy_drop_max: Annotated[
        Real,
        flag(
            "--accuracy-drop-max",
            BUDGETS,
            "With 500 labelled check images: the share of them that the student may lose, 0 to 1.",
            "the profile's",
        ),
    ] = None,
    device: Annotated[
        Text,
        flag("--device", RUN, PLACES, "local"),
    ] = None,
    mode: Annotated[Text, flag("--mode", RUN, LENGTHS, "full")] = None,
    threads: ThreadsFlag = None,
    work: WorkFlag = None,
    out: Annotated[File, flag("--out", RUN, "The bundle.", "./<labels>-<profile>/")] = None,
    strict: Annotated[bool, flag("--strict", RUN, "Exit 4 when nothing could be measured.")] = False,
    as_json: Annotated[bool, flag("--json", RUN, "Print the verdict as JSON on stdout.")] = False,
    debug: DebugFlag = False,
) -> None:
    """Distil, export and measure a classifier for one board.

    Interrupted? Run the same command again: it goes on where it was.
    """
    from .settings import resolve

    asked = resolve(_given(context, "config", "as_json", "debug"), _path(config), os.environ)

    try:
        from . import line
        from .verdict import tables
        from .work import console

        console.show_log()
        verdict = line.build(asked, console.Bar())
    except KeyboardInterrupt:
        _interrupted()
    tables.show(verdict, asked.bundle, as_json=as_json)
    raise typer.Exit(0 if verdict.verdict == "unmeasured" and not asked.strict else verdict.exit_code)


@app.command()
def synthesize(
    context: typer.Context,
    classes: ClassesFlag = None,
    out: Annotated[File, flag("--out", INPUT, "The folder of images, one that is not there or is empty.")] = None,
    templates: TemplatesFlag = None,
    engine: EngineFlag = None,
    engine_model: EngineModelFlag = None,
    generated: GeneratedFlag = None,
    diversify: DiversifyFlag = None,
    per_class: PerClassFlag = None,
    image_size: ImageSizeFlag = None,
    teacher: TeacherFlag = None,
    teacher_arch: TeacherArchFlag = None,
    teacher_preprocess: TeacherPreprocessFlag = None,
    teacher_dtype: TeacherDtypeFlag = None,
    student: Annotated[
        Text, flag("--student", STUDENT, "Any timm name.", "the start's, else mobilenetv3_small_100")
    ] = None,
    student_weights: Annotated[
        Text,
        flag(
            "--student-weights",
            STUDENT,
            "As of a build: auto, none or a folder. The teacher's images get the statistics that this start remembers.",
            "auto",
        ),
    ] = None,
    seed: MakingSeedFlag = None,
    train_on: ComputeOnFlag = None,
    threads: ThreadsFlag = None,
    work: WorkFlag = None,
    debug: DebugFlag = False,
) -> None:
    """Make images from class names: what a build without photos does first, alone.

    A folder to look at (contact_sheet.jpg), to prune by hand, and to give to --images.
    Interrupted? Run the same command again: it goes on where it was.
    """
    from .settings import resolve_synthesis

    asked = resolve_synthesis(_given(context, "debug"), os.environ)

    try:
        from . import no_photos
        from .work import console

        console.show_log()
        folder = no_photos.synthesize(asked, console.Bar())
    except KeyboardInterrupt:
        _interrupted()
    say(folder)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    result: Annotated[
        Files,
        typer.Option(
            "--result",
            help="What `run.py verify` wrote on the board: a file, a folder, or a bundle that was there; repeatable.",
        ),
    ] = None,
    device: Annotated[Text, typer.Option("--device", help=PLACES)] = None,
    mode: Annotated[str, typer.Option("--mode", help=LENGTHS)] = "full",
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Measure a bundle here, or judge what its board measured.

    Exit 0 pass, 3 outside a budget, 4 not measured on the profile's device.
    """
    from .devices.device import find_device
    from .devices.measurement import Measurement
    from .verdict import tables
    from .verdict.verify import verify
    from .work import console

    console.show_log()
    place, folder = None if device is None else find_device(device), _here(bundle)
    try:
        found = [_here(path) for path in result or ()]
        verdict = verify(folder, place, found, asked=Measurement(mode=mode), progress=console.Bar())
    except KeyboardInterrupt:
        _interrupted()
    tables.show(verdict, folder, as_json=as_json)
    raise typer.Exit(verdict.exit_code)


@app.command()
def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    runtime: Annotated[
        Text, typer.Option("--runtime", help="onnxruntime-cpu, tensorrt, ...; default: what the verdict selected.")
    ] = None,
    precision: Annotated[
        Text, typer.Option("--precision", help="fp32, fp16 or int8; default: what the verdict selected.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Classify images with a bundle. Needs no torch.

    One that cannot be read is named on stderr, with --json on stdout as well ({"path", "error"}), the others are
    classified, and the exit code is 2.
    """
    from .runtime import BadImageError, Classifier

    classifier, code = Classifier(_here(bundle), precision=precision, runtime=runtime), 0
    for path in images:
        if unread(sys.stdout):
            break
        try:
            found = classifier.predict(_here(path))
        except BadImageError as error:
            code = error.exit_code
            _say(error)
            if as_json:
                say_json({"path": str(path), "error": error.wrong})
            continue
        if as_json:
            record = {
                "path": str(path),
                "label": found.label,
                "probability": found.probability,
                "known": found.known,
                "probabilities": dict(zip(classifier.labels, map(float, found.probabilities))),
            }
            say_json(record)
        else:
            say(f"{path}  {found.label}  {found.probability:.3f}")
    if why := lost(sys.stdout):
        raise InputError(f"the answers cannot be printed: {why}", "Make room there, or send them elsewhere.")
    raise typer.Exit(code)


@app.command()
def doctor(
    classes: Annotated[File, typer.Option("--classes", help="labels.txt to check.")] = None,
    images: Annotated[File, typer.Option("--images", help="Photo folder to check.")] = None,
    teacher: Annotated[Text, typer.Option("--teacher", help="Teacher to look for.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Say what is here, what is missing, and what to do about it. Takes a few seconds, changes nothing."""
    from .doctor import examine, show

    findings = examine(classes=_path(classes), images=_path(images), teacher=teacher)
    if as_json:
        say_json([finding.to_json() for finding in findings], indent=1)
    show(findings)
    raise typer.Exit(2 if any(finding.state == "missing" for finding in findings) else 0)


class ListsOfNumbers(TyperCommand):
    """A command where `--batch 1 8` is short for `--batch 1 --batch 8`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _repeated(args, ("--batch", "--threads")))


def _repeated(words: list[str], names: Sequence[str]) -> list[str]:
    """`words` with an option of `names` put before each further number of a row that it begins."""
    found: list[str] = []
    for word in words:
        if word.isdigit() and len(found) >= 2 and found[-2] in names and found[-1].isdigit():
            found.append(found[-2])
        found.append(word)
    return found


@app.command(cls=ListsOfNumbers)
def bench(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL", help=BENCH_MODELS)],
    batch: Annotated[
        Numbers,
        typer.Option(
            "--batch",
            metavar="N...",
            help="Items a query; several are compared.",
            show_default="the model's own, else 1",
        ),
    ] = None,
    threads: Annotated[
        Numbers,
        typer.Option(
            "--threads",
            metavar="N...",
            help="Of a CPU runtime; 0: the physical cores, at most 8; several are compared.",
            show_default="the profile's, else as many as a trial finds worth it",
        ),
    ] = None,
    runtime: Annotated[
        Texts,
        typer.Option(
            "--runtime",
            help=f"{', '.join(OPENS_FILES)}; repeatable. Nothing falls back to another.",
            show_default="onnxruntime-cpu, of an engine tensorrt",
        ),
    ] = None,
    input: Annotated[
        File,
        typer.Option(
            "--input",
            help="What to run on: .npz with an array for each input, .npy, or an image.",
            show_default="a bundle's check images, else random",
        ),
    ] = None,
    shape: Annotated[
        Texts,
        typer.Option("--shape", metavar="NAME=N,N...", help="Of an input with free axes, batch included; repeatable."),
    ] = None,
    mode: Annotated[
        str, typer.Option("--mode", help=f"{', '.join(MODES)}: 10 s or more of timing a row, 1 s, or 10 minutes.")
    ] = "full",
    mlperf_like: Annotated[
        bool,
        typer.Option(
            "--mlperf-like",
            help="10 minutes of each model alone, and the 90th percentile as MLPerf's early stopping estimates it. "
            "Not an MLPerf result.",
        ),
    ] = False,
    json_file: Annotated[File, typer.Option("--json", metavar="FILE", help="Write all figures there.")] = None,
    plot: Annotated[
        File,
        typer.Option(
            "--plot",
            metavar="FILE.png|svg",
            help="Draw latencies, over accuracy where every model's is known. Needs matplotlib.",
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Time any models on this machine, side by side: latency and its spread, throughput, cold start, memory.

    Every combination of model, --runtime, --threads and --batch is a row. Exit 4: a row does not run, or does not count
    since the machine was hot, throttled or busy, or queries were too few.
    """
    from .bench import command
    from .work import console

    console.show_log()
    options = command.BenchOptions(
        models=[_here(model) for model in models],
        batches=batch or (),
        threads=threads or (),
        runtimes=runtime or (),
        input=_path(input),
        shapes=shape or (),
        mode=mode,
        mlperf_like=mlperf_like,
        json=_path(json_file),
        plot=_path(plot),
    )
    raise typer.Exit(command.run(options))


@profiles_app.command("list")
def profiles_list(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """The boards, one a line."""
    from . import profile_text, profiles

    known = [profiles.load_profile(name) for name in profiles.list_profiles()]
    if as_json:
        say_json([profile.to_json() for profile in known], indent=1)
        return
    for line in profile_text.table(known):
        say(line)


@profiles_app.command("show")
def profiles_show(
    name: Annotated[str, typer.Argument(help="A name from `profiles list`, or a TOML file.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """All that is known of one board. Budgets are decisions, ranges are expectations; nothing here was measured."""
    from . import profile_text, profiles

    profile = profiles.load_profile(name)
    if as_json:
        say_json(profile.to_json(), indent=1)
    else:
        profile_text.show(profile)


def _here(given: str | Path) -> Path:
    """With the home folder for a ~ that no shell replaced. Some versions of typer hand on the word that was typed."""
    return Path(os.path.expanduser(given))


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else _here(given)


def _given(context: typer.Context, *own: str) -> dict[str, Any]:
    """What stood on the command line, but what is for the command alone."""
    return {name: value for name, value in context.params.items() if name not in own and _was_set(context, name)}


def _interrupted() -> NoReturn:
    for words in ("", "interrupted", "Run the same command again: it goes on where it was."):
        say(words, error=True)
    _told_interrupted.append(True)
    raise typer.Exit(exit_code()) from None


def _was_set(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _version(wanted: bool) -> None:
    if wanted:
        from . import __version__

        say(f"edgedistill {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


# Typer brings click along or vendors it; either way this is the base of what it raises for a mistake in the words.
ClickException: type[Exception] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")


def main() -> None:
    """The `edgedistill` command."""
    debug = "--debug" in sys.argv
    _prepare_process()
    try:
        with shortages_explained():
            code = app(standalone_mode=False)
        if code != BY_CTRL_C:
            sys.exit(code)
        if not _told_interrupted:
            say("interrupted", error=True)
        sys.exit(exit_code())
    except ClickException as error:
        _tell_usage(error)
    except (typer.Abort, KeyboardInterrupt):  # how some versions of click end on Ctrl-C
        say("interrupted", error=True)
        sys.exit(exit_code())
    except EdgeDistillError as error:
        if debug:
            raise
        _tell(error)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if debug or missing not in WORKSHOP:
            raise
        _tell(InputError(f"this command needs {missing}", install_extra("build")))
    except OSError as error:  # a path that may not be read or written, where nothing closer named it
        if debug or error.filename is None:
            raise
        todo = "Check the path, its permissions and the disk; --debug shows where it happened."
        _tell(InputError(f"{error.filename}: {error.strerror}", todo))


def _prepare_process() -> None:
    """What a program may do and a library may not: a character that stdout or stderr cannot encode is written as an
    escape, a reader who went away changes no exit code, Pillow's warnings about damaged metadata stay out, and SIGTERM
    ends it tidily; onnxruntime, whoever imports it, reports to nobody."""
    settle()
    turn_telemetry_off()
    warnings.filterwarnings("ignore", module=r"PIL\.")
    stop_as_ctrl_c_does()


def _tell_usage(error: Any) -> NoReturn:
    """Two lines for words that are no command of ours; the help for no words at all."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        sys.exit(error.exit_code)
    context = getattr(error, "ctx", None)
    message = " ".join(error.format_message().split()).rstrip(".")
    command = context.command_path if context else "edgedistill"
    _tell(InputError(message[:1].lower() + message[1:], f"See {command} --help."))


def _tell(error: EdgeDistillError) -> NoReturn:
    _say(error)
    sys.exit(error.exit_code)


def _say(error: EdgeDistillError) -> None:
    say(f"error: {error.wrong}", error=True)
    say(error.todo, error=True)
