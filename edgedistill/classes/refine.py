"""Class vectors moved to where the pool's photos lie: from features alone, without a label.

Text vectors and image features of a CLIP lie apart, so the best vectors for classifying images are not the text's. Two
ways to find better ones, both from the rows that train and from nothing else; what is found is what the student learns
and what is baked, the frozen teacher of every comparison keeps its text vectors.

`prototypes` is ours: one step of soft k-means. A class's vector becomes the mean of the pool's features, each counted
by the probability that the text vectors give that class, beside the text vector itself, which counts as one photo more:
a class with many photos moves to them, one with none stays where it was. The probabilities are first brought half-way
towards equal classes, since text vectors favour some classes for no reason in the pool. One step, not more: further
ones drift away from the names (benchmarks/refined_teacher.py, on the study's development sets).

`visual_proxies` is our reading of InMaP (arXiv 2310.19752): pseudo-labels come from the text vectors at a sharp
temperature, balanced over the classes by some Sinkhorn steps; then vectors M are learned so that a softer softmax over
⟨u,M⟩ meets them. The paper fits on the images that it reports on; here the rows that train are all that is seen. What
is ours there: the class balance. A user's pool is not balanced, and a wrong balance is a hard error, so the marginal is
(1−ρ)·π + ρ/C with π the pool's own, found by expectation and maximisation (`class_prior`), ρ = 0.3.
"""

from __future__ import annotations

import numpy as np

from ..teacher.unit import unit

MOST_BIAS = 2.0
"""In logits: odds of 7 to 1."""
SHARP, SOFT = 0.01, 0.04
"""Temperatures of cosines: of the pseudo-labels, and of what is fitted to them (the paper's)."""


def prototypes(
    features: np.ndarray, text: np.ndarray, scale: float, *, evened: float = 0.5, prior: float = 1.0
) -> np.ndarray:
    """float32 [C, D]: unit(Σ_i q_ic·u_i + prior·text_c), all of one length, from unit features [N, D], text [C, D].

    q = softmax(scale·⟨u,text⟩ + evened·b), b the biases that would make all classes equally frequent in the pool; none
    counts more than MOST_BIAS, so that a class that is not in the pool is not given photos of others.
    The common length keeps the mean confidence that the text vectors have on the pool, so that a probability goes on
    meaning what it did. Deterministic; float64 inside.
    """
    u, vectors = features.astype(np.float64), text.astype(np.float64)
    logits = scale * u @ vectors.T
    q = softmax(logits + np.clip(evened * equal_classes(logits), -MOST_BIAS, MOST_BIAS))
    found = unit(q.T @ u + prior * unit(vectors))
    return (found * same_confidence(u @ found.T, float(softmax(logits).max(axis=1).mean()), scale)).astype(np.float32)


def equal_classes(logits: np.ndarray, rounds: int = 100) -> np.ndarray:
    """float64 [C]: biases under which the mean of softmax(logits + b) over rows [N, C] is the same for all classes."""
    bias = np.zeros(logits.shape[1])
    for _ in range(rounds):
        mean = softmax(logits + bias).mean(axis=0)
        bias -= 0.5 * np.log(np.maximum(mean * len(bias), 1e-9))
    return bias


def same_confidence(cosines: np.ndarray, wanted: float, scale: float) -> float:
    """The length of class vectors for which softmax(scale·length·cosines) [N, C] has this mean of its maxima.

    Between 1/20 and 5: where two classes have hardly different vectors, no length makes them sure.
    """
    if cosines.shape[1] == 1:
        return 1.0
    low, high = 0.05, 5.0
    for _ in range(60):
        length = (low * high) ** 0.5
        confidence = softmax(scale * length * cosines).max(axis=1).mean()
        low, high = (length, high) if confidence < wanted else (low, length)
    return length


def visual_proxies(
    features: np.ndarray, text: np.ndarray, *, steps: int = 300, uniform: float = 0.3, sure: float = 0.6
) -> np.ndarray:
    """float32 [C, D], unit rows: M, from unit image features [N, D] and text vectors [C, D].

    features: centre views or means over views of the rows that train. steps: of full-batch projected gradient descent;
    the step is halved whenever the gradient grows (the paper runs 2,000; a pool of a few thousand is still by 300).
    Rows whose pseudo-label is above `sure` are hardened. Deterministic; float64 inside.
    """
    u, start = features.astype(np.float64), unit(text.astype(np.float64))
    target = pseudo_labels(u, start, uniform=uniform)
    best = target.argmax(axis=1)
    hard = target.max(axis=1) > sure
    target[hard] = np.eye(target.shape[1])[best[hard]]
    proxies, rate, before = start, 10.0, np.inf
    for _ in range(steps):
        gradient = (softmax(u @ proxies.T / SOFT) - target).T @ u / (SOFT * len(u))
        size = float(np.linalg.norm(gradient))
        if size > before:
            rate /= 2
        before = size
        proxies = unit(proxies - rate * gradient)
    return proxies.astype(np.float32)


def pseudo_labels(features: np.ndarray, text: np.ndarray, *, uniform: float, rounds: int = 20) -> np.ndarray:
    """float64 [N, C], rows sum to 1: softmax(⟨u,W⟩/0.01) brought to the pool's class balance by Sinkhorn's steps."""
    q = softmax(features @ text.T / SHARP)
    count = q.shape[1]
    wanted = (1 - uniform) * class_prior(q) + uniform / count
    for _ in range(rounds):
        q = q * (wanted / np.maximum(q.mean(axis=0), 1e-12))
        q = q / q.sum(axis=1, keepdims=True)
    return q


def class_prior(q: np.ndarray, rounds: int = 100) -> np.ndarray:
    """float64 [C], sum 1: how often each class is in the pool, from probabilities q [N, C] under equal classes.

    Expectation and maximisation (Saerens 2002): π becomes the mean of the rows reweighed by π; at the fixed point they
    are the same.
    """
    prior = np.full(q.shape[1], 1 / q.shape[1])
    for _ in range(rounds):
        weighed = q * prior
        prior = (weighed / weighed.sum(axis=1, keepdims=True)).mean(axis=0)
    return prior


def soft_centroids(features: np.ndarray, q: np.ndarray) -> np.ndarray:
    """float32 [C, D], unit rows: Σ_i q_ic·u_i of features [N, D] and probabilities [N, C]."""
    return unit(q.astype(np.float64).T @ features.astype(np.float64)).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
