"""PRG: distil with a proxy relational graph (arXiv 2408.12248). Our reading of it, and the default method.

Only the paper's abstract is public to us: annotation-free; the teacher's logits are a weighted average over text
prompts; images and class proxies are nodes of a graph built for both models, aligned by nodes and by edges. Weights,
formulas of the edges and schedules are our choices:

    L      = L_node + α·L_edge + γ·L_ce
    L_node = KL(softmax z̃ ‖ softmax zs) + λ_f·(1 − ⟨u,g⟩)          z̃_ic = Σ_p w_ip·s·⟨u_i,T_cp⟩
    L_edge = mean over the edge blocks of one comparison of At (teacher) and As (student)
    L_ce   = CE(argmax z̃, zs), on all rows or on those the teacher is sure of

What each option stands for:

    prompts          class-vectors  w as in the class vectors (`--prompt-weights`), alike for every image; where
                                    they are refined (`--refine`), the refined ones
                     max-logit      w_ip = a_ip / Σ_p a_ip, a_ip = max_c of prompt p's logits
                     max-softmax    w_ip = softmax_p(a_ip / τ_w)
                     debiased       the same of logits less their mean over the pool and a broad image set
    proxies          prompt-mean    Π_c, the teacher's: the unit mean over prompts
                     weighted       the class vectors: Σ_p w_p·T_cp, or what they were refined to
                     visual         learned from the pool's features (classes/refine.py)
                     centroids      Σ_i q_ic·u_i over the pool, unit
    student_proxies  shared         Π itself
                     classifier     rows [C,d] of a linear classifier on f, which learns with the student
                     centroids      running soft centroids of g
    edges            class          image to class proxy     At = u·Πᵀ, As = g·Πsᵀ     [B,C]
                     images         image to image           At = u·uᵀ, As = g·gᵀ      [B,B], diagonal removed
                     proxies        proxy to proxy           At = Π·Πᵀ, As = Πs·Πsᵀ    [C,C], diagonal removed
                     mean-view      as class, with the teacher's mean over views for u
    correlation      cosine         edges are cosines
                     pearson        edges are correlations over the coordinates of the two vectors
    edge_loss        corr  (1 − Pearson) of rows + of columns; a symmetric block has its rows only
                     col   KL over the batch axis at τe, mean over columns: which images fit a class best
                     row   KL over a row at τe, mean over rows          mse   ω·mean (At − As)²

Prompt weights that are the same for every image average vectors: z̃ = s·u·textᵀ costs one matrix product. Weights of
each image's own (max-logit, max-softmax, debiased) cost one with all prompts, [B, C·P]; they shape the targets alone,
what is exported are the class vectors. max-logit is nearly uniform with a real CLIP, whose largest logits all lie close
together; max-softmax is the reading closest to what is said of the paper.

With `class` edges and shared proxies s·As *are* the logits: `row` at τe = 1/s is exactly KD and `mse` is logit MSE, so
with them alone PRG would be KD plus cosine: a warning says so. The default (class + images, corr) adds columns, image
pairs, and a comparison that no scale enters.

Cost over kd: B²·D for `images`, B·C·P·D for an image's own prompt weights.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...classes.refine import soft_centroids, softmax, visual_proxies
from ...errors import InputError
from ...teacher.unit import unit
from .base import (
    MASKED,
    Material,
    Method,
    State,
    StudentOut,
    TeacherOut,
    cosine_distance,
    in_float32,
    kl,
    kl_over_batch,
    mean_of_rows,
    summed,
)
from .relations import mean, one_minus_pearson

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PRGState(State):
    """`proxies` [C,D]: Π, the teacher's. z̃ are the logits of the head where all images weigh prompts alike.

    `prompts` [P,C,D] and `bias` [C,P], the logits' mean that is taken off: for an image's own prompt weights.
    """

    proxies: Tensor
    prompts: Tensor | None = None
    bias: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class WithClassifier(PRGState):
    """`rows` [C,d]: the student's proxies are a linear classifier on f."""

    trained: ClassVar[tuple[str, ...]] = ("rows",)
    rows: Tensor


