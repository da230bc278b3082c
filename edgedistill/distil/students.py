"""The student: a timm backbone, and a projector from its features into the teacher's text-image space.

    image uint8 [N,S,S,3] RGB -> f [N,d] pooled feature -> h [N,D] projected, not yet normalised

Where its weights come from is decided once, before anything is trained (`plan`): the timm hub, a folder with
`student.safetensors` + `student.json`, or scratch. The answer comes with its reason, for the report.
The two files are also what a finished training leaves and what a bundle carries; nothing is pickled.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ..errors import InputError
from ..teacher import hub
from ..teacher.torchvision_ops import ensure_torchvision
from ..work import atomic

ensure_torchvision()
import timm  # noqa: E402

log = logging.getLogger(__name__)

FORMAT = 1
WEIGHTS, CARD = "student.safetensors", "student.json"
_TIMM_FILES = ("model.safetensors", "pytorch_model.bin")


class Student(nn.Module):
    """timm `name` without its classifier, then Linear(d,hidden) -> BN -> ReLU -> Linear(hidden,dim) (depth 2).

    Two layers beat one and three in PromptKD's ablation (arXiv 2403.02781). `hidden` defaults to `dim`. The BN before
    the last Linear keeps |h| from drifting: the loss sees only h/|h|, so a growing |h| would shrink every step.
    `mean` and `std` are of pixels in 0..1. `width` is d, found by a forward pass at `size` (timm's `num_features` is
    not it for every network). `pretrained` says whether the backbone's weights were learned somewhere: training is
    gentler with those, and holds their BatchNorm statistics.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        dim: int,
        *,
        size: int = 224,
        depth: Literal[1, 2] = 2,
        hidden: int | None = None,
        kwargs: dict[str, Any] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        self.name, self.dim, self.depth, self.kwargs = name, dim, depth, dict(kwargs or {})
        self.pretrained = weights is not None
        self.backbone = _backbone(name, self.kwargs, weights)
        self.width = _width(self.backbone, name, size)
        self.hidden = hidden or dim
        self.projector = projector(self.width, dim, depth, self.hidden)
        preprocessing = _config(self.backbone)
        self.register_buffer("mean", torch.tensor(mean or preprocessing["mean"]), persistent=False)
        self.register_buffer("std", torch.tensor(std or preprocessing["std"]), persistent=False)

    def normalise(self, image: Tensor) -> Tensor:
        """uint8 [N,S,S,3] -> float32 [N,3,S,S], channels last in memory. Cast first: TensorRT takes no other order."""
        pixels = image.float().permute(0, 3, 1, 2) / 255
        return (pixels - self.mean[:, None, None]) / self.std[:, None, None]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        f = self.backbone(self.normalise(image))
        return f, self.projector(f)


def projector(width: int, dim: int, depth: Literal[1, 2], hidden: int) -> nn.Sequential:
    """[.,width] -> [.,dim]; one Linear (depth 1), or two with BN and ReLU between them."""
    if depth == 1:
        return nn.Sequential(nn.Linear(width, dim))
    return nn.Sequential(nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, dim))


def _backbone(name: str, kwargs: dict[str, Any], weights: Path | None) -> nn.Module:
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        raise InputError(
            f"timm {timm.__version__} has no model {name!r}",
            f"Did you mean {', '.join(near)}?" if near else "timm.list_models() names them all.",
        )
    overlay = {"file": str(weights)} if weights else None
    try:
        return timm.create_model(
            name, pretrained=weights is not None, pretrained_cfg_overlay=overlay, num_classes=0, **kwargs
        )
    except (TypeError, AssertionError) as error:
        raise InputError(
            f"timm cannot build {name!r} with {kwargs}: {error}", "Choose another --student, or correct its kwargs."
        ) from error


def _config(backbone: nn.Module) -> dict[str, Any]:
    """timm's description of the weights: mean, std, input size."""
    return cast("dict[str, Any]", backbone.pretrained_cfg)


