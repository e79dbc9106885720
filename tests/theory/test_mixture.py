"""The law of pass rates and the fit through it, against closed forms of the Beta law, brute-force integrals and simulated problems."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, special, stats

from paced_theory.estimation import fit_beta_prior
from paced_theory.mixture import fit_through_mixture
from paced_theory.pass_rate_law import PassRateLaw, bin_probabilities, fit_pass_rate_law, law_nodes, tilted_beta

COMMON = settings(deadline=None, max_examples=25, derandomize=True)
K = 10
#: Counts of the committed probe of the lab's Qwen3-like student, k = 0..10.
OFFERED = [11077, 5458, 3806, 3052, 2697, 2310, 2076, 2011, 2263, 3021, 8821]


def beta_law(alpha, beta, rollouts=K):
    """A PassRateLaw that is Beta(alpha, beta), without a fit."""
    logit = law_nodes(rollouts)
    nan = float("nan")
    return PassRateLaw("beta", rollouts, alpha, beta, (), 0.0, 8, nan, 0.0, 8, nan, logit, tilted_beta(logit, alpha, beta))


def beta_counts(alpha, beta, total, rollouts=K):
    """Expected counts, rounded, of `total` problems whose pass rates are Beta(alpha, beta)."""
    return np.round(total * stats.betabinom(rollouts, alpha, beta).pmf(np.arange(rollouts + 1)))


def shown(alpha, beta, log_c, a, b, cells, g=0.0, h=0.0, rollouts=K):
    """SNR^2 of each bin by adaptive quadrature in p: E[sqrt(f m)]^2 / E[m] under the posterior of a Beta law."""

    def moment(cell, x, y):
        def density(p):
            return sum(special.comb(rollouts, k) * p ** (k + alpha - 1 + x) * (1 - p) ** (rollouts - k + beta - 1 + y) for k in cell)

        return integrate.quad(density, 0, 0.5, limit=500)[0] + integrate.quad(density, 0.5, 1, limit=500)[0]

    one = [(moment(cell, (a + g) / 2, (b + h) / 2), moment(cell, g, h), moment(cell, 0, 0)) for cell in cells]
    return np.array([math.exp(log_c) * root**2 / (noise * mass) for root, noise, mass in one])


# --- the law --------------------------------------------------------------------------------------------------------------------------


@COMMON
@given(alpha=st.floats(0.25, 20), beta=st.floats(0.25, 20), rollouts=st.sampled_from([2, 10, 64]))
def test_nodes_reproduce_the_beta_binomial_and_its_posteriors(alpha, beta, rollouts):
    law, k = beta_law(alpha, beta, rollouts), np.arange(rollouts + 1)
    assert law.mass.sum() == pytest.approx(1, abs=1e-12)
    assert law.counts_law() == pytest.approx(stats.betabinom(rollouts, alpha, beta).pmf(k), rel=1e-4)
    assert law.posterior_mean() == pytest.approx((k + alpha) / (rollouts + alpha + beta), rel=1e-4)
    spread = law.posterior() @ law.pass_rate**2 - law.posterior_mean() ** 2
    assert spread == pytest.approx(stats.beta(k + alpha, rollouts - k + beta).var(), rel=1e-3)


def test_logarithms_are_exact_at_both_ends():
    law = beta_law(1.0, 1.0)
    assert law.log_pass_rate[0] == pytest.approx(-40) and law.log_failure_rate[-1] == pytest.approx(-40)
    assert np.exp(law.log_pass_rate) + np.exp(law.log_failure_rate) == pytest.approx(np.ones(law.logit.size))


@pytest.mark.parametrize(("alpha", "beta"), [(0.35, 0.43), (1.0, 1.0), (3.0, 0.6)])
def test_counts_of_a_beta_law_give_that_law(alpha, beta):
    counts = beta_counts(alpha, beta, 200_000)
    law = fit_pass_rate_law(counts, K)
    assert law.kind == "beta" and law.tilt == () and law.degrees_of_freedom == 8
    assert (law.alpha, law.beta) == pytest.approx((alpha, beta), rel=2e-3)
    k = np.repeat(np.arange(K + 1), counts.astype(int))
    assert (law.alpha, law.beta) == pytest.approx(fit_beta_prior(k, K), rel=1e-3)
    expected = counts.sum() * law.counts_law()
    assert law.chi_squared == pytest.approx(np.sum((counts - expected) ** 2 / expected))
    assert law.chi_squared_p == pytest.approx(stats.chi2.sf(law.chi_squared, 8)) and law.chi_squared_p > 0.99


def test_the_measured_counts_reject_the_beta_law_and_a_tilted_one_fits_them():
    law = fit_pass_rate_law(OFFERED, K)
    assert law.beta_chi_squared == pytest.approx(941, abs=1) and law.beta_degrees_of_freedom == 8 and law.beta_chi_squared_p < 1e-100
    assert law.kind == "tilted beta" and law.chi_squared_p >= 0.05 and law.degrees_of_freedom == 8 - len(law.tilt)
    assert law.counts_law() * sum(OFFERED) == pytest.approx(np.array(OFFERED, float), rel=0.05)
    p = law.pass_rate
    density = law.alpha * law.log_pass_rate + law.beta * law.log_failure_rate
    density += sum(t * special.eval_chebyt(j + 1, 2 * p - 1) for j, t in enumerate(law.tilt))
    assert np.log(law.mass) - density == pytest.approx(np.full(p.size, math.log(law.mass[0]) - density[0]), abs=1e-9)


def test_the_likelihood_is_at_its_maximum():
    law = fit_pass_rate_law(OFFERED, K)
    best = np.dot(OFFERED, np.log(law.counts_law()))
    for shift in np.random.default_rng(0).normal(size=(50, 2 + len(law.tilt))) * 0.02:
        mass = tilted_beta(law.logit, law.alpha * math.exp(shift[0]), law.beta * math.exp(shift[1]), np.add(law.tilt, shift[2:]))
        assert np.dot(OFFERED, np.log(bin_probabilities(law.logit, K) @ mass)) < best + 1e-6


def test_cells_of_several_counts_are_sums():
    cells = [[0, 1], [2, 3], [4, 5], [6, 7, 8], [9, 10]]
    law = beta_law(0.4, 0.7)
    assert law.counts_law(cells) == pytest.approx([law.counts_law()[cell].sum() for cell in cells])
    merged = [np.average(law.posterior_mean()[cell], weights=law.counts_law()[cell]) for cell in cells]
    assert law.posterior_mean(cells) == pytest.approx(merged)
    assert law.posterior_mean([[3], [10]]) == pytest.approx(law.posterior_mean()[[3, 10]])
    counts = beta_counts(0.4, 0.7, 100_000)
    found = fit_pass_rate_law([counts[cell].sum() for cell in cells], K, cells)
    assert (found.alpha, found.beta, found.degrees_of_freedom) == pytest.approx((0.4, 0.7, 2), rel=1e-2)


def test_too_few_cells_to_test_a_law_say_so():
    law = fit_pass_rate_law([30, 20, 50], 2)
    assert law.degrees_of_freedom == 0 and math.isnan(law.chi_squared_p) and law.kind == "beta"


@COMMON
@given(counts=st.lists(st.integers(0, 400), min_size=5, max_size=5).filter(lambda c: sum(x > 0 for x in c) >= 2))
def test_any_counts_in_two_cells_give_a_law(counts):
    law = fit_pass_rate_law(counts, 4)
    assert law.mass.sum() == pytest.approx(1) and (law.mass >= 0).all()
    assert math.isfinite(law.chi_squared) and 0 <= law.chi_squared_p <= 1


# --- the fit --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [None, [[0], [1, 2], [3, 4, 5], [6, 7], [8, 9], [10]], [[0], [2], [4], [9], [10]]])
@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.33, 0.43), (0.0, 0.0), (-0.2, 2.5)])
def test_noise_free_bins_are_recovered_through_any_bins(cells, a, b):
    used = cells or [[k] for k in range(K + 1)]
    y = shown(0.35, 0.43, -6.0, a, b, used)
    fit = fit_through_mixture(cells, K, beta_law(0.35, 0.43), y, 0.01 * y)
    assert (fit.log_c, fit.a, fit.b) == pytest.approx((-6.0, a, b), abs=2e-3)
    assert fit.fitted == pytest.approx(y, rel=1e-3) and fit.chi_squared < 0.01 and fit.scale == 1
    assert fit.degrees_of_freedom == len(used) - 3 and fit.at_bound == () and fit.problem == ""
    assert fit.snr_squared([0.2, 0.5]) == pytest.approx(np.exp(fit.log_c) * np.array([0.2, 0.5]) ** fit.a * np.array([0.8, 0.5]) ** fit.b)


def test_noise_that_varies_is_taken_out():
    law, cells = beta_law(0.5, 0.8), [[k] for k in range(K + 1)]
    y = shown(0.5, 0.8, -6.0, 0.6, 0.9, cells, g=-0.18, h=0.85)
    k = np.arange(K + 1)
    noise = 3 * np.exp(special.betaln(k + 0.5 - 0.18, K - k + 0.8 + 0.85) - special.betaln(k + 0.5, K - k + 0.8))
    fit = fit_through_mixture(None, K, law, y, 0.01 * y, noise=noise)
    assert (fit.noise_a, fit.noise_b) == pytest.approx((-0.18, 0.85), abs=1e-3)
    assert (fit.a, fit.b) == pytest.approx((0.6, 0.9), abs=2e-3)
    ignored = fit_through_mixture(None, K, law, y, 0.01 * y)
    assert (ignored.noise_a, ignored.noise_b) == (0, 0) and ignored.a != pytest.approx(0.6, abs=2e-3)


def test_mean_squares_are_another_reading():
    k = np.arange(K + 1)
    mean_square = 0.01 * np.exp(special.betaln(k + 0.5 + 1.0, K - k + 0.8 + 2.0) - special.betaln(k + 0.5, K - k + 0.8))
    fit = fit_through_mixture(None, K, beta_law(0.5, 0.8), mean_square, 0.01 * mean_square, signal="mean square")
    assert (fit.a, fit.b, fit.log_c, fit.signal) == (
        pytest.approx(1, abs=2e-3),
        pytest.approx(2, abs=2e-3),
        pytest.approx(math.log(0.01), abs=2e-3),
        "mean square",
    )


def test_intervals_solve_the_profile_equation_and_grow_with_what_the_form_leaves_unexplained():
    law = beta_law(0.5, 0.8)
    truth = fit_through_mixture(None, K, law, *[shown(0.5, 0.8, -6.0, 0.7, 1.1, [[k] for k in range(K + 1)])] * 2).fitted
    se = 0.15 * truth + 1e-5
    y = truth + se * np.random.default_rng(3).normal(size=K + 1)
    fit = fit_through_mixture(None, K, law, y, se)
    k = np.arange(K + 1)

    def profile(value):
        """chi^2 over log c and b by scipy's simplex, the bins' means in closed form."""

        def chi(free):
            root = special.betaln(k + 0.5 + value / 2, K - k + 0.8 + free[1] / 2) - special.betaln(k + 0.5, K - k + 0.8)
            return np.sum(((y - np.exp(free[0] + 2 * root)) / se) ** 2)

        return optimize.minimize(chi, (fit.log_c, fit.b), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-10}).fun

    best = profile(fit.a)
    assert fit.chi_squared == pytest.approx(best, abs=1e-3)
    inflation = max(1.0, fit.chi_squared / 8)
    assert fit.scale == pytest.approx(math.sqrt(inflation)) and fit.chi_squared_p == pytest.approx(stats.chi2.sf(fit.chi_squared, 8))
    for end, level in ((fit.a_low, 0.95), (fit.a_high, 0.95), (fit.a_lower, 0.9), (fit.a_upper, 0.9)):
        assert (profile(end) - best) / inflation == pytest.approx(stats.chi2.ppf(level, 1), rel=0.02)
    assert fit.a_low < fit.a_lower < fit.a < fit.a_upper < fit.a_high
    smaller = fit_through_mixture(None, K, law, y, se / 10)
    assert smaller.scale == pytest.approx(10 * math.sqrt(fit.chi_squared / 8), rel=1e-3)
    raw = math.sqrt(8 / fit.chi_squared) if inflation == 1.0 else 1.0
    assert smaller.a_high - smaller.a_low == pytest.approx((fit.a_high - fit.a_low) / raw, rel=0.1)


def test_exponents_outside_the_box_are_flagged_and_bounds_name_its_end():
    y = shown(0.5, 0.8, 0.0, 14.0, 1.0, [[k] for k in range(K + 1)])
    fit = fit_through_mixture(None, K, beta_law(0.5, 0.8), y, np.full(K + 1, 1e-4 * y.max()))
    assert fit.a == 10 == fit.a_high == fit.a_upper and "a" in fit.at_bound


@COMMON
@given(seed=st.integers(0, 10_000), size=st.sampled_from([0.1, 1.0, 10.0]))
def test_bounds_are_ordered_for_any_data_with_signal(seed, size):
    rng = np.random.default_rng(seed)
    y = 0.002 + 0.002 * size * rng.normal(size=K + 1)
    y[5] = abs(y[5]) + 0.002
    fit = fit_through_mixture(None, K, beta_law(0.5, 0.3), y, 0.002 * size * rng.uniform(0.5, 2, K + 1))
    for name in "ab":
        low, lower, value, upper, high = (getattr(fit, name + end) for end in ("_low", "_lower", "", "_upper", "_high"))
        assert -1 <= low <= lower <= value <= upper <= high <= 10
    assert math.isfinite(fit.log_c) and 0 <= fit.chi_squared_p <= 1


@settings(deadline=None, max_examples=8, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_the_mirrored_problem_has_the_mirrored_law_and_fit(seed):
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(20_000, stats.betabinom(K, *rng.uniform(0.3, 2, 2)).pmf(np.arange(K + 1)))
    y = 0.002 * rng.uniform(0.5, 2, K + 1)
    law, mirrored_law = fit_pass_rate_law(counts, K), fit_pass_rate_law(counts[::-1], K)
    assert mirrored_law.counts_law() == pytest.approx(law.counts_law()[::-1], rel=1e-3)
    fit, mirrored = fit_through_mixture(None, K, law, y, y / 5), fit_through_mixture(None, K, mirrored_law, y[::-1], y[::-1] / 5)
    assert (mirrored.b, mirrored.a) == pytest.approx((fit.a, fit.b), abs=0.01)
    assert (mirrored.b_low, mirrored.b_high) == pytest.approx((fit.a_low, fit.a_high), abs=0.02)


def test_reading_bins_at_k_over_K_misses_what_the_mixture_finds():
    """Why the mixture: the naive reading of noise-free bins of SNR^2 ~ p(1-p) is off by far more than its own interval."""
    from paced_theory.representation import fit_leading_order_linear

    y = shown(0.35, 0.43, -6.0, 1.0, 1.0, [[k] for k in range(K + 1)])
    naive = fit_leading_order_linear((np.arange(K + 1) + 0.5) / (K + 1), y, np.full(K + 1, 0.05 * y.max()))
    assert naive.a_high < 1 or naive.a_low > 1
    assert fit_through_mixture(None, K, beta_law(0.35, 0.43), y, np.full(K + 1, 0.05 * y.max())).a == pytest.approx(1, abs=2e-3)


# --- bad input ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_pass_rate_law([1, 2], 4), "offered must have at least 3 entries"),
        (lambda: fit_pass_rate_law([1, 2, 3], 4), "offered must be 5 integers >= 0, one for each cell"),
        (lambda: fit_pass_rate_law([1, 2.5, 3], 2), "offered must be 3 integers >= 0"),
        (lambda: fit_pass_rate_law([1, -2, 3], 2), "offered must be 3 integers >= 0"),
        (lambda: fit_pass_rate_law([0, 7, 0], 2), "offered must have problems in at least two cells"),
        (lambda: fit_pass_rate_law([1, 2, 3], 1), "rollouts must be an integer >= 2"),
        (lambda: fit_pass_rate_law([1, 2, 3], 3, [[0], [1], [2]]), r"passes must be non-empty sets of counts 0\.\.3, which together hold each"),
        (lambda: fit_pass_rate_law([1, 2, 3], 2, [[0], [1, 1], [2]]), "passes must be"),
        (lambda: fit_pass_rate_law([1, 2, 3], 2, [[0, 1, 2], [], []]), "passes must be"),
        (lambda: fit_pass_rate_law([1, 2, 3], 2, [[0], [1], [3]]), "passes must be"),
        (lambda: beta_law(1e6, 1.0, 400).posterior([[0]]), "passes must be counts that the law makes possible, got cell 0"),
        (lambda: fit_through_mixture(None, 4, beta_law(1, 1), np.ones(5), np.ones(5)), "law must be of the same number of rollouts as the bins, 4, got 10"),
        (lambda: fit_through_mixture([[0], [1], [2]], K, beta_law(1, 1), np.ones(3), np.ones(3)), "passes must name at least 4 bins"),
        (lambda: fit_through_mixture(None, K, beta_law(1, 1), np.ones(5), np.ones(5)), "snr_squared must have one entry for each of the 11 bins"),
        (lambda: fit_through_mixture(None, K, beta_law(1, 1), np.ones(11), np.zeros(11)), "standard_error must be positive"),
        (lambda: fit_through_mixture(None, K, beta_law(1, 1), np.ones(11), np.ones(11), noise=np.zeros(11)), "noise must be 11 numbers > 0"),
        (lambda: fit_through_mixture(None, K, beta_law(1, 1), -np.ones(11), np.ones(11)), "snr_squared shows no positive signal"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
