"""The law of pass rates from a screen and fresh rollouts, against closed forms of the Beta law and simulated counts."""

import math

import numpy as np
import pytest
from scipy import special, stats

from paced_theory.mixture import fit_through_posterior
from paced_theory.pass_rate_law import PassRateLaw, fit_pass_rate_law, law_nodes, tilted_beta
from paced_theory.screened_law import fit_screened_law, mixed_law, outcome_posterior, share_between

K, F = 10, 100
LOW = [[0], [1, 2], list(range(3, 10)), list(range(10, F + 1))]
HIGH = [[F - f for f in cell] for cell in LOW]
CELLS = {0: LOW, 1: LOW, 9: HIGH, 10: HIGH}


def beta_law(alpha, beta, rollouts=K + F):
    """A PassRateLaw that is Beta(alpha, beta), without a fit."""
    logit = law_nodes(rollouts)
    nan = float("nan")
    return PassRateLaw("beta", K, alpha, beta, (), 3.0, 8, 0.9, 4.0, 8, nan, logit, tilted_beta(logit, alpha, beta))


def expected(alpha, beta, total, again=1.0):
    """Expected counts, rounded, of `total` problems: by k, and where a share `again` of those at the ends falls."""
    screened = np.round(total * stats.betabinom(K, alpha, beta).pmf(np.arange(K + 1)))
    landed = {}
    for k, cells in CELLS.items():
        fresh = stats.betabinom(F, alpha + k, beta + K - k).pmf(np.arange(F + 1))
        landed[k] = np.floor(again * screened[k] * np.array([fresh[cell].sum() for cell in cells]))
    return screened, landed


@pytest.mark.parametrize(("alpha", "beta"), [(0.35, 0.43), (1.0, 1.0), (2.0, 0.6)])
@pytest.mark.parametrize("again", [1.0, 0.3, 0.0])
def test_counts_of_a_beta_law_give_that_law(alpha, beta, again):
    screened, landed = expected(alpha, beta, 300_000, again)
    law = fit_screened_law(screened, K, F, CELLS, landed)
    assert law.kind == "beta" and (law.alpha, law.beta) == pytest.approx((alpha, beta), rel=5e-3)
    groups = sum(number.sum() > 0 for number in landed.values())
    assert law.degrees_of_freedom == 8 + 3 * groups and law.chi_squared_p > 0.9
    if again == 0:
        alone = fit_pass_rate_law(screened, K)
        assert (law.alpha, law.beta, law.chi_squared) == pytest.approx((alone.alpha, alone.beta, alone.chi_squared), rel=1e-3)


def test_chi_squared_is_that_of_the_screen_and_of_the_fresh_counts_given_k():
    screened, landed = expected(0.35, 0.43, 3000)
    landed[0] = landed[0] + [-9, 4, 0, 0]
    law = fit_screened_law(screened, K, F, CELLS, landed)
    assert law.kind == "beta"
    total = 0.0
    first = stats.betabinom(K, law.alpha, law.beta).pmf(np.arange(K + 1)) * screened.sum()
    total += ((screened - first) ** 2 / first).sum()
    for k, number in landed.items():
        fresh = stats.betabinom(F, law.alpha + k, law.beta + K - k).pmf(np.arange(F + 1))
        given = np.array([fresh[cell].sum() for cell in CELLS[k]]) * number.sum()
        total += ((number - given) ** 2 / given).sum()
    assert law.chi_squared == pytest.approx(total, rel=1e-3)


def test_fresh_counts_sharpen_the_law_near_zero():
    rng = np.random.default_rng(0)
    found = {True: [], False: []}
    for _ in range(40):
        p = rng.beta(0.35, 0.43, 4000)
        k, f = rng.binomial(K, p), rng.binomial(F, p)
        screened = np.bincount(k, minlength=K + 1)
        landed = {j: [np.isin(f[k == j], cell).sum() for cell in cells] for j, cells in CELLS.items()}
        for again in (True, False):
            found[again].append(fit_screened_law(screened, K, F, CELLS, landed if again else {}).alpha)
    assert np.mean(found[True]) == pytest.approx(0.35, abs=4 * np.std(found[True]) / math.sqrt(40))
    assert np.std(found[True]) < 0.85 * np.std(found[False])


