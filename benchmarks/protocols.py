"""The protocols that reproduce.py can follow: what a paper published, with what, and how ours differs from it.

A protocol is one entry of PROTOCOLS. It never mixes the two sides: `published` are figures somebody else measured, each
with its source; `papers` says what of the protocol is the paper's, `ours` what we chose where the paper is silent or
this tool works in another way. What is the same for all of a family stands once.

`listing` prints the table, `page` is docs/reproduce.md. Our own cells hold what benchmarks/results/reproduce_NAME.json
holds of runs that changed nothing of the protocol, and NOT_RUN before there is such a file.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from edgedistill.choices import PromptWeights
from edgedistill.errors import InputError

RESULTS = Path(__file__).parent / "results"
NOT_RUN = "not run here"
HALVES = ("base", "novel", "HM")
STARTS = {"none": "from scratch", "auto": "from published weights"}

TOP1 = "top-1, %"
THREE = "base / novel / HM, %"


@dataclass(frozen=True)
class Published:
    """A figure that somebody else measured: of what, as they print it, in which unit, and where it stands."""

    what: str
    figure: str
    unit: str
    source: str


@dataclass(frozen=True)
class Run:
    """One student to train. `start` is what `--student-weights` takes: "none", or "auto" for published weights."""

    student: str
    start: Literal["none", "auto"]

    @property
    def title(self) -> str:
        return f"{self.student} {STARTS[self.start]}"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One experiment: data, teacher, students, how they train, and what was published of it.

    arxiv: the paper's id. teacher: as open_clip names it. layout: which reader of public_sets.py reads the data;
    `open_pool` takes the unlabelled photos from elsewhere. templates: a set's name, or the templates themselves.
    method, options, epochs, views, view_targets, prompt_weights, input_size, select: what `edgedistill build` is told.
    halves: whether base and novel classes are measured apart where the split is known (CoCoOp's: the first half of the
    classes, rounded up, is base). recipe: how the paper trains. lacks: what reproduce.py would need and does not have.
    """

    name: str
    arxiv: str
    data: str
    teacher: str = "ViT-L-14/openai"
    runs: tuple[Run, ...]
    layout: Literal["cifar10", "cifar100", "imagenet", "folders"] = "folders"
    open_pool: bool = False
    templates: str | tuple[str, ...] = "general"
    method: str = "prg"
    options: tuple[str, ...] = ()
    epochs: int
    views: int
    view_targets: Literal["match", "mean", "blend"] = "blend"
    prompt_weights: PromptWeights = "zero-shot"
    input_size: int = 224
    select: str = ""
    halves: bool = False
    recipe: str
    papers: str
    ours: str
    published: tuple[Published, ...]
    lacks: str = ""

    def flags(self) -> dict[str, Any]:
        """What `edgedistill build` is told, by the names of its settings; data, student and teacher aside."""
        told: dict[str, Any] = {
            "method": self.method,
            "epochs": self.epochs,
            "views": self.views,
            "view_targets": self.view_targets,
            "prompt_weights": self.prompt_weights,
            "input_size": self.input_size,
        }
        return told | ({"select": self.select} if self.select else {})


# ---- the table -------------------------------------------------------------------------------------------------------

OPTIMISER = (
    "the tool's own AdamW with its default rates and batch (a warm-up over 5 % of the steps, then a cosine), the "
    "average of the weights after the last epoch"
)
LABELLED_START = "published weights of timm were trained with ImageNet labels, so a start from scratch is run beside"
QUOTED = "as the paper quotes it; where from is not said in the abstract"
OPEN_CLIP = "open_clip, docs/openclip_results.csv"


def _both(*students: str) -> tuple[Run, ...]:
    return tuple(Run(student, start) for student in students for start in ("none", "auto"))


