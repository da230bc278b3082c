"""PRG: distil with a proxy relational graph (arXiv 2408.12248). Our reading of it, and the default method.

Only the paper's abstract is public to us: annotation-free; the teacher's logits are a weighted average over text
prompts; images and class proxies are nodes of a graph built for both models, aligned by nodes and by edges. Weights,
formulas of the edges and schedules are our choices:

    L      = L_node + α·L_edge + γ·L_ce
    L_node = KL(softmax z̃ ‖ softmax zs) + λ_f·(1 − ⟨u,g⟩)          z̃_ic = Σ_p w_p·s·⟨u_i,T_cp⟩
    L_edge = mean over the edge blocks of one comparison of At (teacher) and As (student)
             E1  image to class proxy   At = u·Πᵀ, As = g·Πᵀ       [B,C]
             E3  image to image         At = u·uᵀ, As = g·gᵀ       [B,B], diagonal removed
             corr  (1 − Pearson) of rows + of columns; E3, being symmetric, has its rows only
             col   KL over the batch axis at τe, mean over columns: which images fit a class best
             row   KL over a row at τe, mean over rows             mse   ω·mean (At − As)²
    L_ce   = CE(argmax z̃, zs), on all rows or on those the teacher is sure of

The prompt weights w are those of the class vectors (`--prompt-weights`), before any refinement: the average of the
prompts' logits is the logit of the averaged vectors, so z̃ = s·u·textᵀ costs one matrix product. Teacher proxies Π
(`proxies`): PT1 the normalised prompt mean, PT2 Σ_p w_p·T_cp. The student's proxies are the same frozen vectors.

With E1, s·As *are* the logits of such proxies: `row` at τe = 1/s is exactly KD and `mse` is logit MSE, so with E1 alone
PRG would be KD plus cosine: a warning says so. The default (E1 + E3, corr) adds columns, image pairs, and a comparison
that no scale enters.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import InputError
from .base import Material, Method, State, StudentOut, TeacherOut, cosine_distance, in_float32, kl, summed

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PRGState(State):
    """`target` [C,D]: the text vectors Σ_p w_p·T_cp, whose logits are z̃. `proxies` [C,D]: Π, shared by both graphs."""

    target: Tensor
    proxies: Tensor


@dataclass(frozen=True, kw_only=True)
class PRG(Method):
    """Options of PRG; the module docstring has the formulas. Every weight may be 0, which leaves its part out."""

    name: ClassVar[str] = "prg"

    proxies: Literal["PT1", "PT2"] = "PT2"
    edges: tuple[Literal["E1", "E3"], ...] = ("E1", "E3")
    edge_loss: Literal["corr", "col", "row", "mse"] = "corr"
    alpha: float = 1.0
    feature: float = 1.0
    gamma: float = 0.0
    ce_rows: Literal["all", "confident"] = "confident"
    confident: float = 0.7
    tau_edge: float = 0.05
    omega: float = 1000.0

    def check(self) -> None:
        if not self.edges or len(set(self.edges)) < len(self.edges):
            raise InputError(f"prg: edges is {self.edges!r}", "Use E1, E3 or both, each once.")
        for option in ("alpha", "feature", "gamma"):
            if not getattr(self, option) >= 0:
                raise InputError(f"prg: {option} is {getattr(self, option)}", "A weight must be 0 or more.")
        for option in ("tau_edge", "omega"):
            if not getattr(self, option) > 0:
                raise InputError(f"prg: {option} is {getattr(self, option)}", "It must be above 0.")
        if not 0 <= self.confident < 1:
            raise InputError(f"prg: confident is {self.confident}", "It is a probability: 0 or more, below 1.")

    def prepare(self, material: Material) -> PRGState:
        """Targets and proxies: the class vectors' text, and for PT1 the text bank [C,P,D].

        Raises InputError for fewer than two classes.
        """
        bank, classes = material.bank, material.classes
        count = len(bank.vectors)
        if count < 2:
            raise InputError(f"prg needs at least two classes, the list has {count}", "Add a class to the labels file.")
        scale = float(classes.scale)
        if self.alpha and self.edge_loss == "corr" and "E1" in self.edges and count == 2:
            log.warning("two classes: a row of two has no correlation to match, the edges compare columns only")
        if self._is_kd_plus_cosine(scale):
            log.warning(
                "prg with edges E1 and edge loss %s repeats the node term: this is plain kd plus a cosine; "
                "add E3, or use corr or col",
                self.edge_loss,
            )
        text = torch.tensor(classes.text)
        proxies = text if self.proxies == "PT2" else prompt_means(bank.vectors)
        return PRGState.of(classes, target=text, proxies=proxies)

    def _is_kd_plus_cosine(self, scale: float) -> bool:
        same_temperature = abs(self.tau_edge * scale - 1) < 1e-3
        return (
            self.alpha > 0
            and self.edges == ("E1",)
            and (self.edge_loss == "mse" or (self.edge_loss == "row" and same_temperature))
        )

    def loss(self, student: StudentOut, teacher: TeacherOut, state: PRGState) -> dict[str, Tensor]:
        """Parts `node`, `feature`, `edge`, `ce` (those with a weight), each already weighted, and their sum."""
        u, g = in_float32(teacher.u), in_float32(student.g)
        z_teacher = state.scale * u @ state.target.to(u.dtype).T
        z_student = state.logits(g)
        parts = {"node": kl(z_teacher, z_student)}
        if self.feature:
            parts["feature"] = self.feature * cosine_distance(u, g)
        if self.alpha:
            parts["edge"] = self.alpha * self._edges(u, g, state.proxies.to(u.dtype))
        if self.gamma:
            parts["ce"] = self.gamma * self._cross_entropy(z_teacher, z_student)
        return summed(parts)

    def _edges(self, u: Tensor, g: Tensor, proxies: Tensor) -> Tensor:
        blocks = []
        if "E1" in self.edges:
            blocks.append(self._compare(u @ proxies.T, g @ proxies.T, symmetric=False))
        if "E3" in self.edges and len(u) > 1:  # a batch of one has no pairs
            blocks.append(self._compare(off_diagonal(u @ u.T), off_diagonal(g @ g.T), symmetric=True))
        return torch.stack(blocks).mean() if blocks else g.sum() * 0

    def _compare(self, teacher: Tensor, student: Tensor, symmetric: bool) -> Tensor:
        """One edge block. Rows of a symmetric block hold everything its columns do, so it is compared by rows."""
        if self.edge_loss == "mse":
            return self.omega * (teacher - student).square().mean()
        if self.edge_loss == "row" or (self.edge_loss == "col" and symmetric):
            return kl(teacher / self.tau_edge, student / self.tau_edge)
        if self.edge_loss == "col":
            return kl(teacher.T / self.tau_edge, student.T / self.tau_edge)
        if symmetric:
            return one_minus_pearson(teacher, student)
        columns = one_minus_pearson(teacher.T, student.T)
        if teacher.shape[1] == 2:  # a centred pair is (a,−a): its correlation is ±1 and has no gradient
            return columns
        return one_minus_pearson(teacher, student) + columns

    def _cross_entropy(self, z_teacher: Tensor, z_student: Tensor) -> Tensor:
        """Mean over the batch; rows that do not count contribute 0, so few sure rows pull little."""
        probability, best = z_teacher.softmax(-1).max(-1)
        each = F.cross_entropy(z_student, best, reduction="none")
        if self.ce_rows == "confident":
            each = each * (probability > self.confident)
        return each.mean()


def prompt_means(vectors: np.ndarray) -> Tensor:
    """[C,P,D] -> float32 [C,D]: the unit mean over the prompts of a class."""
    mean = vectors.mean(axis=1, dtype=np.float64)
    return torch.from_numpy((mean / np.linalg.norm(mean, axis=-1, keepdims=True)).astype(np.float32))


def off_diagonal(square: Tensor) -> Tensor:
    """[B,B] -> [B,B−1]: each row without its own entry, order kept."""
    n = len(square)
    return square.flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)


def one_minus_pearson(x: Tensor, y: Tensor, eps: float = 1e-4) -> Tensor:
    """mean over rows of 1 − Pearson correlation, for edges whose spread is well above eps (cosines: about 0.01 to 1).

    Written as half the squared distance of the standardised rows, which is the same number, exactly 0 at equality, and
    stays finite for a constant row: two constant rows agree (0), a constant and another do not (1/2).
    """
    return 0.5 * (_standard(x, eps) - _standard(y, eps)).square().sum(-1).mean()


def _standard(x: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().sum(-1, keepdim=True) + eps**2).sqrt()
