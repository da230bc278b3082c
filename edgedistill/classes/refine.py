"""Class vectors moved to where the pool's photos lie: visual proxies, learned from features alone, without a label.

Our reading of InMaP (arXiv 2310.19752): text vectors and image features of a CLIP lie apart, so the best vectors for
classifying images are not the text's. Pseudo-labels come from the text vectors at a sharp temperature, balanced over
the classes by some Sinkhorn steps; then vectors M are learned so that a softer softmax over ⟨u,M⟩ meets them. The
paper fits on the images that it reports on; here the rows that train are all that is seen.

What is ours: the class balance. A user's pool is not balanced, and a wrong balance is a hard error, so the marginal is
(1−ρ)·π + ρ/C with π the pool's own, found by expectation and maximisation (`class_prior`), ρ = 0.3.
"""

from __future__ import annotations

import numpy as np

SHARP, SOFT = 0.01, 0.04
"""Temperatures of cosines: of the pseudo-labels, and of what is fitted to them (the paper's)."""


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


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