_PRG_PAPER = (
    "no annotation, a CLIP teacher, logits averaged over prompts with weights, a graph of images and class proxies "
    "aligned by nodes and by edges (abstract). Students, epochs, resolution and augmentation are not known to us"
)
_PRG = (
    Protocol(
        name="prg-cifar100",
        arxiv="2408.12248",
        data="CIFAR-100",
        layout="cifar100",
        runs=_both("resnet18", "mobilenetv2_100"),
        templates="cifar",
        epochs=240,
        views=8,
        input_size=128,
        recipe="not known to us",
        papers=_PRG_PAPER,
        ours=f"the teacher (the quoted figure fits OpenAI's ViT-L/14), students, 240 epochs, 128 px, {OPTIMISER}; "
        f"{LABELLED_START}",
        published=(
            Published("PRG's student, network not known to us", "76.23", TOP1, "abstract of arXiv 2408.12248"),
            Published("PRG's CLIP teacher", "77.9", TOP1, f"the same, {QUOTED}"),
            Published("CLIP ViT-L-14/openai, zero-shot", "75.82", TOP1, OPEN_CLIP),
        ),
    ),
    Protocol(
        name="prg-imagenet",
        arxiv="2408.12248",
        data="ImageNet-1K",
        layout="imagenet",
        runs=_both("resnet50", "mobilenetv3_large_100"),
        templates="imagenet",
        epochs=100,
        views=8,
        recipe="not known to us",
        papers=_PRG_PAPER,
        ours=f"the teacher (the quoted figure fits OpenAI's ViT-L/14), students, 100 epochs, 224 px, {OPTIMISER}; "
        f"{LABELLED_START}: here these are the labels of this very set",
        published=(
            Published("PRG's student, network not known to us", "72.44", TOP1, "abstract of arXiv 2408.12248"),
            Published("PRG's CLIP teacher", "75.3", TOP1, f"the same, {QUOTED}"),
            Published("CLIP ViT-L-14/openai, zero-shot", "75.54", TOP1, OPEN_CLIP),
        ),
    ),
)

_PROMPTKD = Protocol(
    name="promptkd",
    arxiv="2403.02781",
    data="",
    runs=(Run("vit-b16-prompted", "auto"), *_both("mobilenetv3_large_100")),
    method="kd",
    options=("tau=1.0",),
    epochs=20,
    views=16,
    view_targets="match",
    prompt_weights="uniform",
    halves=True,
    recipe="SGD 0.005, momentum 0.9, weight decay 5e-4, batch 8, 20 epochs on a cosine after one at 1e-5; crops of 8 "
    "to 100 % of the area, mirrored; the best epoch by labels of the test split (public code)",
    papers="class vectors of all classes from the teacher's text tower, KL at temperature 1 and nothing else, a "
    "two-layer projector, the same crop into both models, 20 epochs, all training images without labels; the student "
    "vit-b16-prompted",
    ours="the teacher is plain CLIP without any label (the paper's is PromptSRC, tuned with 16 labelled shots a base "
    f"class); crops of 35 to 100 % from a fixed set of views; {OPTIMISER}: no epoch is chosen by labels. KL weighs 1 "
    "for any number of classes (in the public code 1000/C, or 200/C). The small student trains whole; "
    f"{LABELLED_START}",
    published=(),
)

_PROMPTS = "the prompt is the one that the public code of CoOp (arXiv 2109.01134) gives plain CLIP for this set"
# Name: data; template; HM of CLIP B/16; the PromptSRC teacher, and PromptKD, base / novel / HM; and, where the paper
# has it, teacher and student across data sets: that teacher saw labels of ImageNet alone.
_ELEVEN: dict[str, tuple[str, str, str, str, str, str]] = {
    "imagenet": ("ImageNet-1K", "", "70.22", "83.24 / 76.83 / 79.91", "80.83 / 74.66 / 77.62", ""),
    "caltech": (
        "Caltech101",
        "a photo of a {}.",
        "95.40",
        "98.71 / 98.03 / 98.37",
        "98.91 / 96.65 / 97.77",
        "95.61 93.61",
    ),
    "pets": (
        "OxfordPets",
        "a photo of a {}, a type of pet.",
        "94.12",
        "96.86 / 98.82 / 97.83",
        "96.30 / 98.01 / 97.15",
        "94.19 91.59",
    ),
    "cars": (
        "StanfordCars",
        "a photo of a {}.",
        "68.65",
        "84.53 / 84.25 / 84.39",
        "82.80 / 83.37 / 83.13",
        "77.70 73.93",
    ),
    "flowers": (
        "Flowers102",
        "a photo of a {}, a type of flower.",
        "74.83",
        "99.05 / 82.60 / 90.08",
        "99.42 / 82.62 / 90.24",
        "77.54 75.33",
    ),
    "food": (
        "Food101",
        "a photo of {}, a type of food.",
        "90.66",
        "94.56 / 95.15 / 94.85",
        "92.43 / 93.68 / 93.05",
        "91.59 88.84",
    ),
    "aircraft": (
        "FGVC Aircraft",
        "a photo of a {}, a type of aircraft.",
        "31.09",
        "54.44 / 43.07 / 48.09",
        "49.12 / 41.81 / 45.17",
        "31.29 26.24",
    ),
    "sun": ("SUN397", "a photo of a {}.", "72.23", "84.97 / 81.09 / 82.98", "83.69 / 81.54 / 82.60", "70.86 68.57"),
    "dtd": ("DTD", "{} texture.", "56.37", "85.76 / 70.65 / 77.48", "85.84 / 71.37 / 77.94", "56.32 55.08"),
    "eurosat": (
        "EuroSAT",
        "a centered satellite photo of {}.",
        "60.03",
        "94.79 / 83.15 / 88.59",
        "97.54 / 82.08 / 89.14",
        "47.55 63.74",
    ),
    "ucf": (
        "UCF101 (middle frames)",
        "a photo of a person doing {}.",
        "73.85",
        "89.50 / 82.26 / 85.73",
        "89.71 / 82.27 / 86.10",
        "76.20 76.39",
    ),
}


