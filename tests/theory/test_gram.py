"""The Gram matrix of bins: brute force over pairs, enumeration, leave-one-out loops, sets of cosines on a grid, simulated coverage."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paced_theory.gram import BinGram, _fieller, bin_gram, cosines

SIZES = (4, 6, 5)


def small_bins(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, 7)) * rng.lognormal(size=(n, 1)) + rng.standard_normal(7) for n in SIZES]


def without(bins: list[np.ndarray], b: int, i: int) -> list[np.ndarray]:
    return [np.delete(values, i, axis=0) if c == b else values for c, values in enumerate(bins)]


def by_pairs(bins: list[np.ndarray]) -> np.ndarray:
    """Inner products over all pairs of two problems, those of one bin of two different ones."""
    inner = np.empty((len(bins), len(bins)))
    for a, b in itertools.product(range(len(bins)), repeat=2):
        pairs = [x @ y for i, x in enumerate(bins[a]) for j, y in enumerate(bins[b]) if a != b or i != j]
        inner[a, b] = np.mean(pairs)
    return inner


# ---- the matrix


def test_inner_products_are_means_over_pairs_of_different_problems() -> None:
    bins = small_bins()
    gram = bin_gram(bins)
    assert gram.inner == pytest.approx(by_pairs(bins), rel=1e-12)
    assert gram.second_moment == pytest.approx([np.mean([g @ g for g in values]) for values in bins], rel=1e-12)
    assert gram.sizes == SIZES


def test_inner_products_are_unbiased() -> None:
    """Every sample of three problems a bin of a law of three values, weighted by its probability."""
    values, chance = np.array([[1.0, 0.5], [-0.3, 2.0], [0.7, -1.1]]), np.array([0.5, 0.3, 0.2])
    other = np.array([[0.2, 1.0], [1.5, -0.4], [-0.9, 0.1]])
    expected = np.zeros((2, 2))
    for one, two in itertools.product(itertools.product(range(3), repeat=3), repeat=2):
        weight = math.prod(chance[i] for i in (*one, *two))
        expected += weight * bin_gram([values[list(one)], other[list(two)]]).inner
    means = np.stack([chance @ values, chance @ other])
    assert expected == pytest.approx(means @ means.T, abs=1e-12)


def test_what_a_problem_left_out_changes() -> None:
    bins = small_bins()
    gram = bin_gram(bins)
    for b, n in enumerate(SIZES):
        left = np.array([by_pairs(without(bins, b, i))[b] for i in range(n)])
        assert gram.left_inner[b] == pytest.approx(left - gram.inner[b], abs=1e-10)
        moments = [np.square(np.delete(bins[b], i, axis=0)).sum() / (n - 1) for i in range(n)]
        assert gram.left_moment[b] == pytest.approx(moments - gram.second_moment[b], abs=1e-10)


def test_the_covariance_of_forms_is_the_jackknifes() -> None:
    bins, rng = small_bins(1), np.random.default_rng(2)
    left, right = rng.standard_normal((2, 5, 3))
    values, covariance = bin_gram(bins).forms(left, right)

    def forms(some: list[np.ndarray]) -> np.ndarray:
        inner = by_pairs(some)
        return np.array([u @ inner @ v for u, v in zip(left, right, strict=True)])

    assert values == pytest.approx(forms(bins))
    expected = np.zeros((5, 5))
    for b, n in enumerate(SIZES):
        moved = np.array([forms(without(bins, b, i)) for i in range(n)])
        moved -= moved.mean(0)
        expected += (n - 1) / n * moved.T @ moved
    assert covariance == pytest.approx(expected, rel=1e-9)


# ---- sketches


def test_with_sketches_norms_and_the_diagonal_are_exact() -> None:
    bins, rng = small_bins(3), np.random.default_rng(4)
    signs = rng.choice([-1.0, 1.0], size=(7, 64)) / 8
    exact = bin_gram(bins)
    sketches = [(values @ signs).astype(np.float32) for values in bins]
    norms = [(values**2).sum(1) for values in bins]
    gram = bin_gram(sketches, norms_squared=norms, sums_norm_squared=[float((values.sum(0) ** 2).sum()) for values in bins])
    assert np.diag(gram.inner) == pytest.approx(np.diag(exact.inner)) and gram.second_moment == pytest.approx(exact.second_moment)
    off = ~np.eye(3, dtype=bool)
    means = np.stack([values.mean(0) for values in bins]) @ signs
    assert gram.inner[off] == pytest.approx((means @ means.T)[off], rel=1e-5)
    assert gram.sketch_size == 64 and exact.sketch_size is None and not exact.sketch_variance(np.eye(3), np.eye(3)).any()
    assert all(left.mean(0) == pytest.approx(0, abs=1e-9) for left in gram.left_inner)
    by_sketch_alone = bin_gram(sketches, norms_squared=norms)
    pairs = by_pairs([values.astype(np.float64) for values in sketches])
    assert np.diag(by_sketch_alone.inner) == pytest.approx(np.diag(pairs), rel=1e-5)


def test_the_sketchs_variance_is_bounded_as_stated_and_widens_the_cosines_interval() -> None:
    rng = np.random.default_rng(5)
    bins = [rng.standard_normal((40, 60)) + 0.5 for _ in range(2)]
    norms, sums = [(g**2).sum(1) for g in bins], [float((g.sum(0) ** 2).sum()) for g in bins]
    grams = [
        bin_gram([g @ signs for g in bins], norms_squared=norms, sums_norm_squared=sums)
        for signs in rng.choice([-1.0, 1.0], size=(400, 60, 64)) / 8
    ]
    spread = float(np.var([gram.inner[0, 1] for gram in grams]))
    one, two = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    bound = np.mean([gram.sketch_variance(one, two)[0] for gram in grams])
    assert 0.7 * bound < spread < 1.15 * bound
    exact, sketched = cosines(bin_gram(bins)), cosines(grams[0])
    assert sketched.high[0, 1] - sketched.low[0, 1] > 1.5 * (exact.high[0, 1] - exact.low[0, 1])


# ---- cosines


def known(inner: list[list[float]], n: int = 50, spread: float = 0.1, seed: int = 0) -> BinGram:
    """A Gram matrix that says `inner`, with made-up changes by a problem left out."""
    rng, matrix = np.random.default_rng(seed), np.array(inner)
    left = rng.standard_normal((len(matrix), n, len(matrix))) * spread / n
    left -= left.mean(1, keepdims=True)
    bins = len(matrix)
    return BinGram(matrix, np.ones(bins), (n,) * bins, tuple(left), (np.zeros(n),) * bins, np.ones(bins), np.zeros(bins), matrix, None)


def test_cosines_are_ratios_clamped_and_none_where_a_mean_is_not_told_from_zero() -> None:
    found = cosines(known([[4.0, 1.0, 5.0, 1.0], [1.0, 1.0, -3.0, 1.0], [5.0, -3.0, 4.0, 1.0], [1.0, 1.0, 1.0, -0.1]]))
    assert found.value[0, 1] == pytest.approx(0.5) and found.low[0, 1] < 0.5 < found.high[0, 1] < 1
    assert found.value[0, 2] == 1.0 and found.high[0, 2] == 1.0  # 1.25 is no cosine
    assert found.value[1, 2] == -1.0 and found.low[1, 2] == -1.0
    assert np.isnan(found.value[3, :3]).all() and (found.low[3, :3] == -1).all() and (found.high[3, :3] == 1).all()
    for matrix in (found.value, found.low, found.high):
        assert matrix == pytest.approx(matrix.T, nan_ok=True) and (np.diag(matrix) == 1).all()
    assert (np.abs(found.low) <= 1).all() and (np.abs(found.high) <= 1).all()


def test_a_cosines_interval_is_the_delta_methods_where_all_is_well_known() -> None:
    gram = known([[4.0, 1.0], [1.0, 1.0]], spread=0.02)
    pairs = np.array([[1.0, 0], [1.0, 0], [0, 1.0]]), np.array([[1.0, 0], [0, 1.0], [0, 1.0]])
    _, covariance = gram.forms(*pairs)
    slopes = np.array([-0.5 * 0.5 / 4, 1 / 2, -0.5 * 0.5 / 1])  # of I_01 / sqrt(I_00 I_11)
    half = gram.quantile(0.95) * math.sqrt(slopes @ covariance @ slopes)
    found = cosines(gram)
    assert (found.low[0, 1], found.high[0, 1]) == pytest.approx((0.5 - half, 0.5 + half), abs=half * 0.02)
    wider = cosines(gram, confidence=0.99)
    assert wider.low[0, 1] < found.low[0, 1] and wider.high[0, 1] > found.high[0, 1]


def test_groups_are_means_of_their_bins() -> None:
    bins = [np.vstack([g, g]) for g in small_bins(6)]
    gram = bin_gram(bins)
    groups = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    inner = groups @ gram.inner @ groups.T
    assert inner[0, 0] > 0 and inner[1, 1] > 0
    expected = np.clip(inner[0, 1] / math.sqrt(inner[0, 0] * inner[1, 1]), -1, 1)
    assert cosines(gram, groups).value[0, 1] == pytest.approx(expected)


NUMBER = st.floats(-2, 2)


@given(NUMBER, st.floats(0.01, 2), st.floats(0.001, 1), st.floats(0.001, 4), st.floats(-0.99, 0.99))
def test_the_interval_holds_every_cosine_that_is_not_rejected(top: float, bottom: float, var_t: float, var_b: float, corr: float) -> None:
    joint = corr * math.sqrt(var_t * var_b)
    low, high = (min(1.0, max(-1.0, end)) for end in _fieller(top, bottom, var_t, joint, var_b))
    grid = np.linspace(-1, 1, 401)
    kept = grid[(top - grid * bottom) ** 2 <= var_t - 2 * grid * joint + grid**2 * var_b]
    assert low <= high
    if len(kept):
        assert low <= kept.min() + 1e-9 and high >= kept.max() - 1e-9
        if bottom**2 > 1.01 * var_b:  # an interval: no longer than the set
            assert low >= kept.min() - 0.0051 and high <= kept.max() + 0.0051


@pytest.mark.parametrize(("spread", "proportional", "n"), [(0.0, True, 100), (1.2, True, 200), (1.2, False, 200)])
def test_cosines_are_covered_with_light_and_heavy_tails(spread: float, proportional: bool, n: int) -> None:
    """log |g| spreads as measured in the lab's bins; a weak signal, as there; cosines of 1, 0.5, 0 and -0.5."""
    rng, d, signal = np.random.default_rng(7), 60, 0.03
    turns = np.radians([0, 0, 60, 90, 120])
    second = math.exp(2 * spread**2)
    length = math.sqrt(signal * d * (second / math.exp(spread**2) if proportional else second))
    means = np.zeros((5, d))
    means[:, 0], means[:, 1] = np.cos(turns) * length, np.sin(turns) * length
    truth = np.cos(turns[:, None] - turns)
    covered, widths = [], []
    for _ in range(80):
        bins = []
        for mean in means:
            norms, noise = np.exp(spread * rng.standard_normal((n, 1))), rng.standard_normal((n, d))
            bins.append(norms * (mean + noise) if proportional else mean + norms * noise)
        found = cosines(bin_gram(bins))
        covered.append((found.low <= truth + 1e-9) & (truth - 1e-9 <= found.high))
        widths.append(found.high - found.low)
    shares = np.mean(covered, axis=0)[np.triu_indices(5, 1)]
    assert shares.min() >= 0.86 and shares.mean() >= 0.93, shares
    assert np.median(widths, axis=0)[np.triu_indices(5, 1)].max() < 1.2, "an interval of everything covers too"


