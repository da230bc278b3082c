"""The student: a timm backbone, and a projector from its features into the teacher's text-image space.

One student has no timm backbone: PromptKD's own, a frozen CLIP with tokens that learn (prompted_tower.py).

    image uint8 [N,S,S,3] RGB -> f [N,d] pooled feature -> h [N,D] projected, not yet normalised

Where its weights come from is decided once, before anything is trained (`plan`): the timm hub, a folder with
`student.safetensors` + `student.json`, or scratch. The weights are loaded on trial before the answer is given, which
comes with its reason, for the report. Nothing is pickled, and no pickle that holds more than weights is read.
"""

from __future__ import annotations

import logging
import pickle
import struct
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from .. import records
from ..errors import InputError, first_line, last_line
from ..targets.outside import Unfit
from ..targets.safetensors_header import read_header
from ..teacher import hub
from ..teacher.names import find_teacher
from ..teacher.torchvision_ops import ensure_torchvision
from ..work import atomic
from ..work.plain_path import plain_path
from .prompted_tower import DEFAULT_TOWER, PROMPTED, PromptedTower, TowerShape, prompted_tower
from .student_card import CARD, WEIGHTS, Card, Layout, MadeFor, Pixels, read_card

ensure_torchvision()
import timm  # noqa: E402

log = logging.getLogger(__name__)

_TIMM_FILES = ("model.safetensors", "pytorch_model.bin")
# What a damaged file makes torch.load raise, by where the damage is.
_UNREADABLE = (
    SafetensorError, OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, TypeError,
    AssertionError, ArithmeticError, MemoryError, struct.error, pickle.UnpicklingError,
)  # fmt: skip


class Student(nn.Module):
    """timm `name` without its classifier, then Linear(d,hidden) -> BN -> ReLU -> Linear(hidden,dim) (depth 2).

    Two layers beat one and three in PromptKD's ablation (arXiv 2403.02781); `layout` asks for others. The BN before
    the last Linear keeps |h| from drifting: the loss sees only h/|h|, so a growing |h| would shrink every step.
    `mean` and `std` are of pixels in 0..1, timm's for this network unless `see_as` changes them. `width` is d, found by
    a forward pass at `size` (timm's `num_features` is not it for every network). `weights` is a file of timm's.
    `pretrained` says whether what trains in the backbone was learned somewhere: training is gentler with that, and
    holds its BatchNorm statistics.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        dim: int,
        *,
        size: int = 224,
        kwargs: dict[str, Any] | None = None,
        layout: Layout | None = None,
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        self.name, self.dim, self.kwargs = name, dim, dict(kwargs or {})
        self.pretrained = weights is not None and name != PROMPTED  # a frozen tower's tokens are fresh
        self.backbone = _backbone(name, self.kwargs, weights)
        self.width = _width(self.backbone, name, size)
        self.depth: Literal[1, 2] = layout.depth if layout else 2
        self.hidden = layout.hidden if layout else dim
        self.projector = projector(self.width, dim, self.depth, self.hidden)
        preprocessing = _config(self.backbone)
        self.register_buffer("mean", torch.tensor(preprocessing["mean"]), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing["std"]), persistent=False)

    def see_as(self, pixels: Pixels) -> None:
        """Normalise images by these values from now on."""
        self.mean.copy_(torch.tensor(pixels.mean))
        self.std.copy_(torch.tensor(pixels.std))

    def requires_grad_(self, requires_grad: bool = True) -> Student:
        """As torch's, but a frozen tower never takes a gradient."""
        super().requires_grad_(requires_grad)
        if isinstance(self.backbone, PromptedTower):
            self.backbone.freeze()
        return self

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
    if name == PROMPTED:
        return _prompted(kwargs, weights)
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        raise InputError(
            f"timm {timm.__version__} has no model {name!r}",
            f"Did you mean {', '.join(near)}?" if near else "In Python, timm.list_models() names them all.",
        )
    try:
        if weights is None:
            return cast(nn.Module, timm.create_model(name, num_classes=0, **kwargs))
        return _with_weights(name, weights, num_classes=0, **kwargs)
    except (TypeError, AssertionError) as error:
        raise InputError(
            f"timm cannot build {name!r} with {kwargs}: {error}", "Choose another --student, or correct its kwargs."
        ) from error


