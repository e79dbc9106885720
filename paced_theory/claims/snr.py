"""Claims about estimating the gradient SNR of a pass-rate bin from n gradients."""

import itertools
import math

import numpy as np

from paced_theory.bootstrap import bootstrap_snr, resampled_nu
from paced_theory.claims.ledger import Attack, Comparison, Derivation, Evidence, Section
from paced_theory.coverage.snr import Norms, gradients, log_normal, pareto, rare
from paced_theory.snr import SNREstimate, estimate_snr, flat_snr_test, permutation_null, problems_needed, signal_and_noise

section = Section("snr", "Estimating the gradient SNR", "paced_theory/snr.py")

_VECTORS = np.array([[1.0, 0.5], [-0.3, 2.0], [0.7, -1.1], [0.2, 0.1]])
_MEAN = _VECTORS.mean(axis=0)
_SIGNAL, _NOISE = float(_MEAN @ _MEAN), float(np.sum((_VECTORS - _MEAN) ** 2) / 4)


def _heavy(n: int, snr_squared: float, count: int, rng: np.random.Generator) -> list[SNREstimate]:
    """Estimates from bins whose norms have a log-normal spread of 1.2, signal in proportion."""
    return [estimate_snr(gradients(log_normal(1.2), n, snr_squared, True, rng)) for _ in range(count)]


def _all_samples(n: int) -> np.ndarray:
    """Every sample of n gradients, with repetition, from a law with four equally likely values: (4^n, n, 2)."""
    return np.asarray(_VECTORS[np.array(list(itertools.product(range(4), repeat=n)))])


def _from_sample(sample: np.ndarray) -> tuple[float, float]:
    total = sample.sum(axis=0)
    return signal_and_noise(len(sample), float(total @ total), float(np.sum(sample**2)))


@section.claim(
    "naive-bias",
    statement="The naive squared signal of n gradients is too large by n2/n, so the naive SNR has a floor of 1/sqrt(n).",
    formula="E|mean g|^2 = |E g|^2 + tr Cov(g)/n",
    source="standard",
    assumptions="independent gradients",
    route="every sample of 4 gradients from a four-point law enumerated",
)
def _() -> Evidence:
    import sympy as sp

    mu, variance, n = sp.symbols("mu v n", positive=True)
    # One coordinate: n diagonal terms E g^2 and n(n-1) cross terms mu^2.
    identity = sp.simplify((n * (mu**2 + variance) + n * (n - 1) * mu**2) / n**2 - mu**2 - variance / n) == 0
    naive = float(np.mean(np.sum(_all_samples(4).mean(axis=1) ** 2, axis=1)))
    return Evidence(
        Comparison(naive, _SIGNAL + _NOISE / 4, 1e-12),
        derivation=Derivation("expansion of the squared mean, coordinate by coordinate", identity),
    )


@section.claim(
    "unbiased-signal",
    statement="Signal and noise have unbiased estimates from two sums, |sum g|^2 and sum |g|^2.",
    formula="s2 = (|sum g|^2 - sum |g|^2)/(n(n-1)), n2 = (sum |g|^2 - |sum g|^2/n)/(n-1)",
    source="standard (U-statistics)",
    assumptions="independent gradients with finite second moments, n >= 2",
    route="every sample of 3 gradients from a four-point law enumerated; attacked with correlated problems",
)
def _() -> Evidence:
    estimates = np.array([_from_sample(sample) for sample in _all_samples(3)]).mean(axis=0)
    # Problems of one batch that share a nuisance direction: each pair is correlated, and the pair's covariance counts as signal.
    shared = 0.5
    sample = np.random.default_rng(2).normal(size=(4000, 3, 2)) + shared * np.random.default_rng(3).normal(size=(4000, 1, 2))
    inflated = float(np.mean([_from_sample(s)[0] for s in sample]))
    return Evidence(
        Comparison(float(estimates[0]), _SIGNAL, 1e-12, what="mean of s2"),
        (Comparison(float(estimates[1]), _NOISE, 1e-12, what="mean of n2"),),
        attacks=(
            Attack(
                "problems that share a random direction (one template, one batch)",
                abs(inflated) < 0.1,
                f"pure noise then shows a signal of {inflated:.2f}, the covariance between problems",
                drops="independent gradients",
            ),
        ),
    )