@torch.no_grad()
def _width(backbone: nn.Module, name: str, size: int) -> int:
    """d, by a forward pass of one grey image at the size the student will run at."""
    training = backbone.training
    try:
        out = backbone.eval()(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        wants = _config(backbone).get("input_size", ("?",))[-1]
        raise InputError(
            f"student {name!r} does not take {size} px images: {str(error).splitlines()[0]}",
            f"It was made for {wants} px: try --input-size {wants}, or another --student.",
        ) from error
    finally:
        backbone.train(training)
    if out.ndim != 2:
        raise InputError(
            f"student {name!r} gives features of shape {list(out.shape)}, not one vector an image",
            "Choose a student that pools its features: any of timm's classification networks.",
        )
    return int(out.shape[1])


# ---- where the weights come from -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The student to train and the weights it starts from, decided before any work is done.

    `source`: "hub" (`weights` is a file of timm's), "folder" (`weights` is a folder of ours) or "scratch".
    `reason` is a phrase for the manifest: it names no path of this machine and nothing that passes, such as a hub that
    did not answer. `input_size` is what was asked for, None if nothing was.
    """

    name: str
    source: Literal["hub", "folder", "scratch"]
    reason: str
    weights: Path | None = None
    sha256: str | None = None
    input_size: int | None = None
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def licence(self) -> str:
        """Of the weights it starts from, as their publisher states it."""
        if self.source == "scratch":
            return "none: no weights but our own training"
        published = timm.get_pretrained_cfg(self.name) if self.source == "hub" else None
        stated = self.card.get("licence") if published is None else published.license
        return stated or "unknown: see where the weights come from"

    @property
    def key(self) -> dict[str, Any]:
        """What the trained student depends on here, for a stage's inputs: no path, no time."""
        return {"student": self.name, "start": self.source, "weights": self.sha256, "card": self.card}


def plan(student: str | None, weights: str, default: str, input_size: int | None = None) -> Plan:
    """Resolve --student and --student-weights: which network, and which weights it really can have here and now.

    `weights` is "auto" (timm's hub weights; scratch, with a warning, where they cannot be had), "none" (scratch) or a
    folder with student.json and student.safetensors. `default` is the profile's student. Raises InputError for an
    unusable folder and for a `student` unlike the folder's.
    """
    if weights not in ("auto", "none"):
        folder = Path(weights)
        card = read_card(folder)
        if student is not None and student != card["name"]:
            raise InputError(
                f"--student is {student!r}, but {folder / CARD} is a {card['name']!r}",
                "Leave --student out, or point --student-weights at weights of that network.",
            )
        return Plan(
            name=card["name"],
            source="folder",
            reason=f"weights of {card['name']} from {folder.resolve().name}",
            weights=folder,
            sha256=atomic.sha256_file(folder / WEIGHTS),
            input_size=input_size,
            card=card,
        )
    name = student or default
    if weights == "none":
        return Plan(name=name, source="scratch", reason=f"{name} from scratch, as asked", input_size=input_size)
    try:
        repo, file = _hub_weights(name)
    except hub.HubUnavailable as error:
        log.warning("no pretrained weights for the student %s (%s): it starts from scratch", name, error)
        return _without_weights(name, input_size)
    return _with_hub_weights(name, repo, file, input_size)


def plan_again(name: str, source: str, sha256: str | None, input_size: int | None = None) -> Plan:
    """The plan that "auto" once made, whatever the hub says now: `source` "hub" or "scratch", with the weights' hash.

    Raises InputError where those weights cannot be had any more, or have become others.
    """
    if source == "scratch":
        return _without_weights(name, input_size)
    remedy = "Give --student-weights, or another --work to begin anew with what can be had now."
    try:
        found = _with_hub_weights(name, *_hub_weights(name), input_size)
    except hub.HubUnavailable as error:
        raise InputError(
            f"this work folder's {name} started from timm's weights, and now they cannot be had: {error}", remedy
        ) from error
    if found.sha256 != sha256:
        raise InputError(f"timm's weights of {name} are others than this work folder's {name} started from", remedy)
    return found


def _without_weights(name: str, input_size: int | None) -> Plan:
    reason = f"{name} from scratch: no pretrained weights could be had"
    return Plan(name=name, source="scratch", reason=reason, input_size=input_size)


def _with_hub_weights(name: str, repo: str, file: Path, input_size: int | None) -> Plan:
    return Plan(
        name=name,
        source="hub",
        reason=f"{name} with timm's weights {repo}",
        weights=file,
        sha256=atomic.sha256_file(file),
        input_size=input_size,
    )


def _hub_weights(name: str) -> tuple[str, Path]:
    """(hub repository, local file) of timm's default weights. Raises hub.HubUnavailable with the reason."""
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if config is None or not config.hf_hub_id:
        raise hub.HubUnavailable(f"timm publishes none for {name}")
    return config.hf_hub_id, hub.fetch(config.hf_hub_id, _TIMM_FILES)


def create_student(start: Plan, dim: int, teacher_hash: str, *, size: int, seed: int = 0) -> tuple[Student, bool]:
    """The planned student with a projector to `dim`, and whether that projector came trained for this very teacher.

    Only then does the untrained start mean something. Fresh weights depend on `seed` alone; torch's own random state
    is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if start.source == "folder":
            assert start.weights is not None
            return load_student(start.weights, dim=dim, teacher_hash=teacher_hash, size=size)
        return Student(start.name, dim, size=size, weights=start.weights), False


# ---- the two files ---------------------------------------------------------------------------------------------------


def save_student(
    folder: Path,
    student: Student,
    *,
    teacher_id: str,
    teacher_hash: str,
    size: int,
    half: bool = False,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write student.safetensors (float32, or float16 with `half`) and student.json into `folder`, each whole.

    Same weights, same bytes. `extra` is added to student.json as it is. Raises ValueError where float16 would overflow.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in student.state_dict().items()}
    if half:
        state = {name: v.half() if v.is_floating_point() else v for name, v in state.items()}
        broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
        if broken:
            raise ValueError(f"not representable in float16: {', '.join(broken)}")
    card = {
        "format": FORMAT,
        "name": student.name,
        "kwargs": student.kwargs,
        "projector": {"depth": student.depth, "hidden": student.hidden, "dim": student.dim},
        "preprocessing": {"mean": _rounded(student.mean), "std": _rounded(student.std), "size": size},
        "teacher": {"id": teacher_id, "hash": teacher_hash},
        **(extra or {}),
    }
    atomic.write_bytes(folder / WEIGHTS, save(state))
    atomic.write_json(folder / CARD, card)


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 6) for value in values.tolist()]


def read_card(folder: Path) -> dict[str, Any]:
    """student.json, checked. Raises InputError naming what is missing or wrong."""
    path = folder / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"no {CARD} in {folder}", f"--student-weights takes a folder with {WEIGHTS} and {CARD}, as a bundle has."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable JSON: {error}", "Take the folder as edgedistill wrote it.") from error
    problem = _card_problem(card)
    if problem:
        raise InputError(f"{path}: {problem}", "Take the folder as edgedistill wrote it.")
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"no {WEIGHTS} beside {path}", "Take the folder as edgedistill wrote it.")
    return card


def _card_problem(card: Any) -> str | None:
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        return f"not a student card of format {FORMAT}"
    if not isinstance(card.get("name"), str) or not isinstance(card.get("kwargs", {}), dict):
        return "name must be a string and kwargs an object"
    preprocessing = card.get("preprocessing")
    if not isinstance(preprocessing, dict):
        return "preprocessing is missing"
    for key in ("mean", "std"):
        values = preprocessing.get(key)
        if not isinstance(values, list) or len(values) != 3 or not all(isinstance(v, (int, float)) for v in values):
            return f"preprocessing.{key} must be three numbers"
    layout = card.get("projector")
    if layout is not None:
        if not isinstance(layout, dict) or layout.get("depth") not in (1, 2):
            return "projector.depth must be 1 or 2"
        if not all(isinstance(layout.get(key), int) and 0 < layout[key] <= 65536 for key in ("hidden", "dim")):
            return "projector.hidden and projector.dim must be whole numbers above 0"
        if not isinstance(card.get("teacher"), dict) or not isinstance(card["teacher"].get("hash"), str):
            return "teacher.hash is missing, so its projector has no meaning"
    return None


def load_student(folder: Path, *, dim: int, teacher_hash: str, size: int) -> tuple[Student, bool]:
    """The student in `folder` as float32, and whether its projector was made for this teacher and kept.

    A projector made for another teacher (other hash or width) leads into another space: it is dropped with a warning
    and a fresh one drawn from torch's random state. Raises InputError where the files do not fit each other.
    """
    card = read_card(folder)
    layout = card.get("projector")
    kept = layout is not None and layout["dim"] == dim and card["teacher"]["hash"] == teacher_hash
    if layout is not None and not kept:
        made_for = card["teacher"].get("id") or card["teacher"]["hash"][:12]
        log.warning("the projector in %s was made for another teacher (%s): a fresh one is used", folder, made_for)
    student = Student(
        card["name"],
        dim,
        size=size,
        depth=layout["depth"] if kept and layout else 2,
        hidden=layout["hidden"] if kept and layout else None,
        kwargs=card.get("kwargs", {}),
        mean=card["preprocessing"]["mean"],
        std=card["preprocessing"]["std"],
    )
    try:
        state = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{folder / WEIGHTS} is damaged: {error}", "Fetch or make the folder again.") from error
    if not kept:
        state = {name: value for name, value in state.items() if not name.startswith("projector.")}
        state |= {f"projector.{name}": value for name, value in student.projector.state_dict().items()}
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise InputError(f"{folder / WEIGHTS} holds values that are not finite: {broken[0]}", "Make the folder again.")
    try:
        student.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    except RuntimeError as error:
        raise InputError(
            f"{folder / WEIGHTS} is not the network of its {CARD}: {str(error).splitlines()[-1].strip()}",
            "Take both files from the same place.",
        ) from error
    student.pretrained = True
    return student, kept