def test_problems_that_are_never_solved_are_seen_by_fresh_rollouts_only():
    """A tenth of the problems have p = 0: eleven counts of ten fit another power law, a hundred fresh ones do not."""
    screened, landed = expected(1.0, 1.0, 20_000)
    screened[0] += 2000
    landed[0] = landed[0] + [2000, 0, 0, 0]
    alone, both = fit_pass_rate_law(screened, K), fit_screened_law(screened, K, F, CELLS, landed)
    assert alone.chi_squared_p > 0.05 and both.chi_squared_p < 1e-6


def test_the_posterior_of_an_outcome_is_the_beta_posterior():
    law = beta_law(0.35, 0.43)
    passes, rollouts = np.array([0, 1, 3, 110, 7, 50]), np.array([110, 110, 10, 110, 10, 110])
    rows = outcome_posterior(law, passes, rollouts)
    assert rows.sum(axis=1) == pytest.approx(np.ones(6))
    posterior = stats.beta(0.35 + passes, 0.43 + rollouts - passes)
    assert rows @ law.pass_rate == pytest.approx(posterior.mean(), rel=1e-5)
    spread = rows @ law.pass_rate**2 - (rows @ law.pass_rate) ** 2
    assert spread == pytest.approx(posterior.var(), rel=1e-4)
    # k of K alone is what the law's own posterior says.
    assert outcome_posterior(law, np.arange(K + 1), np.full(K + 1, K)) == pytest.approx(law.posterior(), abs=1e-12)


def test_the_share_of_a_range_is_that_of_the_beta_posterior():
    law = beta_law(0.35, 0.43)
    for s, n in ((0, 110), (2, 110), (3, 10), (108, 110)):
        row = outcome_posterior(law, [s], [n])
        for low, high in ((0, 0.01), (0.01, 0.03), (0.03, 0.1), (0.3, 0.5), (0.99, 1), (0, 1)):
            truth = np.diff(stats.beta(0.35 + s, 0.43 + n - s).cdf([low, high]))[0]
            assert share_between(law, row, low, high)[0] == pytest.approx(truth, abs=0.01)


def test_a_mixture_of_laws_is_their_weighted_mean():
    one, other = beta_law(0.4, 2.0), beta_law(3.0, 0.6)
    both = mixed_law([one, other], [3, 1])
    assert both.kind == "mixture" and math.isnan(both.alpha) and both.tilt == ()
    assert both.mass == pytest.approx(0.75 * one.mass + 0.25 * other.mass)
    assert both.counts_law() == pytest.approx(0.75 * one.counts_law() + 0.25 * other.counts_law())
    assert (both.chi_squared, both.degrees_of_freedom) == (6.0, 16) and both.chi_squared_p == pytest.approx(stats.chi2.sf(6, 16))
    assert mixed_law([one], [2]) is one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"screened": [1] * 10}, "screened must be 11 integers >= 0"),
        ({"screened": [5] + [0] * 10}, "at two counts of passes or more"),
        ({"landed": {0: [9, 0, 0, 0]}}, r"landed\[0\] must hold no more problems than the 5 screened there, got 9"),
        ({"landed": {0: [1, 1, 1]}}, r"landed\[0\] must be 4 integers >= 0"),
        ({"landed": {0: [1, 1, -1, 0]}}, r"landed\[0\] must be 4 integers >= 0"),
        ({"cells": {0: [[0], [1, 2]]}}, "passes must be non-empty sets of counts 0..100"),
        ({"fresh": 0}, "fresh must be"),
    ],
)
def test_counts_that_cannot_be(change, message):
    given = {"screened": [5] * 11, "rollouts": K, "fresh": F, "cells": CELLS, "landed": {0: [2, 1, 1, 1]}} | change
    with pytest.raises(ValueError, match=message):
        fit_screened_law(**given)


def test_laws_and_outcomes_that_cannot_be():
    law = beta_law(1, 1)
    with pytest.raises(ValueError, match="shares must be 2 numbers >= 0"):
        mixed_law([law, law], [1])
    with pytest.raises(ValueError, match="same nodes"):
        mixed_law([law, beta_law(1, 1, 400)], [1, 1])
    with pytest.raises(ValueError, match=r"passes must be within 0..rollouts"):
        outcome_posterior(law, [3], [2])
    with pytest.raises(ValueError, match="posterior must have at least 4 rows"):
        fit_through_posterior(law, law.posterior()[:3], [1, 1, 1], [1, 1, 1])


# --- the fit through ranges -----------------------------------------------------------------------------------------------------------