# ---- what is refused


@pytest.mark.parametrize(
    ("vectors", "options", "message"),
    [
        ([], {}, "vectors must be one or more arrays"),
        ([np.ones((3, 2)), np.ones((3, 4))], {}, "vectors must be one or more arrays"),
        ([np.ones((2, 2))], {}, r"vectors\[0\] must be a real array \(n, m\) of n >= 3"),
        ([np.ones(3)], {}, r"vectors\[0\] must be a real array"),
        ([np.full((3, 2), np.nan)], {}, r"vectors\[0\] must be finite"),
        ([np.ones((3, 2))], {"norms_squared": [np.ones(4)]}, "norms_squared must hold one number a problem"),
        ([np.ones((3, 2))], {"norms_squared": []}, "norms_squared must hold one number a problem"),
        ([np.ones((3, 2))], {"norms_squared": [[1.0, np.inf, 1.0]]}, r"norms_squared\[0\] must be"),
        ([np.ones((3, 2))], {"sums_norm_squared": [1.0, 2.0]}, "sums_norm_squared must hold one number a bin"),
    ],
)
def test_what_fits_no_matrix_is_named(vectors: list[np.ndarray], options: dict[str, list[np.ndarray]], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        bin_gram(vectors, **options)


def test_groups_of_other_bins_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^groups must have one column a bin, 3, got shape"):
        cosines(bin_gram(small_bins()), np.ones((2, 2)))
