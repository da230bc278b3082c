"""What every distillation method is: a frozen set of options, a `prepare` that runs once, and a pure loss.

Two things a method may have beside: parameters of its own that learn with the student (`State.trained`), and memory
of the steps before (`State.moving`), which `advance` renews after a step. Both lie in the state, so that a checkpoint
keeps them and a recorded step finds them in their place.

Shapes (one legend for the whole package):

    B batch, C classes, P prompts, D teacher joint space, d student backbone width
    f [B,d]  student pooled feature        h [B,D]  projector output        g = h/|h|
    u [B,D]  teacher feature of the very view the student saw, unit norm
    W [C,D]  class vectors (what is exported), s = exp(logit_scale)
    weight [B]  how much a row counts (None: all alike)
    prompt_class [B]  the class an image was made to show (-1: unknown)
    zt = s·u·Wᵀ, zs = s·g·Wᵀ [B,C]  teacher and student logits

A method reads no pixels, calls no teacher and keeps nothing outside its state; all loss arithmetic is float32 (float64
stays float64, for the gradient checks), in autocast too. The loop knows no method by name.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ... import records
from ...choices import Norm, ViewTargets
from ...errors import EdgeDistillError, InputError

if TYPE_CHECKING:
    from ...classes.class_vectors import ClassVectors
    from ...classes.text_bank import TextBank
    from ...teacher.store import TeacherStore

StateT = TypeVar("StateT", bound="State")

MASKED = -1e4
"""The logit, or the logarithm of a share, of what is not there: its share is exactly 0 and without a gradient. Unlike
−∞ it makes no NaN in a difference or where all is masked, and unlike −1e9 float16 holds it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What a method may learn from before the first step: the pool's stored features, prompts and class vectors.

    rows: int64, the rows of `store` that train; no other may be looked at. width: d of the student's pooled feature.
    mean_feature: float32 [D], the teacher's mean unit feature over a broad image set, where it comes with one.
    """

    store: TeacherStore
    rows: np.ndarray
    bank: TextBank
    classes: ClassVectors
    width: int
    mean_feature: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class StudentOut:
    """The student's output for one batch. `row` and `view` [B] int64 name the store entries that it saw."""

    f: Tensor
    h: Tensor
    g: Tensor
    row: Tensor
    view: Tensor

    @classmethod
    def of(cls, f: Tensor, h: Tensor, row: Tensor, view: Tensor) -> StudentOut:
        """Normalises h in full precision: half loses F.normalize's epsilon."""
        h = in_float32(h)
        return cls(f=in_float32(f), h=h, g=F.normalize(h, dim=-1), row=row, view=view)


@dataclass(frozen=True, kw_only=True)
class TeacherOut:
    """What the store holds of the same batch: u of the view, the mean over views (None: not read), and, of a store that
    has them (teacher/row_facts.py), float32 weights and int64 prompt classes of the rows."""

    u: Tensor
    u_mean: Tensor | None = None
    weight: Tensor | None = None
    prompt_class: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """Those that are there, in one order."""
        return [value for value in vars(self).values() if value is not None]

    def map(self, change: Callable[[Tensor], Tensor]) -> TeacherOut:
        """What `change` makes of each."""
        there = {name: change(value) for name, value in vars(self).items() if value is not None}
        return dataclasses.replace(self, **there)


