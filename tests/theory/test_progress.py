"""Progress per noise along the pool's mean gradient: Cauchy and Schwarz, a numeric optimum, a leave-one-out loop, simulated coverage."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from paced_theory.gram import bin_gram
from paced_theory.kernels import BetaKernel, HardFilter, SqrtVariance, Uniform
from paced_theory.progress import alignments, angles, best_weight, efficiencies

P = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
SHARE = np.array([0.35, 0.15, 0.1, 0.15, 0.25])
WEIGHTS = np.array([np.ones(5), P * (1 - P), (1 - P) ** 2, (P > 0) * 1.0])


def progress(weight: np.ndarray, alignment: np.ndarray, moment: np.ndarray, share: np.ndarray) -> float:
    """As defined, bin for bin."""
    along = sum(q * w * a for q, w, a in zip(share, weight, alignment, strict=True))
    noise = sum(q * w * w * m for q, w, m in zip(share, weight, moment, strict=True))
    return float(along / math.sqrt(noise))


def efficiency(weights: np.ndarray, alignment: np.ndarray, moment: np.ndarray, share: np.ndarray) -> np.ndarray:
    best = progress(alignment / moment, alignment, moment, share)
    return np.array([max(0.0, progress(weight, alignment, moment, share)) ** 2 / best**2 for weight in weights])


# ---- the optimum


@st.composite
def pools(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Alignments of mean gradients with their pool's, second moments that such gradients can have, shares."""
    rng, bins = np.random.default_rng(draw(st.integers(0, 10**6))), draw(st.integers(2, 8))
    means = rng.standard_normal((bins, draw(st.integers(1, 4)))) * rng.lognormal(size=(bins, 1))
    share = rng.dirichlet(np.ones(bins))
    return means @ (share @ means), (means**2).sum(1) + rng.lognormal(size=bins), share


@given(pools(), st.integers(0, 10**6))
def test_no_weight_makes_more_progress_than_the_optimum(pool: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int) -> None:
    alignment, moment, share = pool
    rng = np.random.default_rng(seed)
    best = math.sqrt(float((share * alignment**2 / moment).sum()))
    assert progress(alignment / moment, alignment, moment, share) == pytest.approx(best)
    # The pool's own gradient has a positive inner product with some bin's.
    usable = progress(best_weight(alignment, moment), alignment, moment, share)
    assert 0 < usable <= best * (1 + 1e-12)
    for _ in range(5):
        assert progress(rng.standard_normal(len(share)), alignment, moment, share) <= best * (1 + 1e-12)
        positive = rng.exponential(size=len(share)) * rng.integers(0, 2, len(share))
        if positive.any():
            assert progress(positive, alignment, moment, share) <= usable * (1 + 1e-12)


def test_the_usable_weight_is_the_numeric_optimum_and_has_mean_one() -> None:
    alignment, moment = np.array([-0.3, 0.2, 0.5, 0.4, 0.05]), np.array([3.0, 2.0, 1.0, 0.5, 0.2])
    found = optimize.minimize(
        lambda w: -progress(w, alignment, moment, SHARE), np.ones(5), bounds=[(0, 10)] * 5, options={"ftol": 1e-14, "gtol": 1e-10}
    )
    weight = best_weight(alignment, moment)
    assert weight == pytest.approx(found.x / found.x.mean(), abs=1e-3) and weight.mean() == pytest.approx(1) and weight[0] == 0


def test_where_all_bins_share_a_direction_the_weight_is_length_over_second_moment() -> None:
    lengths, moment = np.array([0.1, 0.4, 0.2]), np.array([1.0, 2.0, 3.0])
    share = np.array([0.2, 0.3, 0.5])
    alignment = lengths * float(share @ lengths)
    assert best_weight(alignment, moment) == pytest.approx(lengths / moment / (lengths / moment).mean())


def test_for_bins_that_count_alone_it_is_the_efficiency_of_kernels() -> None:
    """Equal noise and |mu|^2 ~ p(1-p) for uniform p: the kernels' own closed forms and quadrature."""
    p = (np.arange(2000) + 0.5) / 2000
    kernels = [Uniform(), BetaKernel(), HardFilter(), SqrtVariance()]
    found = angles(np.array([kernel(p) for kernel in kernels]), p * (1 - p), np.ones(2000), np.full(2000, 1 / 2000))
    assert np.cos(found) ** 2 == pytest.approx([kernel.efficiency(BetaKernel()) for kernel in kernels], abs=1e-4)


