"""Class vectors tuned on a few labelled photos: the short stage 1 that comes before a student is taught.

PromptKD (arXiv 2403.02781, section 3.1) tunes its teacher's prompts on 16 labelled photos a class
(teacher/prompt_src.py). Here the class vectors alone are tuned and both towers stay as they are, which takes seconds;
it is our choice, near to what is known as linear probing from zero-shot weights:

    L(W) = mean over classes of the mean CE(y, s·u·Wᵀ) of their photos  +  (keep/2)·mean_c |s·(W_c − W⁰_c)|²

W⁰ are the text vectors, u the features of a photo's views. Classes count alike, however many photos each has; one
without photos moves only as far as the others push it. L is strictly convex: there is one answer, whatever the seed.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError

if TYPE_CHECKING:
    from .class_vectors import ClassVectors

log = logging.getLogger(__name__)

KEEP = 0.001
"""How much a class vector is held where the text put it: none moves by much more than 1/KEEP logits. Our choice: the
best of 1, 0.1, 0.03, 0.01 and 0.001 on the study's development sets, with 4 and with 16 photos a class."""
STEPS = 500


def tuned(classes: ClassVectors, features: np.ndarray, labels: np.ndarray, keep: float = KEEP) -> ClassVectors:
    """`classes` with tuned vectors to be baked; `text` stays what the prompts gave, for every comparison.

    features: float32 [K,V,D], unit, of every view of K photos; labels: int64 [K], classes of them all. Raises
    InputError where fewer than two classes have a photo.
    """
    shown = len(np.unique(labels))
    if shown < 2:
        raise InputError(
            f"few-shot photos of {shown} class{'' if shown == 1 else 'es'}: that tells no class from another",
            "Give a folder for each class, with a few photos in it.",
        )
    baked = tuned_vectors(features, labels, classes.text, classes.scale, keep)
    before, after = (accuracy(features, labels, vectors) for vectors in (classes.text, baked))
    log.info(
        "class vectors tuned on %d labelled photos of %d classes: of these very photos %.1f %% were right, now %.1f %%",
        len(labels),
        shown,
        100 * before,
        100 * after,
    )
    return dataclasses.replace(classes, baked=baked, few_shot=len(labels))


def tuned_vectors(
    features: np.ndarray, labels: np.ndarray, start: np.ndarray, scale: float, keep: float = KEEP
) -> np.ndarray:
    """float32 [C,D]: the W that makes L least; `start` [C,D] is W⁰, `scale` is s. In float64, by L-BFGS."""
    u = torch.from_numpy(features.astype(np.float64))
    text, classes = torch.from_numpy(start.astype(np.float64)), torch.from_numpy(labels)
    moved = torch.zeros_like(text, requires_grad=True)  # s·(W − W⁰): in logits, so that steps have one size for any s
    optimiser = torch.optim.LBFGS(
        [moved], max_iter=STEPS, tolerance_grad=1e-9, tolerance_change=1e-13, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = objective(moved, u, classes, text, scale, keep)
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return (text + moved.detach() / scale).float().numpy()


def objective(moved: Tensor, u: Tensor, labels: Tensor, start: Tensor, scale: float, keep: float) -> Tensor:
    """L as a scalar, of `moved` [C,D] = s·(W − W⁰), u [K,V,D], labels int64 [K] and start [C,D] = W⁰."""
    logits = u @ (scale * start + moved).T
    each = F.cross_entropy(logits.flatten(0, 1), labels.repeat_interleave(u.shape[1]), reduction="none")
    of_photo = each.view(len(u), -1).mean(1)
    photos = torch.bincount(labels, minlength=len(start)).to(u.dtype)
    ce = (of_photo / photos[labels]).sum() / (photos > 0).sum()
    return ce + keep / 2 * moved.square().sum(1).mean()


def accuracy(features: np.ndarray, labels: np.ndarray, vectors: np.ndarray) -> float:
    """Share of photos whose centre view is nearest to the vector of its class."""
    return float(((features[:, 0] @ vectors.T).argmax(1) == labels).mean())