@section.claim(
    "ratio-unbiased",
    statement="The ratio of the two unbiased estimates is an unbiased estimate of SNR^2.",
    formula="E[s2/n2] = |E g|^2 / tr Cov(g)",
    source="ours (tempting, tested)",
    assumptions="Gaussian gradients of dimension d, n of them",
    route="3,000 simulated bins of 100 gradients in 20 dimensions; attacked with n = 5 in 2 dimensions and with heavy-tailed norms",
    recorded="conditional",
)
def _() -> Evidence:
    rng = np.random.default_rng(21)

    def mean_ratio(n: int, d: int, repeats: int) -> float:
        mean = np.zeros(d)
        mean[0] = math.sqrt(0.3 * d)  # SNR^2 = 0.3
        ratios = []
        for _ in range(repeats // 1000):
            sample = mean + rng.standard_normal((1000, n, d))
            total, squares = np.sum(sample.sum(axis=1) ** 2, axis=1), np.sum(sample**2, axis=(1, 2))
            ratios.append((total - squares) / (n * (n - 1)) / ((squares - total / n) / (n - 1)))
        return float(np.mean(ratios))

    small = mean_ratio(5, 2, 20_000)
    few, many = (float(np.mean([e.snr_squared for e in _heavy(n, 0.01, count, rng)])) / 0.01 - 1 for n, count in ((100, 300), (1000, 80)))
    return Evidence(
        Comparison(mean_ratio(100, 20, 3_000), 0.3, 5e-3),
        attacks=(
            Attack(
                f"5 gradients in 2 dimensions: the mean is {small:.2f} instead of 0.30",
                abs(small - 0.3) < 0.03,
                "n times the effective dimension large",
            ),
            Attack(
                f"norms of log-normal spread 1.2, a signal in proportion: the mean is {few:+.0%} off at n = 100, {many:+.0%} at n = 1,000",
                abs(few) < 0.05,
                "many gradients that carry the noise: (sum |g|^2)^2 / sum |g|^4 large",
            ),
        ),
    )


@section.claim(
    "ratio-kept",
    statement="Where norms are heavy, correcting the ratio's bias by the jackknife costs more than it gains: the ratio is kept as it is.",
    formula="E(s2/n2 - SNR^2)^2 <= E(s2/n2 - bias_jackknife - SNR^2)^2",
    source="ours",
    assumptions="norms of log-normal spread 1.2, signal in proportion to the norm, SNR^2 = 0.01",
    route="300 simulated bins of 100 gradients in 200 dimensions and 100 of 500: root mean square errors, and the bias left",
)
def _() -> Evidence:
    rng = np.random.default_rng(28)

    def errors(n: int, count: int) -> tuple[float, float]:
        found = _heavy(n, 0.01, count, rng)
        plain = np.array([e.snr_squared for e in found]) / 0.01 - 1
        corrected = plain - np.array([e.bias for e in found]) / 0.01
        return float(np.sqrt(np.mean(corrected**2) / np.mean(plain**2))), abs(float(corrected.mean())) / abs(float(plain.mean()))

    (few, few_left), (many, _) = errors(100, 300), errors(500, 100)
    return Evidence(
        Comparison(few, 1.0, 0.0, ">=", what="error of the corrected ratio over that of the plain one, n = 100"),
        (
            Comparison(many, 1.0, 0.0, ">=", what="the same, n = 500"),
            Comparison(few_left, 1.0, 0.0, "<=", what="bias left by the correction over the plain one's, n = 100"),
        ),
    )


@section.claim(
    "floor-draws-bell",
    statement="Without any signal the naive SNR draws a bell over pass-rate bins filled at random; the unbiased estimate does not.",
    formula="naive SNR ~ 1/sqrt(n_bin)",
    source="ours (the trap in the naive probe)",
    assumptions="bins of 257, 83, 38, 28, 25, 33, 34, 35, 31, 71, 365 problems, as random problems fill them",
    route="60 simulated probes of pure noise in 200 dimensions: middle bins against end bins",
)
def _() -> Evidence:
    rng = np.random.default_rng(22)
    sizes = [257, 83, 38, 28, 25, 33, 34, 35, 31, 71, 365]
    naive, unbiased = [], []
    for _ in range(60):
        rows = []
        for n in sizes:
            # In d isotropic dimensions |sum g|^2 ~ n chi2_d, independent of the squares about the mean ~ chi2_(n-1)d.
            total, about = n * rng.chisquare(200), rng.chisquare(200 * (n - 1))
            signal, noise = signal_and_noise(n, total, about + total / n)
            rows.append((math.sqrt(total) / n / math.sqrt(noise), signal / noise))
        naive.append([row[0] for row in rows])
        unbiased.append([row[1] for row in rows])
    bell = np.mean(naive, axis=0)
    centre = np.array(unbiased)[:, 3:8].mean(axis=1)
    return Evidence(
        Comparison(float(bell[3:8].mean() / bell[[0, -1]].mean()), 3.0, 0.3, what="naive SNR, middle over ends"),
        (
            Comparison(
                abs(float(centre.mean())) / float(centre.std() / math.sqrt(60)),
                3.0,
                0.0,
                "<=",
                what="unbiased middle bins, in standard errors",
            ),
        ),
    )


@section.claim(
    "interval",
    statement="The 95 % interval of SNR^2 covers it in at least 92 % of bins, with and without signal, where norms are log-normal.",
    formula="P(low <= SNR^2 <= high) >= 0.92",
    source="ours",
    assumptions="independent gradients, n from 100 to 2,000, norms of log-normal spread at most 1.2, SNR^2 at most 0.01",
    route="200 simulated bins of 100 gradients in 200 dimensions a setting, less four standard errors (all settings, n to 2,000 and up to 1,000 "
    "bins each: make coverage); attacked with Pareto norms and with a rare large norm",
)
def _() -> Evidence:
    rng, count = np.random.default_rng(24), 200

    def rate(norms: Norms, snr_squared: float, n: int = 100, runs: int = count, proportional: bool = True) -> float:
        found = [estimate_snr(gradients(norms, n, snr_squared, proportional, rng)) for _ in range(runs)]
        return sum(e.snr_squared_low <= snr_squared <= e.snr_squared_high for e in found) / runs

    def covers(norms: Norms, snr_squared: float, proportional: bool = True) -> Comparison:
        kind = "proportional" if proportional else "independent"
        value = rate(norms, snr_squared, proportional=proportional)
        what = f"coverage, {norms.name}, signal and norm {kind}, SNR^2 = {snr_squared:g}"
        return Comparison(value, 0.92, 4 * math.sqrt(0.92 * 0.08 / count), ">=", what=what)

    heavy, light = log_normal(1.2), log_normal(0.0)
    power_law, outlier = rate(pareto(1.5), 0.01, n=2000, runs=100), rate(rare(0.01, 10.0), 0.01)
    bare = _heavy(400, 0.01, count, rng)
    plain = sum(e.snr_squared_low + e.tail_bias <= 0.01 <= e.snr_squared_high for e in bare) / count
    without = Comparison(plain, 0.88, 0.0, "<=", what="coverage without the allowance for the tail, n = 400, log-norm sd 1.2")
    dropped = "norms of log-normal spread at most 1.2"
    return Evidence(
        covers(heavy, 0.01),
        (covers(heavy, 0.01, False), covers(heavy, 0.001), covers(heavy, 0.0), covers(light, 0.01), covers(light, 0.0), without),
        attacks=(
            Attack(
                "squared norms of Pareto's law of index 1.5, 2,000 gradients",
                power_law >= 0.92,
                f"coverage {power_law:.2f}: the variance of |g|^2 is infinite",
                drops=dropped,
            ),
            Attack(
                "one norm in 100 is tenfold, 100 gradients",
                outlier >= 0.92,
                f"coverage {outlier:.2f}: a sample may hold none of them, and no statistic of it can tell",
                drops=dropped,
            ),
        ),
    )


@section.claim(
    "permutation-band",
    statement="The band of shuffled labels tests that gradients are exchangeable over bins; a flat SNR may leave it.",
    formula="P(SNR^2_b outside its 95 % band) = 0.05 if gradients are exchangeable; SNR^2 equal in all bins is not enough",
    source="ours",
    assumptions="independent gradients",
    route="20 simulated probes of 4 bins of 100 gradients in 200 dimensions, SNR^2 = 0.02 in all: one mean gradient, and orthogonal ones",
)
def _() -> Evidence:
    rng, probes, bins, n = np.random.default_rng(29), 20, 4, 100

    def outside(turned: bool) -> float:
        left = 0
        for _ in range(probes):
            parts = [np.roll(gradients(log_normal(0.0), n, 0.02, True, rng), b if turned else 0, axis=1) for b in range(bins)]
            low, high = np.quantile(permutation_null(np.concatenate(parts), [n] * bins, replicates=60, rng=rng), [0.025, 0.975], axis=0)
            values = np.array([estimate_snr(part).snr_squared for part in parts])
            left += int(((values < low) | (values > high)).sum())
        return left / (probes * bins)

    return Evidence(
        Comparison(outside(False), 0.05, 0.1, what="share of bins outside, one mean gradient"),
        (Comparison(outside(True), 0.5, 0.0, ">=", what="share of bins outside, the same flat SNR with orthogonal mean gradients"),),
    )


@section.claim(
    "flat-test",
    statement="The test of a flat SNR rejects a flat one in at most 5 % of probes when norms and directions differ by bin, and finds a low end.",
    formula="P(p_value <= 0.05 | SNR^2 equal in all bins) <= 0.05",
    source="ours",
    assumptions="independent gradients, norms of log-normal spread at most 1.2",
    route="60 simulated probes of 11 bins of 100 gradients, spread 0 to 1.2 from the first to the last, SNR^2 = 0.01; then a tenth of it at p = 0",
)
def _() -> Evidence:
    rng, probes, spreads = np.random.default_rng(30), 60, np.linspace(0, 1.2, 11)

    def rejected(at_zero: float) -> float:
        hits = 0
        for _ in range(probes):
            values = [at_zero] + [0.01] * 10
            found = [estimate_snr(gradients(log_normal(s), 100, v, True, rng)) for s, v in zip(spreads, values, strict=True)]
            hits += flat_snr_test(found).p_value <= 0.05
        return hits / probes

    return Evidence(
        Comparison(rejected(0.01), 0.05, 3 * math.sqrt(0.05 * 0.95 / probes), "<=", what="share rejected, flat"),
        (Comparison(rejected(0.001), 0.8, 0.0, ">=", what="share rejected, a tenth of it at p = 0"),),
    )


@section.claim(
    "bootstrap-shift",
    statement="Resampling problems adds signal: percentiles of the resampled unbiased estimate lie about 1/n too high and leave 0 out.",
    formula="E*[s2*] = |mean g|^2 = s2 + n2/n",
    source="ours",
    assumptions="independent gradients, n = 20",
    route="every resample of 4 gradients enumerated; 100 bins of pure noise in 30 dimensions: percentile and centred interval",
)
def _() -> Evidence:
    resampled = np.mean([_from_sample(sample)[0] for sample in _all_samples(4)])
    s2, n2 = _from_sample(_VECTORS)
    rng, n = np.random.default_rng(26), 20
    percentile = centred = 0
    for _ in range(100):
        noise = rng.standard_normal((n, 30))
        found = bootstrap_snr(noise, replicates=200, rng=rng)
        centred += found.snr_squared_low <= 0 <= found.snr_squared_high
        nu, _ = resampled_nu(noise @ noise.T, replicates=200, rng=rng)
        percentile += float(np.quantile(nu**2 - 1 / n, 0.025)) <= 0
    return Evidence(
        Comparison(float(resampled), s2 + n2 / 4, 1e-12),
        (
            Comparison(percentile / 100, 0.8, 0.0, "<=", what="coverage of SNR^2 = 0 by percentiles"),
            Comparison(centred / 100, 0.9, 0.0, ">=", what="coverage by the centred interval"),
        ),
    )


@section.claim(
    "power",
    statement="How many problems a bin needs to tell SNR^2 from zero follows from the spread of the unbiased estimate.",
    formula="SNR^2 >= z_level sqrt(2/r)/n + z_power sqrt(2/(r n^2) + 4 SNR^2/(r n)), r the effective rank",
    source="ours",
    assumptions="isotropic noise of r dimensions",
    route="4,000 simulated bins of the computed size, SNR^2 = 0.004, r = 25: share detected, against 80 %",
)
def _() -> Evidence:
    rng = np.random.default_rng(25)
    snr2, rank = 0.004, 25
    n = problems_needed(snr2, effective_rank=rank)
    # |sum g|^2 ~ n noncentral chi2 with n |mu|^2; noise variance 1 a dimension, so |mu|^2 = SNR^2 r.
    total = n * rng.noncentral_chisquare(rank, n * snr2 * rank, 4000)
    about = rng.chisquare(rank * (n - 1), 4000)
    ratio = np.array([(s / z) for s, z in (signal_and_noise(n, t, a + t / n) for t, a in zip(total, about, strict=True))])
    threshold = 1.959964 * math.sqrt(2 / rank) / n
    return Evidence(Comparison(float(np.mean(ratio > threshold)), 0.8, 0.03, what=f"share detected with {n} problems"))