@dataclass(frozen=True, kw_only=True)
class WithCentroids(PRGState):
    """`centroids` [C,D]: the student's proxies follow g; their length has no meaning."""

    moving: ClassVar[tuple[str, ...]] = ("centroids",)
    centroids: Tensor


@dataclass(frozen=True, kw_only=True)
class PRG(Method):
    """Options of PRG; the module docstring has the formulas. Every weight may be 0, which leaves its part out."""

    name: ClassVar[str] = "prg"

    prompts: Literal["class-vectors", "max-logit", "max-softmax", "debiased"] = "class-vectors"
    proxies: Literal["prompt-mean", "weighted", "visual", "centroids"] = "weighted"
    student_proxies: Literal["shared", "classifier", "centroids"] = "shared"
    edges: tuple[Literal["class", "images", "proxies", "mean-view"], ...] = ("class", "images")
    correlation: Literal["cosine", "pearson"] = "cosine"
    edge_loss: Literal["corr", "col", "row", "mse"] = "corr"
    alpha: float = 1.0
    feature: float = 1.0
    gamma: float = 0.0
    ce_rows: Literal["all", "confident"] = "confident"
    confident: float = 0.7
    tau_edge: float = 0.05
    tau_prompts: float = 1.0
    omega: float = 1000.0
    momentum: float = 0.99

    def check(self) -> None:
        if not self.edges or len(set(self.edges)) < len(self.edges):
            raise InputError(
                f"prg: edges is {self.edges!r}", "Use some of class, images, proxies, mean-view, each once."
            )
        self.not_negative("alpha", "feature", "gamma")
        self.above_zero("tau_edge", "tau_prompts", "omega")
        for option in ("confident", "momentum"):
            if not 0 <= getattr(self, option) < 1:
                raise InputError(f"prg: {option} is {getattr(self, option)}", "It must be 0 or more, and below 1.")
        if "proxies" in self.edges and self.student_proxies == "shared":
            raise InputError(
                "prg: edges between proxies say nothing where teacher and student share them",
                "Leave out edges=proxies, or use student_proxies=classifier or centroids.",
            )

    @property
    def needs_mean(self) -> bool:
        return "mean-view" in self.edges

    @property
    def aims_at_words(self) -> bool:
        return self.prompts != "class-vectors"

    def prepare(self, material: Material) -> PRGState:
        """Targets and proxies. Raises InputError for fewer than two classes."""
        bank, classes = material.bank, material.classes
        count = len(bank.vectors)
        if count < 2:
            raise InputError(f"prg needs at least two classes, the list has {count}", "Add a class to the labels file.")
        self._warn(count, float(classes.scale))
        shared: dict[str, Tensor] = {"proxies": self._proxies(material)}
        if self.prompts != "class-vectors":
            vectors = torch.tensor(bank.vectors)
            shared |= {"prompts": vectors.transpose(0, 1).contiguous(), "bias": vectors.new_zeros(vectors.shape[:2])}
        if self.prompts == "debiased":
            mean = torch.from_numpy(broad_mean(material))
            shared["bias"] = float(classes.scale) * shared["prompts"].transpose(0, 1) @ mean
        if self.student_proxies == "classifier":
            draw = np.random.default_rng(0).normal(size=(count, material.width)).astype(np.float32)
            return WithClassifier.of(classes, rows=torch.from_numpy(draw / material.width**0.5), **shared)
        if self.student_proxies == "centroids":
            return WithCentroids.of(classes, centroids=F.normalize(shared["proxies"], dim=-1), **shared)
        return PRGState.of(classes, **shared)

    def _proxies(self, material: Material) -> Tensor:
        """Π [C,D], float32."""
        classes = material.classes
        if self.proxies == "weighted":
            return torch.tensor(classes.baked)
        if self.proxies == "prompt-mean":
            return prompt_means(material.bank.vectors)
        u = material.store.centre(material.rows)
        if self.proxies == "visual":
            return torch.from_numpy(visual_proxies(u, classes.text))
        return torch.from_numpy(soft_centroids(u, softmax(float(classes.scale) * u @ classes.text.T)))

    def _warn(self, count: int, scale: float) -> None:
        to_classes = {"class", "mean-view"} & set(self.edges)
        if self.alpha and self.edge_loss == "corr" and to_classes and count == 2:
            log.warning("two classes: a row of two has no correlation to match, the edges compare columns only")
        if self._is_kd_plus_cosine(scale):
            log.warning(
                "prg with edges class and edge loss %s repeats the node term: this is plain kd plus a cosine; "
                "add images, or use corr or col",
                self.edge_loss,
            )

    def _is_kd_plus_cosine(self, scale: float) -> bool:
        same_temperature = abs(self.tau_edge * scale - 1) < 1e-3
        same_vectors = self.proxies in ("prompt-mean", "weighted") and self.student_proxies == "shared"
        return (
            self.alpha > 0
            and self.edges == ("class",)
            and self.correlation == "cosine"
            and self.prompts == "class-vectors"
            and same_vectors
            and (self.edge_loss == "mse" or (self.edge_loss == "row" and same_temperature))
        )

    def loss(self, student: StudentOut, teacher: TeacherOut, state: PRGState) -> dict[str, Tensor]:
        """Parts `node`, `feature`, `edge`, `ce` (those with a weight), each already weighted, and their sum."""
        u, g = in_float32(teacher.u), in_float32(student.g)
        z_teacher, z_student = self._targets(u, state), state.logits(g)
        parts = {"node": kl(z_teacher, z_student, weight=teacher.weight)}
        if self.feature:
            parts["feature"] = self.feature * cosine_distance(u, g, teacher.weight)
        if self.alpha:
            parts["edge"] = self.alpha * self._edges(student, teacher, state)
        if self.gamma:
            parts["ce"] = self.gamma * self._cross_entropy(z_teacher, z_student, teacher.weight)
        return summed(parts)

    def _targets(self, u: Tensor, state: PRGState) -> Tensor:
        """z̃ [B,C]."""
        if state.prompts is None or state.bias is None:
            return state.logits(u)
        prompts = state.prompts.to(u.dtype)
        z = (state.scale * u @ prompts.flatten(0, 1).T).view(len(u), *prompts.shape[:2])  # [B,P,C]
        largest = (z - state.bias.to(u.dtype).T).amax(-1)  # [B,P]
        if self.prompts == "max-logit":
            weights = largest / largest.sum(-1, keepdim=True)
        else:
            weights = (largest / self.tau_prompts).softmax(-1)
        return (weights[:, None] @ z)[:, 0]

    def _edges(self, student: StudentOut, teacher: TeacherOut, state: PRGState) -> Tensor:
        u, g, weight = in_float32(teacher.u), in_float32(student.g), teacher.weight
        mine, rows = self._student_proxies(student, state)
        proxies = self._coordinates(state.proxies.to(u.dtype))
        blocks = []
        for edge in self.edges:
            if edge in ("class", "mean-view"):
                seen = u if edge == "class" or teacher.u_mean is None else in_float32(teacher.u_mean)
                blocks.append(self._to_proxies(self._coordinates(seen) @ proxies.T, mine @ rows.T, weight))
            elif edge == "images" and len(u) > 1:  # a batch of one has no pairs
                a, b = self._coordinates(u), self._coordinates(g)
                blocks.append(self._between(a @ a.T, b @ b.T, weight))
            elif edge == "proxies":
                a, b = (F.normalize(p, dim=-1) for p in (proxies, rows))
                blocks.append(self._between(a @ a.T, b @ b.T, None))
        return torch.stack(blocks).mean() if blocks else g.sum() * 0

    def _student_proxies(self, student: StudentOut, state: PRGState) -> tuple[Tensor, Tensor]:
        """What of the student is compared with its proxies [B,.], and those [C,.]."""
        g = in_float32(student.g)
        if isinstance(state, WithClassifier):
            f = in_float32(student.f)
            if self.correlation == "cosine":
                f = F.normalize(f, dim=-1)
            return self._coordinates(f), self._coordinates(F.normalize(state.rows.to(f.dtype), dim=-1))
        if isinstance(state, WithCentroids):
            return self._coordinates(g), self._coordinates(F.normalize(state.centroids.to(g.dtype), dim=-1))
        return self._coordinates(g), self._coordinates(state.proxies.to(g.dtype))

    def _coordinates(self, vectors: Tensor) -> Tensor:
        """As they are; for correlations without their mean and of length 1, so that a product is Pearson's."""
        if self.correlation == "cosine":
            return vectors
        return F.normalize(vectors - vectors.mean(-1, keepdim=True), dim=-1)

    def _to_proxies(self, teacher: Tensor, student: Tensor, weight: Tensor | None) -> Tensor:
        """A block [B,C]: rows and, where the loss has any, columns."""
        if self.edge_loss == "col":
            return kl_over_batch(teacher / self.tau_edge, student / self.tau_edge, weight)
        if self.edge_loss != "corr":
            return self._rows(teacher, student, weight, None)
        columns = one_minus_pearson(teacher.T, student.T, weight).mean()
        if teacher.shape[1] == 2:  # a centred pair is (a,−a): its correlation is ±1 and has no gradient
            return columns
        return mean_of_rows(one_minus_pearson(teacher, student), weight) + columns

    def _between(self, teacher: Tensor, student: Tensor, weight: Tensor | None) -> Tensor:
        """A symmetric block without its diagonal: its rows hold everything that its columns do."""
        entries = None if weight is None else off_diagonal(weight.expand(len(weight), -1))
        return self._rows(off_diagonal(teacher), off_diagonal(student), weight, entries)

    def _rows(self, teacher: Tensor, student: Tensor, weight: Tensor | None, entries: Tensor | None) -> Tensor:
        """The mean over rows, weighted, of how far each differs; `entries` weigh what stands in a row."""
        if self.edge_loss == "corr":
            return mean_of_rows(one_minus_pearson(teacher, student, entries), weight)
        if self.edge_loss == "mse":
            return self.omega * mean_of_rows(mean((teacher - student).square(), entries)[..., 0], weight)
        target, given = (_visible(x, entries) / self.tau_edge for x in (teacher, student))
        return kl(target, given, weight=weight)

    def _cross_entropy(self, z_teacher: Tensor, z_student: Tensor, weight: Tensor | None) -> Tensor:
        """Mean over the batch; rows that do not count contribute 0, so few sure rows pull little."""
        probability, best = z_teacher.softmax(-1).max(-1)
        each = F.cross_entropy(z_student, best, reduction="none")
        if self.ce_rows == "confident":
            each = each * (probability > self.confident)
        return mean_of_rows(each, weight)

    def advance(self, student: StudentOut, teacher: TeacherOut, state: PRGState) -> None:
        """The centroids move by 1 − momentum towards Σ_i q_ic·g_i: a class that a batch lacks keeps its direction."""
        if isinstance(state, WithCentroids):
            q = self._targets(in_float32(teacher.u), state).softmax(-1)
            if teacher.weight is not None:
                q = q * teacher.weight.to(q.dtype)[:, None]
            state.centroids.mul_(self.momentum).add_(
                (q.T @ in_float32(student.g)).to(state.centroids.dtype), alpha=1 - self.momentum
            )


def prompt_means(vectors: np.ndarray) -> Tensor:
    """[C,P,D] -> float32 [C,D]: the unit mean over the prompts of a class."""
    return torch.from_numpy(unit(vectors.mean(axis=1, dtype=np.float64)).astype(np.float32))


def broad_mean(material: Material) -> np.ndarray:
    """float32 [D]: the mean of the pool's mean feature and the broad one; the pool's alone where there is none."""
    pool = material.store.mean_feature(material.rows)
    return pool if material.mean_feature is None else ((pool + material.mean_feature) / 2).astype(np.float32)


def off_diagonal(square: Tensor) -> Tensor:
    """[B,B] -> [B,B−1]: each row without its own entry, order kept."""
    n = len(square)
    return square.flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)


def _visible(block: Tensor, entries: Tensor | None) -> Tensor:
    """Entries of weight 0 are so far below that a softmax over their row does not see them."""
    return block if entries is None else block.masked_fill(entries == 0, MASKED)