def _promptkd(name: str) -> Protocol:
    data, template, clip, teacher, student, across = _ELEVEN[name]
    tables = "tables 1 and 10" if name == "imagenet" else "table 1 and its supplement"
    tables += "; as printed there: the harmonic mean of the two is 85.83" if name == "ucf" else ""
    found = [
        Published("PromptKD, CLIP ViT-B/16 with prompts, 3 runs", student, THREE, f"arXiv 2403.02781, {tables}"),
        Published("its teacher, PromptSRC ViT-L/14, 16 labelled shots", teacher, THREE, "the same"),
        Published("CLIP ViT-B/16, zero-shot", clip, "HM, %", "the same"),
    ]
    if across:
        its, own = across.split()
        told = "the same, tables 2 and 11"
        found.append(Published("PromptKD, teacher tuned on ImageNet alone, all classes", own, TOP1, told))
        found.append(Published("that teacher, all classes", its, TOP1, told))
    if name == "imagenet":
        few = "64 images a class"
        found.append(
            Published(f"PromptKD, plain CLIP as teacher, {few}", "76.53 / 72.58 / 74.50", THREE, "the same, table 6")
        )
        found.append(Published("that teacher, CLIP ViT-L/14", "79.18 / 74.03 / 76.52", THREE, "the same, table 6"))
        return replace(
            _PROMPTKD,
            name=f"promptkd-{name}",
            data=data,
            layout="imagenet",
            templates="imagenet",
            views=8,
            published=tuple(found),
        )
    return replace(
        _PROMPTKD,
        name=f"promptkd-{name}",
        data=data,
        templates=(template,),
        ours=f"{_PROMPTKD.ours}; {_PROMPTS}",
        published=tuple(found),
    )


_EIKD = Protocol(
    name="eikd-cifar10",
    arxiv="2302.08771",
    data="CIFAR-10, with unlabelled photos from elsewhere (--pool)",
    layout="cifar10",
    open_pool=True,
    runs=_both("resnet18"),
    templates="cifar",
    method="eikd",
    epochs=240,
    views=8,
    input_size=128,
    select="0.5",
    recipe="not known to us",
    papers="the original training images are not used; unlabelled images are selected instead of generated; classes "
    "are dropped against label noise; explicit features and implicit relations are distilled (abstract). The teacher "
    "there is a supervised CNN, not CLIP",
    ours=f"a CLIP teacher, the better half of whatever photos are given, 240 epochs, 128 px, {OPTIMISER}; "
    f"{LABELLED_START}. No figure below is of a CLIP teacher, so none is a goal",
    published=(
        Published("EIKD", "not available to us", TOP1, "arXiv 2302.08771, the abstract has no figure"),
        Published("DFND, ResNet-18 from a supervised ResNet-34 of 95.34", "94.78", TOP1, "MMRazor's README"),
    ),
)

_DATA_FREE = Protocol(
    name="data-free",
    arxiv="2407.15155",
    data="",
    runs=_both("mobilenetv3_large_100"),
    method="data-free",
    epochs=100,
    views=8,
    recipe="not known to us",
    papers="images are made from class names with a VQGAN under CLIP, with diversified prompts, then CLIP is distilled "
    "into a compact student on them (abstract and summaries). Networks and figures are not known to us",
    ours="everything else; images are made under the teacher itself and not with a VQGAN, and the check set would be "
    "the real photos of all domains",
    published=(
        Published("data-free distillation with diverse prompts", "not available to us", TOP1, "arXiv 2407.15155"),
    ),
    lacks="a run without photos; benchmarks/data_free.py has such runs, on PACS and with the example's teacher",
)

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        *_PRG,
        *(_promptkd(name) for name in _ELEVEN),
        _EIKD,
        *(
            replace(_DATA_FREE, name=f"data-free-{data.lower()}", data=data + more)
            for data, more in (("PACS", ""), ("VLCS", ""), ("VisDA", "-2017"))
        ),
    )
}
"""Name -> protocol, in the order of the page."""


def find(name: str) -> Protocol:
    """The protocol of that name. Raises InputError with those of near names."""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    near = get_close_matches(name, PROTOCOLS, n=3, cutoff=0.6)
    raise InputError(
        f"no protocol is called {name!r}", f"Did you mean {' or '.join(near)}?" if near else "--list names them all."
    )


