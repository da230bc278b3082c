"""The two 95 % intervals a verdict rests on."""

from __future__ import annotations

from math import sqrt

Z95 = 1.96


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Wilson 1927), 95 %, without continuity correction.

    (0.0, 1.0) for no trials: nothing is known. Raises ValueError unless 0 <= successes <= trials.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    if trials == 0:
        return 0.0, 1.0
    share, z2 = successes / trials, Z95**2
    middle = share + z2 / (2 * trials)
    reach = Z95 * sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    below = 0.0 if successes == 0 else (middle - reach) / (1 + z2 / trials)  # exact at the ends, whatever the rounding
    above = 1.0 if successes == trials else (middle + reach) / (1 + z2 / trials)
    return below, above


def paired_difference(only_first: int, only_second: int, pairs: int) -> tuple[float, float, float]:
    """Difference of two proportions on the same items, with its Wald interval for paired data, 95 %.

    `only_first`: items where the first is right and the second wrong; `only_second` the reverse. Returns (difference,
    low, high) of first minus second: d = (b - c) / n, d ± 1.96 sqrt(b + c - (b - c)²/n) / n (Agresti, Categorical Data
    Analysis, 10.1.1). (0.0, -1.0, 1.0) for no pairs. Raises ValueError for counts that do not fit.
    """
    if min(only_first, only_second) < 0 or only_first + only_second > pairs:
        raise ValueError(f"{only_first} and {only_second} discordant in {pairs} pairs")
    if pairs == 0:
        return 0.0, -1.0, 1.0
    difference = (only_first - only_second) / pairs
    variance = only_first + only_second - (only_first - only_second) ** 2 / pairs
    reach = Z95 * sqrt(max(variance, 0.0)) / pairs
    return difference, max(difference - reach, -1.0), min(difference + reach, 1.0)