@dataclass(frozen=True, kw_only=True)
class State:
    """What `prepare` made. Every method needs at least the exported head."""

    trained: ClassVar[tuple[str, ...]] = ()
    """Fields that learn with the student, at the projector's rate. They are not exported."""
    moving: ClassVar[tuple[str, ...]] = ()
    """Fields that `advance` changes in place."""

    head: Tensor
    scale: float

    @classmethod
    def of(cls: type[StateT], classes: ClassVectors, **more: Tensor) -> StateT:
        """With the exported head, and whatever else the state of this method holds."""
        return cls(head=torch.tensor(classes.baked), scale=float(classes.scale), **more)

    def to(self: StateT, device: torch.device) -> StateT:
        """On the device, `trained` fields as leaves that take a gradient."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        moved |= {name: moved[name].detach().clone().requires_grad_() for name in self.trained}
        return dataclasses.replace(self, **moved)  # type: ignore[arg-type]  # mypy takes a name for `scale`

    def parameters(self) -> list[Tensor]:
        """What learns, in the order of `trained`."""
        return [getattr(self, name) for name in self.trained]

    def changing(self) -> dict[str, Tensor]:
        """All that steps change, by name."""
        return {name: getattr(self, name) for name in (*self.trained, *self.moving)}

    def logits(self, unit: Tensor) -> Tensor:
        """scale · unit · Wᵀ of unit features [B,D] -> [B,C], as the exported graph computes them."""
        return self.scale * unit @ self.head.to(unit.dtype).T


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a method's own source trains, where that is part of the method. None: as every other one. What the user asks
    for wins. `views`: how many of the store's views train, the centre view being the first. `fitted_head_lr`: in place
    of `head_lr` where the start's projector was made for this very teacher, and so is `fitted_interpolation`, else 1.
    `norm` and interpolation are TrainConfig's."""

    lr: float | None = None
    head_lr: float | None = None
    fitted_head_lr: float | None = None
    fitted_interpolation: float | None = None
    norm: Norm | None = None
    weight_decay: float | None = None
    epochs: int | None = None
    batch: int | None = None
    views: int | None = None
    view_targets: ViewTargets | None = None

    def rates(self, fitted: bool = False) -> dict[str, Any]:
        """What it states of rates, norm and interpolation, by their names in TrainConfig. `fitted`: whether the start's
        projector was made for this very teacher."""
        head_lr = self.fitted_head_lr if fitted and self.fitted_head_lr is not None else self.head_lr
        stated = {
            "lr": self.lr,
            "head_lr": head_lr,
            "weight_decay": self.weight_decay,
            "norm": self.norm,
            "interpolation": self.fitted_interpolation if fitted else None,
        }
        return {name: value for name, value in stated.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A method is a frozen dataclass of its options: int, float, bool, str, a Literal, a tuple of these, or None.

    The annotations are all that says which type and which words an option may be: they are checked here, for every
    method, and raise InputError.
    """

    name: ClassVar[str]
    recipe: ClassVar[Recipe] = Recipe()

    def __post_init__(self) -> None:
        records.conform(self, self.name)
        self.check()

    def check(self) -> None:  # noqa: B027 - most have nothing to check
        """Raise InputError for an option out of its range, or for options that do not go together."""

    def above_zero(self, *options: str, hint: str = "") -> None:
        """Raise InputError for one of these options that is not above 0."""
        self._in_range(options, lambda value: value > 0, f"It must be above 0{hint and '; '}{hint}.")

    def not_negative(self, *options: str, hint: str = "") -> None:
        """Raise InputError for one of these options that is below 0."""
        self._in_range(options, lambda value: value >= 0, f"It must be 0 or more{hint and '; '}{hint}.")

    def shares(self, *options: str) -> None:
        """Raise InputError for one of these options that is not between 0 and 1."""
        self._in_range(options, lambda value: 0 <= value <= 1, "It is a share: between 0 and 1.")

    def _in_range(self, options: tuple[str, ...], fits: Callable[[float], bool], todo: str) -> None:
        for option in options:
            if not fits(getattr(self, option)):
                raise InputError(f"{self.name}: {option} is {getattr(self, option)}", todo)

    @property
    def needs_mean(self) -> bool:
        """Whether `loss` reads `teacher.u_mean`."""
        return False

    @property
    def aims_at_words(self) -> bool:
        """Whether the target is what the prompts say, even where class vectors were refined or tuned."""
        return False

    @abstractmethod
    def prepare(self, material: Material) -> State:
        """What `loss` needs beside the batch; run once, before the first step. Raises InputError where the method
        cannot work with this many classes."""

    @abstractmethod
    def loss(self, student: StudentOut, teacher: TeacherOut, state: Any) -> dict[str, Tensor]:
        """The weighted parts and their sum under "total", each a scalar tensor. A pure function of its arguments."""

    def advance(self, student: StudentOut, teacher: TeacherOut, state: Any) -> None:  # noqa: B027 - most have no memory
        """Renew the `moving` fields of the state in place, after the step that this batch made. No value is read back:
        a GPU records it with the step."""


class NonFiniteLoss(EdgeDistillError):
    """A part of the loss is NaN or infinite."""


def view_loss(
    method: Method, student: StudentOut, teacher: TeacherOut, state: State, eta: float | Tensor
) -> dict[str, Tensor]:
    """(1−eta)·L(u) + eta·L(u_mean), part by part: L against this view's feature and against the mean of all views.

    eta 0 is the policy `match`, 1 is `mean`, between them `blend`. It is always the losses that are blended, never the
    targets: that is the definition, and it asks nothing of a method. For two methods it is also the same as training
    on one blended target, gradient by gradient: `kd`, with (1−eta)·softmax zt(u) + eta·softmax zt(u_mean), because KL
    is linear in the teacher's probabilities up to a constant, and `embedding`, with (1−eta)·u + eta·u_mean, because
    both distances are linear in u up to a constant. Nothing of the kind holds for a correlation (prg's edges) or a
    best class (its cross-entropy): there the student is pulled by two targets at once.

    A tensor `eta`, float64 [], is a blend whatever it holds: both losses are computed, and it is not read back.

    A method sees the mean as `teacher.u`; `student.view` still names the crop that the student saw. Leaves autocast:
    matrix products of a loss in bfloat16 would blur the logits by whole units at CLIP's scale.
    """
    with torch.autocast(student.h.device.type, enabled=False):
        blended = isinstance(eta, Tensor)
        if not blended and eta == 0:
            return method.loss(student, teacher, state)
        if teacher.u_mean is None:
            raise ValueError("the mean-view target needs teacher.u_mean")
        mean = method.loss(student, dataclasses.replace(teacher, u=teacher.u_mean), state)
        if not blended and eta == 1:
            return mean
        match = method.loss(student, teacher, state)
        return {part: _times(1 - eta, match[part]) + _times(eta, mean[part]) for part in match}


def _times(share: float | Tensor, part: Tensor) -> Tensor:
    """In the part's dtype: a number rounds like that by itself, a float64 tensor would widen the product."""
    return (share.to(part.dtype) if isinstance(share, Tensor) else share) * part


def in_float32(x: Tensor) -> Tensor:
    """x in float32, or as it is if it is float64."""
    return x if x.dtype == torch.float64 else x.float()


def summed(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parts behind their sum, as `loss` returns them."""
    return {"total": torch.stack(list(parts.values())).sum(), **parts}


def mean_of_rows(each: Tensor, weight: Tensor | None = None) -> Tensor:
    """Σ w_i·each_i / Σ w_i of values [B], so a row of weight 0 is not there; the plain mean without weights. 0 where
    every weight is 0."""
    if weight is None:
        return each.mean()
    weight = weight.to(each.dtype)
    share = weight / weight.sum().clamp_min(torch.finfo(each.dtype).tiny)  # first: a gradient times tiny⁻¹ overflows
    return (share * each).sum()


def kl(target_logits: Tensor, logits: Tensor, tau: float = 1.0, weight: Tensor | None = None) -> Tensor:
    """(τ²/B)·Σ_i Σ_c qt·(log qt − log qs) over rows [B,C]: never divided by C, so its weight is the same for any C.

    With weights [B] the mean over rows is a weighted one.
    """
    target = F.log_softmax(in_float32(target_logits) / tau, dim=-1)
    log_q = F.log_softmax(in_float32(logits) / tau, dim=-1)
    if weight is None:
        return tau**2 * F.kl_div(log_q, target, reduction="batchmean", log_target=True)
    return tau**2 * mean_of_rows(F.kl_div(log_q, target, reduction="none", log_target=True).sum(-1), weight)


def kl_over_batch(target_logits: Tensor, logits: Tensor, weight: Tensor | None = None) -> Tensor:
    """KL between softmaxes over the batch axis of [B,C], mean over columns: which images fit a class best.

    The mean over C is one over rows of the transposed block, so no weight depends on C. A row's weight [B] multiplies
    its share of every column: one of weight 0 is not there.
    """
    target, given = in_float32(target_logits).T, in_float32(logits).T
    if weight is None:
        return kl(target, given)
    share = weight.to(target.dtype).clamp_min(1e-30).log().masked_fill(weight == 0, MASKED)
    return (weight > 0).any() * kl(target + share, given + share)


def cosine_distance(u: Tensor, g: Tensor, weight: Tensor | None = None) -> Tensor:
    """mean_i (1 − ⟨u_i,g_i⟩) of unit rows [B,D], weighted by `weight` [B]."""
    return mean_of_rows(1 - (in_float32(u) * in_float32(g)).sum(-1), weight)


def check_finite(parts: dict[str, Tensor], where: str) -> dict[str, float]:
    """The parts as numbers. Raises NonFiniteLoss naming those that are not finite, and where."""
    values = dict(zip(parts, torch.stack([part.detach().float() for part in parts.values()]).tolist()))
    broken = [f"{name} = {value}" for name, value in values.items() if not abs(value) < float("inf")]
    if broken:
        raise NonFiniteLoss(
            f"the loss is not finite in {where}: {', '.join(broken)}",
            "Lower the learning rate or set the student's dtype to float32; if it stays, report it with metrics.jsonl.",
        )
    return values