# ---- the listing -----------------------------------------------------------------------------------------------------

HEAD = ("", "figure", "unit", "source")


def lines_of(protocol: Protocol, results: Path = RESULTS) -> list[tuple[str, str, str, str]]:
    """The protocol's table: what was published, then our teacher and every student of ours, as `HEAD` names them."""
    found = [(one.what, one.figure, one.unit, one.source) for one in protocol.published]
    measured = _measured(results / f"reproduce_{protocol.name.replace('-', '_')}.json")
    source = "this tool"
    unit = THREE if protocol.layout == "imagenet" and protocol.halves else TOP1
    if protocol.halves and protocol.layout != "imagenet":
        unit = f"{THREE} (with --split; without: {TOP1})"
    for title, own in (
        (f"teacher {protocol.teacher}", "teacher"),
        *((run.title, run.title) for run in protocol.runs),
    ):
        told = _cell(measured, f"{protocol.name}/{own}")
        found.append((f"ours: {title}", told, unit, source))
    return found


def _measured(path: Path) -> Mapping[str, float]:
    """Figure -> value of the rows that were run here with nothing of the protocol changed."""
    if not path.exists():
        return {}
    lines = json.loads(path.read_text(encoding="utf-8"))
    return {line["figure"]: line["value"] for line in lines if line["value"] is not None and not line["changed"]}


def _cell(measured: Mapping[str, float], prefix: str) -> str:
    for figures in (HALVES, ("top-1",)):
        values = [measured.get(f"{prefix} {figure}", math.nan) for figure in figures]
        if not any(map(math.isnan, values)):
            return " / ".join(f"{100 * value:.2f}" for value in values)
    return NOT_RUN


def facts_of(protocol: Protocol) -> list[tuple[str, str]]:
    """What else is to be said of it, as (what, text)."""
    templates = protocol.templates if isinstance(protocol.templates, str) else ", ".join(protocol.templates)
    told = [f"--{key.replace('_', '-')} {value}" for key, value in protocol.flags().items()]
    told += [f"--option {option}" for option in protocol.options]
    return [
        ("paper", f"arXiv {protocol.arxiv}"),
        ("data", protocol.data),
        ("teacher", f"{protocol.teacher}, prompts: {templates}"),
        ("the paper trains with", protocol.recipe),
        ("`edgedistill build` is told", " ".join(told)),
        ("the paper's", protocol.papers),
        ("ours", protocol.ours),
        *([("cannot be run yet", f"reproduce.py lacks {protocol.lacks}")] if protocol.lacks else []),
    ]


def listing(protocols: Iterable[Protocol] = PROTOCOLS.values(), results: Path = RESULTS) -> str:
    """All of it as plain text."""
    return "\n\n".join(
        "\n".join(
            [
                protocol.name,
                *(_wrapped(f"  {what.replace('`', '')}: {text}", 120, "      ") for what, text in facts_of(protocol)),
                *_columns([HEAD, *lines_of(protocol, results)]),
            ]
        )
        for protocol in protocols
    )


def _wrapped(text: str, width: int, indent: str) -> str:
    return textwrap.fill(text, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def _columns(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines)]
    return [
        ("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths))).rstrip().replace("`", "")
        for line in lines
    ]


_PAGE = """# Protocols of papers

Figures that others published, and the same experiment with this tool. This page is made by
`python benchmarks/reproduce.py --list --markdown`. A figure of ours comes from a run on the full public data set; where
there was no such run it says "{not_run}". What differs from the paper stands below each table, so a row of ours is no
place in a ranking of the published ones.

```sh
python benchmarks/reproduce.py --list
python benchmarks/reproduce.py prg-cifar100 --data cifar-100-python --json prg_cifar100.json
python benchmarks/reproduce.py promptkd-pets --data oxford_pets/images --split split_zhou_OxfordPets.json
```

Data is read from where you keep it and never fetched. The teacher is measured first, on the whole test split and with
the protocol's own prompts; only then a student trains, without labels, to its last epoch. The pool is the training
split without files that are in the test split, too; the build leaves out near-copies of its check images. Equal test
files count once.
"""


def page(results: Path = RESULTS) -> str:
    """docs/reproduce.md."""
    parts = [_PAGE.format(not_run=NOT_RUN)]
    for protocol in PROTOCOLS.values():
        table = [HEAD, ("---",) * len(HEAD), *lines_of(protocol, results)]
        rows = "\n".join(f"| {' | '.join(line)} |" for line in table)
        facts = "\n".join(_wrapped(f"- **{what}:** {text}", 130, "  ") for what, text in facts_of(protocol))
        parts.append(f"## {protocol.name}\n\n{rows}\n\n{facts}\n")
    return "\n".join(parts)