def _prompted(kwargs: dict[str, Any], weights: Path | None) -> PromptedTower:
    """The tower of a CLIP's weights file, or with random weights. Raises InputError naming the file."""
    if weights is None:
        return prompted_tower(kwargs)
    remedy = "Fetch the file again, or name another CLIP with --student-weights."
    try:
        return prompted_tower(kwargs, _read_published(weights))
    except InputError as error:
        raise InputError(error.wrong, remedy) from error
    except RuntimeError as error:
        raise InputError(f"{weights} is not the tower of its CLIP: {last_line(error)}", remedy) from error


def _with_weights(name: str, weights: Path, **kwargs: Any) -> nn.Module:
    """timm's `name` with the weights of a file that timm published. Raises InputError naming the file."""
    overlay = {"state_dict": _read_published(weights)}
    try:
        network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **kwargs)
    except (RuntimeError, KeyError) as error:
        raise InputError(f"{weights} is not the network {name}: {last_line(error)}", _fetch_again(weights)) from error
    _config(network).pop("state_dict", None)  # a second copy of the weights, that every copy of the student would carry
    return cast(nn.Module, network)


def _read_published(weights: Path) -> dict[str, Tensor]:
    """The tensors of a hub file, by name; of a pickle, tensors are all that is read. Raises InputError naming it."""
    try:
        state = timm.models.load_state_dict(str(weights), weights_only=True)
    except _UNREADABLE as error:
        if weights.suffix == ".safetensors":
            raise InputError(f"{weights} is damaged: {last_line(error)}", _fetch_again(weights)) from error
        # torch's own message advises to read it without the guard.
        raise InputError(
            f"{weights} is damaged, or holds more than weights and could run code when read", _fetch_again(weights)
        ) from error
    for name, value in state.items():
        if not isinstance(value, Tensor) or not torch.isfinite(value).all():
            raise InputError(f"{weights} holds something else than finite numbers: {name}", _fetch_again(weights))
    return cast("dict[str, Tensor]", state)


def _fetch_again(weights: Path) -> str:
    cached = next((folder for folder in weights.parents if folder.name.startswith("models--")), weights)
    return f"Delete {cached} so that it is fetched again, or give --student-weights none."


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
            f"student {name!r} does not take {size} px images: {first_line(error)}",
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

    `source`: "hub" (`weights` is a file of timm's), "folder" (`weights` is a folder of ours), "tower" (`weights` is a
    file of a CLIP, and `card` says which part of it and how its images are normalised) or "scratch".
    `reason` is a phrase for the manifest: it names no path of this machine and nothing that passes, such as a hub that
    did not answer. `final` is False where the hub was out of reach: it may give another answer next time.
    """

    name: str
    source: Literal["hub", "folder", "tower", "scratch"]
    reason: str
    weights: Path | None = None
    sha256: str | None = None
    card: Card | None = None
    final: bool = True

    @property
    def licence(self) -> str:
        """Of the weights it starts from, as their publisher states it."""
        if self.source == "scratch":
            return "none: no weights but our own training"
        if self.card is not None:
            stated = self.card.licence
        else:
            published = timm.get_pretrained_cfg(self.name)
            stated = published.license if published is not None else None
        return stated or "unknown: see where the weights come from"

    @property
    def kwargs(self) -> dict[str, Any] | None:
        """Of the network, beside its name."""
        return self.card.kwargs if self.card else None

    @property
    def key(self) -> dict[str, Any]:
        """What the trained student depends on here, for a stage's inputs: no path, no time."""
        return {"student": self.name, "start": self.source, "weights": self.sha256, "card": records.plain(self.card)}


