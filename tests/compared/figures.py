"""Intervals and rank correlations, by resampling.

What is resampled are groups of LoRAs, and the pictures of each: pictures of one group are alike, and to resample them
alone would make intervals too narrow (Cameron, Gelbach and Miller, Bootstrap-Based Improvements for Inference with
Clustered Errors, 2008).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval; not a number where there is nothing to tell it from."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "–"
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    @property
    def percent(self) -> str:
        if np.isnan(self.value):
            return "–"
        return f"{100 * self.value:.0f} % ({100 * self.low:.0f} to {100 * self.high:.0f})"

    @property
    def points(self) -> str:
        if np.isnan(self.value):
            return "–"
        return f"{100 * self.value:+.0f} ({100 * self.low:+.0f} to {100 * self.high:+.0f})"


def interval(value: float, resampled: Sequence[float], level: float = LEVEL) -> Estimate:
    """The value with the percentiles of what resampling gives."""
    known = np.asarray(resampled, dtype=float)
    known = known[~np.isnan(known)]
    if np.isnan(value) or not len(known):
        return Estimate(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(value), float(low), float(high))


def mean(groups: Sequence[np.ndarray], level: float = LEVEL, resamples: int = RESAMPLES) -> Estimate:
    """The mean over groups of the mean over pictures.

    Args:
        groups: For each group one number a picture.
        level: Of the interval.
        resamples: How many are drawn, always the same.
    """
    if not groups:
        return Estimate(float("nan"), float("nan"), float("nan"))
    rng = np.random.default_rng(0)
    size = (resamples, len(groups))
    # Of each group many means of resampled pictures; each time a group is drawn, any of them stands for it.
    means = np.stack([group[rng.integers(0, len(group), (resamples, len(group)))].mean(1) for group in groups])
    found = means[rng.integers(0, len(groups), size), rng.integers(0, resamples, size)].mean(1)
    return interval(float(np.mean([group.mean() for group in groups])), found, level)


def ranks(values: np.ndarray) -> np.ndarray:
    """Place of each value, from 0; equal ones share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2)[inverse]


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation; not a number where one of them has a single value."""
    first, second = (ranks(np.asarray(values, dtype=float)) for values in (one, other))
    first, second = first - first.mean(), second - second.mean()
    size = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / size) if size > 0 else float("nan")


def correlation(
    one: np.ndarray,
    other: np.ndarray,
    clusters: np.ndarray,
    measure: Callable[[np.ndarray, np.ndarray], float] = spearman,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Spearman's rank correlation, with clusters resampled whole.

    Args:
        one: A number a case.
        other: Another number a case.
        clusters: To which cluster each case belongs.
        measure: What is computed of both.
        resamples: How many are drawn, always the same.
    """
    rng = np.random.default_rng(0)
    places = [np.flatnonzero(clusters == each) for each in np.unique(clusters)]
    found = []
    for _ in range(resamples):
        chosen = np.concatenate([places[each] for each in rng.integers(0, len(places), len(places))])
        found.append(measure(one[chosen], other[chosen]))
    return interval(measure(one, other), found)
