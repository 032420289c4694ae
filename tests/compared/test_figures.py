"""Intervals and rank correlations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from compared.figures import Estimate, correlation, interval, mean, ranks, spearman


def test_equal_values_share_their_places():
    assert ranks(np.array([3.0, 1.0, 3.0, 9.0])).tolist() == [1.5, 0.0, 1.5, 3.0]


def test_spearman_is_one_for_any_rising_curve_and_known_between():
    values = np.arange(20.0)
    assert spearman(values, np.exp(values)) == pytest.approx(1)
    assert spearman(values, -(values**3)) == pytest.approx(-1)
    # 1 - 6 Σ d² / (n (n² - 1)), d = 1, 1, 0, 1, 1
    assert spearman(np.array([1, 2, 3, 4, 5]), np.array([2, 1, 3, 5, 4])) == pytest.approx(0.8)
    assert math.isnan(spearman(values, np.ones(20)))


def test_what_belongs_together_widens_the_interval():
    rng = np.random.default_rng(1)
    one, other = np.repeat(rng.normal(size=10), 20), np.repeat(rng.normal(size=10), 20)
    together = correlation(one, other, np.repeat(np.arange(10), 20))
    apart = correlation(one, other, np.arange(200))
    assert together.value == apart.value
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_an_interval_of_a_mean_holds_it_and_shrinks_with_more_groups():
    rng = np.random.default_rng(2)
    few, many = ([(rng.random(8) < 0.5).astype(float) for _ in range(count)] for count in (4, 64))
    small, large = mean(few), mean(many)
    for found, groups in ((small, few), (large, many)):
        assert found.value == pytest.approx(np.mean(groups))
        assert found.low <= found.value <= found.high
    assert large.high - large.low < small.high - small.low
    assert mean(few) == small
    assert mean(few, 0.999).low <= small.low


def test_nothing_has_no_figure():
    assert str(mean([])) == mean([]).percent == mean([]).points == "–"
    assert str(interval(float("nan"), [1.0])) == "–"
    assert Estimate(0.5, 0.25, 0.75).percent == "50 % (25 to 75)"
    assert Estimate(-0.1, -0.2, 0.05).points == "-10 (-20 to +5)"