def plan(student: str | None, weights: str, default: str, size: int) -> Plan:
    """Resolve --student and --student-weights: which network, and which weights it really can have here and now.

    `weights` is "auto" (timm's hub weights; scratch, with a warning, where they cannot be had), "none" (scratch) or a
    folder with student.json and student.safetensors. For the prompted student it is that folder, or a CLIP whose tower
    it freezes, named as teachers are ("auto": ViT-B-16/openai). `default` is the profile's student, `size` that of its
    images.
    What is planned has been built once: raises InputError for damaged weights, weights of another network, a folder
    that cannot be used, a `student` unlike the folder's, an unknown network, and one that does not take `size`.
    """
    if (student or default) == PROMPTED and not (Path(weights) / CARD).is_file():
        return _tried(_from_tower(weights), size)
    if weights not in ("auto", "none"):
        return _tried(_from_folder(Path(weights), student), size)
    name = student or default
    if weights == "none":
        return _tried(Plan(name=name, source="scratch", reason=f"{name} from scratch, as asked"), size)
    try:
        found = _from_hub(name)
    except hub.HubUnavailable as error:
        final = isinstance(error, hub.NotOnHub)
        found = _tried(_without_weights(name, final), size)  # before the warning: a wrong name is told as that alone
        again = "" if final else ", and the next run asks again"
        log.warning("no pretrained weights for the student %s (%s): it starts from scratch%s", name, error, again)
        return found
    _with_weights(name, cast(Path, found.weights))  # with its classifier: only then timm insists on every tensor
    return _tried(found, size)


def plan_again(name: str, source: str, sha256: str | None) -> Plan:
    """The final plan that "auto" once made: `source` "hub", "tower" or "scratch", with the weights' hash.

    Raises InputError where those weights cannot be had any more, or have become others.
    """
    if source == "scratch":
        return _without_weights(name, final=True)
    remedy = "Give --student-weights, or another --work to begin anew with what can be had now."
    try:
        found = _from_tower("auto") if source == "tower" else _from_hub(name)
    except hub.HubUnavailable as error:
        raise InputError(
            f"this work folder's {name} started from timm's weights, and now they cannot be had: {error}", remedy
        ) from error
    if found.sha256 != sha256:
        raise InputError(f"the weights of {name} are others than those this work folder's started from", remedy)
    return found


def _tried(found: Plan, size: int) -> Plan:
    """The plan itself, once its student could be built. Raises InputError where it cannot."""
    card = found.card
    dim = card.projector.dim if card and card.projector else 1
    create_student(found, dim, card.teacher.hash if card and card.teacher else "", size=size)
    return found


def _from_folder(folder: Path, student: str | None) -> Plan:
    card = read_card(folder)
    if student is not None and student != card.name:
        raise InputError(
            f"--student is {student!r}, but {folder / CARD} is a {card.name!r}",
            "Leave --student out, or point --student-weights at weights of that network.",
        )
    return Plan(
        name=card.name,
        source="folder",
        reason=f"weights of {card.name} from {folder.resolve().name}",
        weights=folder,
        sha256=atomic.sha256_file(folder / WEIGHTS),
        card=card,
    )


def _from_tower(clip: str) -> Plan:
    """The prompted student on the image tower of a CLIP, "auto" being the paper's. Raises InputError."""
    if clip == "none":
        raise InputError(
            f"--student-weights none, but {PROMPTED} never trains its tower: it would see nothing",
            f"Leave it out, or name a CLIP as teachers are named ({DEFAULT_TOWER}, local-dir:FOLDER).",
        )
    try:
        files = find_teacher(DEFAULT_TOWER if clip == "auto" else clip)
    except InputError as error:
        raise InputError(
            f"the student {PROMPTED} needs the image tower of a CLIP: {error.wrong}",
            "Give --student-weights a CLIP that is here (local-dir:FOLDER) or a student's folder.",
        ) from error
    mean, std = ((r, g, b) for r, g, b in (files.preprocess["mean"], files.preprocess["std"]))
    return Plan(
        name=PROMPTED,
        source="tower",
        reason=f"{PROMPTED} on the frozen image tower of {files.id}",
        weights=files.weights,
        sha256=files.weight_hash,
        card=Card(
            name=PROMPTED,
            kwargs=records.plain(TowerShape.of(files)),
            preprocessing=Pixels(mean=mean, std=std, size=files.image_size),
            licence=files.licence,
        ),
    )


