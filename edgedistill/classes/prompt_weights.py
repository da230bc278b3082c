"""How much each prompt counts: weights [P] from the text bank and the pool, without any label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..choices import PROMPT_WEIGHTS
from .text_bank import TextBank

if TYPE_CHECKING:
    from ..teacher.store import FeatureRows

_ROWS_A_PIECE = 4096
_SCORED = 200_000_000  # logits that zero-shot looks at: some seconds; a larger pool is sampled evenly


def prompt_weights(
    bank: TextBank,
    weighting: str,
    features: FeatureRows | None = None,
    mean_feature: np.ndarray | None = None,
) -> np.ndarray:
    """How much each template counts: float64 [P], sum 1. No label takes part.

    uniform         all alike.
    zero-shot       ZPE (Allingham et al., ICML 2023), our reading: score_p = mean_i max_c ẑ_icp over the pool, weights
                    softmax(score); ẑ is the logit less the mean of its averages over the pool and over a broad image
                    set. Without that, prompts made of frequent words would win for being frequent.
    zero-shot-pool  the same without the broad image set: the logit less its average over the pool only. For a teacher
                    that comes without a broad mean feature.

    features: float32 or float16 [N, D], unit rows, the pool's centre views; read in pieces, never whole.
    mean_feature: [D], the teacher's mean unit feature over a broad image set (zero-shot). Logits are linear in the
    image feature, so this one vector is all that the pre-training average takes.
    """
    count = bank.vectors.shape[1]
    if weighting == "uniform":
        return np.full(count, 1 / count)
    if weighting not in PROMPT_WEIGHTS:
        raise ValueError(f"prompt weighting {weighting!r} is not one of {PROMPT_WEIGHTS}")
    if features is None or len(features) == 0:
        raise ValueError(f"{weighting} weighs prompts on the pool and needs its features")
    pieces = (features[begin : begin + _ROWS_A_PIECE] for begin in range(0, len(features), _ROWS_A_PIECE))
    reference = sum(rows.sum(axis=0, dtype=np.float64) for rows in pieces) / len(features)
    if weighting == "zero-shot":
        if mean_feature is None:
            raise ValueError("zero-shot needs the teacher's broad mean feature; zero-shot-pool does without")
        reference = (reference + mean_feature) / 2
    vectors = bank.scale * bank.vectors.astype(np.float64)
    flat = vectors.reshape(-1, vectors.shape[-1])
    average = vectors @ reference  # [C, P]
    classes_by_prompts = vectors.shape[0] * count
    step = max(1, len(features) * classes_by_prompts // _SCORED)
    score, scored = np.zeros(count), 0
    piece = min(_ROWS_A_PIECE, max(1, 4_000_000 // classes_by_prompts))
    for begin in range(0, len(features), piece * step):
        rows = np.asarray(features[begin : begin + piece * step : step], dtype=np.float64)
        logits = (rows @ flat.T).reshape(-1, *average.shape) - average  # [n, C, P]
        score += logits.max(axis=1).sum(axis=0)
        scored += len(rows)
    score /= scored
    weights = np.exp(score - score.max())
    return weights / weights.sum()
