"""How far a percentile of dependent latencies may lie from the one that was seen: its 95 % interval.

Order statistics: how many of n queries lie below the true percentile varies about n times its share, and the ends are
the latencies of the ranks where that may be with 95 % (Woodruff, Confidence intervals for medians and other position
measures, JASA 47, 1952). Latencies that follow each other are alike, so that number varies more than it would for
independent ones: its variance is taken from the shares below the observed percentile in blocks (batch means, as by
Heidelberger and Lewis, Quantile estimation in dependent sequences, Operations Research 32, 1984), and is never smaller
than the binomial one. As it comes from so many blocks, Student's t stands for the normal quantile.

We chose this over a bootstrap of blocks: it draws nothing at random, costs one sort, and asks as little of the
distribution. tests/targets/test_percentile.py holds it against known distributions, independent and dependent.
"""

from __future__ import annotations

import math

import numpy as np

BLOCKS = 20  # in the order of time: two a turn
T95 = 2.093  # 97.5 % quantile of Student's t with 19 degrees of freedom


def interval(latencies: np.ndarray, percent: float) -> tuple[float, float] | None:
    """The low and the high end of a percentile, in the unit of `latencies` [n], which are in the order of time.

    None for fewer than two queries a block. The ends are latencies that were seen: the high one is the largest of all
    where even that may lie below the percentile.
    """
    count = len(latencies)
    if count < 2 * BLOCKS:
        return None
    share = percent / 100
    ordered = np.sort(latencies)
    below = latencies <= ordered[math.ceil(count * share) - 1]
    parts = np.array([block.mean() for block in np.array_split(below, BLOCKS)])
    binomial = share * (1 - share) / count
    reach = T95 * math.sqrt(max(binomial, float(parts.var(ddof=1)) / BLOCKS))
    first, last = math.floor(count * (share - reach)), math.ceil(count * (share + reach)) + 1
    return float(ordered[max(first, 1) - 1]), float(ordered[min(last, count) - 1])