def shown_by_ranges(alpha, beta, a, b, ranges):
    """SNR^2 of each range by closed forms: E[p^(a/2) (1-p)^(b/2)]^2 over (k, f) under a Beta law, constant noise."""
    found = []
    for k_set, f_set in ranges:
        mass = root = 0.0
        for k in k_set:
            for f, n in ((f, K + F) for f in f_set) if f_set else ((0, K),):
                choose = math.log(special.comb(K, k)) + (math.log(special.comb(F, f)) if f_set else 0.0)
                s = k + f
                mass += math.exp(choose + special.betaln(alpha + s, beta + n - s))
                root += math.exp(choose + special.betaln(alpha + s + a / 2, beta + n - s + b / 2))
        found.append((root / mass) ** 2)
    return np.array(found)


RANGES = (
    [((0, 1), cell) for cell in LOW[:3]]
    + [((2,), ()), ((3, 4), ()), ((5, 6), ()), ((7, 8), ())]
    + [((9, 10), cell) for cell in HIGH[2::-1]]
)


def simulated(a, b, seed, *, count=9000, error=0.05, alpha=0.35, beta=0.43):
    """One data set: counts of problems, the outcomes of each range's, SNR^2 with its error; the law fitted, and the fit through it."""
    rng = np.random.default_rng(seed)
    p = rng.beta(alpha, beta, count)
    k, f = rng.binomial(K, p), rng.binomial(F, p)
    landed = {j: [np.isin(f[k == j], cell).sum() for cell in cells] for j, cells in CELLS.items()}
    law = fit_screened_law(np.bincount(k, minlength=K + 1), K, F, CELLS, landed)
    rows = []
    for k_set, f_set in RANGES:
        chosen = np.isin(k, k_set) & (np.isin(f, f_set) if f_set else True)
        s, n = (k + f, K + F) if f_set else (k, K)
        times = np.bincount(s[chosen])
        outcomes = np.flatnonzero(times)
        rows.append(times[outcomes] / times.sum() @ outcome_posterior(law, outcomes, np.full(outcomes.size, n)))
    truth = shown_by_ranges(alpha, beta, a, b, RANGES)
    peak = truth.max()
    y = truth / peak + error * rng.standard_normal(len(RANGES))
    return fit_through_posterior(law, np.array(rows), y, np.full(len(RANGES), error))


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.33, 0.43), (0.0, 0.5)])
def test_exponents_are_covered_through_ranges(a, b):
    fits = [simulated(a, b, seed) for seed in range(60)]
    inside = [sum(fit.a_low <= a <= fit.a_high for fit in fits), sum(fit.b_low <= b <= fit.b_high for fit in fits)]
    # Of 60 intervals of 95 %: 52 or fewer would be a chance of 1 in 200; they are widened where chi-squared asks, so 60 can be.
    assert min(inside) >= 53, inside
    bounds = [sum(a <= fit.a_high for fit in fits), sum(b <= fit.b_high for fit in fits)]
    assert min(bounds) >= 55, bounds  # one-sided, 97.5 %
    assert np.median([fit.a for fit in fits]) == pytest.approx(a, abs=0.05)
    assert np.median([fit.b for fit in fits]) == pytest.approx(b, abs=0.05)
    assert all(fit.degrees_of_freedom == 7 for fit in fits) and np.median([fit.chi_squared for fit in fits]) == pytest.approx(6.3, abs=1.6)


def test_ranges_bound_a_slow_collapse_that_bins_of_ten_leave_open():
    """At a = 0.2 the bin k = 0 keeps 0.5 of the middle's SNR^2, [0, 0.01) keeps less, and the exponent's interval is narrower."""
    fits = [simulated(0.2, 0.2, seed) for seed in range(20)]
    narrow = np.median([fit.a_high - fit.a_low for fit in fits])
    coarse = []
    bins = [((k,), ()) for k in range(K + 1)]
    truth = shown_by_ranges(0.35, 0.43, 0.2, 0.2, bins)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        p = rng.beta(0.35, 0.43, 9000)
        law = fit_pass_rate_law(np.bincount(rng.binomial(K, p), minlength=K + 1), K)
        y = truth / truth.max() + 0.05 * rng.standard_normal(K + 1)
        fit = fit_through_posterior(law, law.posterior(), y, np.full(K + 1, 0.05))
        coarse.append(fit.a_high - fit.a_low)
    assert narrow < 0.85 * np.median(coarse)
    ranges = shown_by_ranges(0.35, 0.43, 0.2, 0.2, RANGES)
    assert ranges[0] / ranges[4] < 0.45 < truth[0] / truth[5]