# ---- estimates


def gradients(
    n: int, rng: np.random.Generator, *, spread: float = 0.0, strength: float = 0.6
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Five bins that turn away from one another, of falling norms: gradients, true means, true second moments."""
    d, turns, scale = 50, np.radians([100, 40, 20, 0, -30]), np.exp(-P)
    means = np.zeros((5, d))
    means[:, 0], means[:, 1] = strength * scale * np.cos(turns), strength * scale * np.sin(turns)
    bins = [
        np.exp(spread * rng.standard_normal((n, 1))) * (mean + s * rng.standard_normal((n, d)))
        for mean, s in zip(means, scale, strict=True)
    ]
    factor, second = math.exp(spread**2 / 2), math.exp(2 * spread**2)
    return bins, means * factor, second * ((means**2).sum(1) + d * scale**2)


def test_values_and_limits_are_those_of_a_loop_over_problems_left_out() -> None:
    bins, _, _ = gradients(12, np.random.default_rng(0), strength=3.0)

    def angle(some: list[np.ndarray], own: bool) -> np.ndarray:
        gram = bin_gram(some)
        alignment = np.diag(gram.inner) if own else gram.inner @ SHARE
        cosine = [
            progress(w, alignment, gram.second_moment, SHARE) / math.sqrt(float((SHARE * alignment**2 / gram.second_moment).sum()))
            for w in WEIGHTS
        ]
        return np.arccos(cosine)

    for own in (False, True):
        gram, phi, variance, bias, tail = bin_gram(bins), angle(bins, own), np.zeros(4), np.zeros(4), np.zeros(4)
        t = float(stats.t.ppf(0.95, 11))
        for b in range(5):
            left = np.array([angle([np.delete(g, i, 0) if c == b else g for c, g in enumerate(bins)], own) for i in range(12)])
            variance += 11 / 12 * ((left - left.mean(0)) ** 2).sum(0)
            bias += 11 * ((left**2).mean(0) - phi**2)
            # The tail: log m_b moves by what the jackknife of it does not see, and up by what the sample has not shown.
            without = np.array([(np.delete(bins[b], i, 0) ** 2).sum(1).mean() for i in range(12)]) / (bins[b] ** 2).sum(1).mean()
            hidden = math.sqrt(max(0.0, gram.log_spread[b] ** 2 - 11 / 12 * float(((without - 1) ** 2).sum())))
            moved = []
            for factor in (math.exp(t * hidden) / gram.seen[b], math.exp(-t * hidden)):
                moment = gram.second_moment.copy()
                moment[b] *= factor
                alignment = np.diag(gram.inner) if own else gram.inner @ SHARE
                moved.append((angles(WEIGHTS, alignment, moment, SHARE) - phi) ** 2)
            tail += np.maximum(*moved)
        half = np.sqrt(t**2 * variance + tail)
        found = efficiencies(gram, 7 * SHARE, WEIGHTS, own=own, confidence=0.9)
        for values, end in ((found.value, phi), (found.high, np.maximum(phi - half, 0))):
            shrunk = np.sqrt(np.maximum(end**2 - np.maximum(bias, 0), 0))
            assert values == pytest.approx(np.cos(np.minimum(shrunk, np.pi / 2)) ** 2, rel=1e-6)
        assert found.low == pytest.approx(np.cos(np.minimum(phi + half, np.pi / 2)) ** 2, rel=1e-6)


@pytest.mark.parametrize(("spread", "n", "least"), [(0.0, 100, 0.9), (1.2, 200, 0.8)])
def test_efficiencies_and_alignments_are_covered_and_the_best_is_nearer_the_truth_than_without_correction(
    spread: float, n: int, least: float
) -> None:
    rng = np.random.default_rng(1)
    _, means, moments = gradients(n, rng, spread=spread)
    alignment = means @ (SHARE @ means)
    truth, own = efficiency(WEIGHTS, alignment, moments, SHARE), efficiency(WEIGHTS, (means**2).sum(1), moments, SHARE)
    values, plain, covered, covered_own, aligned = [], [], [], [], []
    for _ in range(100):
        gram = bin_gram(gradients(n, rng, spread=spread)[0])
        found, alone, along = efficiencies(gram, SHARE, WEIGHTS), efficiencies(gram, SHARE, WEIGHTS, own=True), alignments(gram, SHARE)
        values.append(found.value)
        plain.append(efficiency(WEIGHTS, gram.inner @ SHARE, gram.second_moment, SHARE))
        covered.append((found.low <= truth) & (truth <= found.high))
        covered_own.append((alone.low <= own) & (own <= alone.high))
        aligned.append((along.low <= alignment) & (alignment <= along.high))
        assert ((found.low <= found.value) & (found.value <= found.high)).all()
    assert np.mean(covered, axis=0).min() >= least and np.mean(covered_own, axis=0).min() >= least
    assert np.mean(aligned, axis=0).min() >= 0.85 and np.mean(aligned) >= 0.9
    # The better a weight, the more of its efficiency does noise hide.
    best = int(truth.argmax())
    assert abs(np.mean(values, axis=0)[best] - truth[best]) < 0.5 * abs(np.mean(plain, axis=0)[best] - truth[best])


def test_a_tail_that_the_sample_does_not_show_widens_the_interval() -> None:
    """One bin's norms are cut above their 80th percentile: their jackknife says that the mean square is well known, their upper half does not."""
    rng = np.random.default_rng(5)
    bins, _, _ = gradients(400, rng, spread=1.0, strength=10.0)
    order = np.argsort((bins[0] ** 2).sum(1))
    bins[0] = bins[0][order[:320]]
    gram = bin_gram(bins)
    blind = replace(gram, log_spread=np.zeros(5))
    seeing, not_seeing = efficiencies(gram, SHARE, WEIGHTS), efficiencies(blind, SHARE, WEIGHTS)
    assert (seeing.low <= not_seeing.low).all() and (seeing.high >= not_seeing.high).all()
    assert (seeing.high - seeing.low)[0] > 1.1 * (not_seeing.high - not_seeing.low)[0]
    assert seeing.value == pytest.approx(not_seeing.value)


def test_a_weight_against_the_pool_has_no_efficiency_and_a_weight_of_zero_none_at_all() -> None:
    rng = np.random.default_rng(2)
    mean = np.array([3.0, 0.0, 0.0])
    bins = [rng.standard_normal((50, 3)) + sign * mean for sign in (-1, 1, 1)]
    found = efficiencies(bin_gram(bins), [1, 1, 1], [[1.0, 0, 0], [0, 1.0, 1.0], [0, 0, 0]])
    assert found.value[0] == found.low[0] == found.high[0] == 0 and found.value[1] > 0.5 and np.isnan(found.value[2])


def test_a_sketchs_error_widens_the_interval() -> None:
    rng = np.random.default_rng(3)
    bins, _, _ = gradients(300, rng, strength=4.0)
    signs = rng.choice([-1.0, 1.0], size=(50, 32)) / math.sqrt(32)
    sums = [float((g.sum(0) ** 2).sum()) for g in bins]
    sketched = bin_gram([g @ signs for g in bins], norms_squared=[(g**2).sum(1) for g in bins], sums_norm_squared=sums)
    wide, narrow = efficiencies(sketched, SHARE, WEIGHTS), efficiencies(bin_gram(bins), SHARE, WEIGHTS)
    assert ((wide.high - wide.low) > (narrow.high - narrow.low)).all()
    assert (alignments(sketched, SHARE).high - alignments(sketched, SHARE).low)[2] > 0


# ---- what is refused


def test_wrong_arguments_are_named() -> None:
    gram = bin_gram(gradients(5, np.random.default_rng(4))[0])
    with pytest.raises(ValueError, match=r"^share must hold one number >= 0 for each of the 5 bins"):
        efficiencies(gram, [1.0, 2.0], WEIGHTS)
    with pytest.raises(ValueError, match=r"^share must hold one number >= 0"):
        alignments(gram, np.zeros(5))
    with pytest.raises(ValueError, match=r"^weights must be >= 0 in 5 columns"):
        efficiencies(gram, SHARE, -WEIGHTS)
    with pytest.raises(ValueError, match=r"^weights must be >= 0 in 5 columns"):
        efficiencies(gram, SHARE, WEIGHTS[:, :3])
    with pytest.raises(ValueError, match=r"^bin \[1\] has gradients of norm zero only"):
        efficiencies(bin_gram([np.eye(3), np.zeros((3, 3))]), [1, 1], [[1, 1]])
    with pytest.raises(ValueError, match=r"^no bin's mean gradient has a positive inner product"):
        best_weight([-1.0, 0.0], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"^alignment and second_moment must be of one length, the second positive"):
        best_weight([1.0, 1.0], [1.0, 0.0])
