"""From the text bank to class vectors [C, D], and which classes come too close to each other.

The class vectors are Σ_p w_p·T_cp and are *not* normalised: so averaging the prompts' logits and averaging their
vectors are the same thing, and a class whose prompts agree keeps its longer vector. What is trained on is what is
exported.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..choices import PROMPT_WEIGHTS
from ..teacher.unit import unit
from .refine import prototypes, same_confidence, softmax, visual_proxies
from .templates import Templates
from .tensor_file import damaged, read_tensors, write_tensors
from .text_bank import TextBank

CLASS_VECTORS_FILE = "class_vectors.safetensors"


@dataclass(frozen=True, eq=False)
class ClassVectors:
    """One vector a class, float32 [C, D], and all it takes to make one for another class later."""

    text: np.ndarray
    """From the prompts alone."""
    baked: np.ndarray
    """What is exported; the same as `text` unless refined (refine.py) or tuned on labelled photos (few_shot.py)."""
    prompt_weights: np.ndarray
    """float64 [P], sum 1."""
    weighting: str
    """How the weights were found: one of choices.PROMPT_WEIGHTS."""
    refinement: str
    """How `baked` was made from `text`: one of choices.REFINEMENTS."""
    scale: float
    names: tuple[str, ...]
    templates: Templates
    few_shot: int = 0
    """How many labelled photos tuned `baked`; 0: no label did."""
    few_shot_tune: str = "vectors"
    """What they tuned: one of choices.FEW_SHOT_TUNE."""

    def save(self, folder: Path) -> None:
        """Writes class_vectors.safetensors into `folder`; same vectors, same bytes."""
        tensors = {"text": self.text, "baked": self.baked, "prompt_weights": self.prompt_weights}
        description = {
            "weighting": self.weighting,
            "refinement": self.refinement,
            "scale": self.scale,
            "names": self.names,
            "templates": {"name": self.templates.name, "templates": self.templates.templates},
            **({"few_shot": self.few_shot, "few_shot_tune": self.few_shot_tune} if self.few_shot else {}),
        }
        write_tensors(folder / CLASS_VECTORS_FILE, tensors, description)

    @classmethod
    def load(cls, folder: Path) -> ClassVectors:
        """Reads what `save` wrote. Raises InputError if it is damaged."""
        path = folder / CLASS_VECTORS_FILE
        tensors, read = read_tensors(path, {"text": 2, "baked": 2, "prompt_weights": 1})
        try:
            vectors = cls(
                **tensors,
                weighting=read["weighting"],
                refinement=read.get("refinement", "none"),  # bundles of before had nothing else
                scale=float(read["scale"]),
                names=tuple(read["names"]),
                templates=Templates(read["templates"]["name"], tuple(read["templates"]["templates"])),
                few_shot=int(read.get("few_shot", 0)),
                few_shot_tune=read.get("few_shot_tune", "vectors"),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(path, error) from error
        shapes = (len(vectors.text), len(vectors.baked), len(vectors.prompt_weights))
        if shapes != (len(vectors.names), len(vectors.names), len(vectors.templates.templates)):
            raise damaged(path, f"{shapes} classes, baked classes and prompts do not fit its description")
        return vectors


def class_vectors(bank: TextBank, weights: np.ndarray, *, weighting: str) -> ClassVectors:
    """Σ_p w_p·T_cp, [C, D]: the logit of such a vector is the weighted mean of its prompts' logits."""
    if weights.shape != (bank.vectors.shape[1],):
        raise ValueError(f"{bank.vectors.shape[1]} prompts, but weights of shape {weights.shape}")
    if weighting not in PROMPT_WEIGHTS:
        raise ValueError(f"prompt weighting {weighting!r} is not one of {PROMPT_WEIGHTS}")
    text = np.einsum("p,cpd->cd", np.asarray(weights, np.float64), bank.vectors.astype(np.float64)).astype(np.float32)
    return ClassVectors(
        text=text,
        baked=text,
        prompt_weights=np.asarray(weights, np.float64),
        weighting=weighting,
        refinement="none",
        scale=bank.scale,
        names=bank.names,
        templates=bank.templates,
    )


def refined(vectors: ClassVectors, refinement: str, features: np.ndarray) -> ClassVectors:
    """The same with `baked` moved to unit features [N, D], those of the rows that train (refine.py)."""
    if refinement == "none":
        return vectors
    if refinement == "prototypes":
        baked = prototypes(features, vectors.text, vectors.scale)
    else:
        baked = visual_proxies(features, vectors.text)
        text = float(softmax(vectors.scale * features @ vectors.text.T).max(axis=1).mean())
        baked = (baked * same_confidence(features @ baked.T, text, vectors.scale)).astype(np.float32)
    return dataclasses.replace(vectors, baked=baked, refinement=refinement)


def close_pairs(vectors: ClassVectors, limit: float = 2.0) -> list[tuple[str, str, float]]:
    """Pairs of classes that the teacher hardly tells apart: scale · (1 − cosine) < limit, the closest first.

    The gap is in logits: an image that is exactly one class's vector has the other 2 logits behind, odds of 7 to 1.
    """
    one, other, gaps = _gaps(vectors)
    close = np.flatnonzero(gaps < limit)
    close = close[np.argsort(gaps[close], kind="stable")]
    return [(vectors.names[one[k]], vectors.names[other[k]], float(max(gaps[k], 0.0))) for k in close]


def typical_gap(vectors: ClassVectors) -> float:
    """The median gap of all pairs, in logits as in `close_pairs`. Two classes or more."""
    return float(np.median(_gaps(vectors)[2]))


def _gaps(vectors: ClassVectors) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(one class, the other, scale · (1 − cosine)) of every pair, int64 and float64 [C(C−1)/2]."""
    directions = unit(vectors.text.astype(np.float64))
    one, other = np.triu_indices(len(directions), k=1)
    return one, other, vectors.scale * (1 - directions @ directions.T)[one, other]