def _from_hub(name: str) -> Plan:
    """Raises hub.HubUnavailable with the reason; hub.NotOnHub where it is that timm publishes none."""
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if config is None or not config.hf_hub_id:
        raise hub.NotOnHub(f"timm publishes none for {name}")
    file = hub.fetch(config.hf_hub_id, _TIMM_FILES)
    reason = f"{name} with timm's weights {config.hf_hub_id}"
    return Plan(name=name, source="hub", reason=reason, weights=file, sha256=atomic.sha256_file(file))


def _without_weights(name: str, final: bool) -> Plan:
    reason = f"{name} from scratch: no pretrained weights could be had"
    return Plan(name=name, source="scratch", reason=reason, final=final)


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
        student = Student(start.name, dim, size=size, kwargs=start.kwargs, weights=start.weights)
        if start.card is not None:
            student.see_as(start.card.preprocessing)
        return student, False


# ---- the two files ---------------------------------------------------------------------------------------------------


def save_student(
    folder: Path,
    student: Student,
    *,
    teacher_id: str,
    teacher_hash: str,
    size: int,
    half: bool = False,
    licence: str | None = None,
) -> None:
    """Write student.safetensors (float32, or float16 with `half`) and student.json into `folder`, each whole.

    Same weights, same bytes. Raises ValueError where float16 would overflow.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in student.state_dict().items()}
    if half:
        state = {name: v.half() if v.is_floating_point() else v for name, v in state.items()}
        broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
        if broken:
            raise ValueError(f"not representable in float16: {', '.join(broken)}")
    card = Card(
        name=student.name,
        kwargs=student.kwargs,
        projector=Layout(depth=student.depth, hidden=student.hidden, dim=student.dim),
        preprocessing=Pixels(mean=_rounded(student.mean), std=_rounded(student.std), size=size),
        teacher=MadeFor(id=teacher_id, hash=teacher_hash),
        licence=licence,
    )
    atomic.write_bytes(folder / WEIGHTS, save(state))
    atomic.write_json(folder / CARD, card.to_json())


def _rounded(values: Tensor) -> tuple[float, float, float]:
    red, green, blue = (round(value, 6) for value in values.tolist())
    return red, green, blue


def load_student(folder: Path, *, dim: int, teacher_hash: str, size: int) -> tuple[Student, bool]:
    """The student in `folder` as float32, and whether its projector was made for this teacher and kept.

    A projector made for another teacher (other hash or width) leads into another space: it is dropped with a warning
    and a fresh one drawn from torch's random state. Raises InputError where the files do not fit each other.
    """
    card = read_card(folder)
    kept = card.fits(dim, teacher_hash)
    if card.teacher is not None and card.projector is not None and not kept:
        made_for = card.teacher.id or card.teacher.hash[:12]
        log.warning("the projector in %s was made for another teacher (%s): a fresh one is used", folder, made_for)
    student = Student(card.name, dim, size=size, kwargs=card.kwargs, layout=card.projector if kept else None)
    student.see_as(card.preprocessing)
    try:
        read_header(folder / WEIGHTS)
        with plain_path(folder / WEIGHTS) as plain:
            state = load_file(plain)
    except (SafetensorError, OSError, Unfit) as error:
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
            f"{folder / WEIGHTS} is not the network of its {CARD}: {last_line(error)}",
            "Take both files from the same place.",
        ) from error
    student.pretrained = True
    return student, kept
