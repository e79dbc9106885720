"""Claims about estimating the gradient SNR of a pass-rate bin from n gradients."""

import itertools
import math

import numpy as np

from paced_theory.bootstrap import bootstrap_snr, resampled_nu
from paced_theory.claims.ledger import Attack, Comparison, Derivation, Evidence, Section
from paced_theory.snr import estimate_snr, problems_needed, signal_and_noise

section = Section("snr", "Estimating the gradient SNR", "paced_theory/snr.py")

_VECTORS = np.array([[1.0, 0.5], [-0.3, 2.0], [0.7, -1.1], [0.2, 0.1]])
_MEAN = _VECTORS.mean(axis=0)
_SIGNAL, _NOISE = float(_MEAN @ _MEAN), float(np.sum((_VECTORS - _MEAN) ** 2) / 4)


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
    route="20,000 simulated bins of 100 gradients in 20 dimensions; attacked with n = 5 in 2 dimensions",
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
    return Evidence(
        Comparison(mean_ratio(100, 20, 3_000), 0.3, 5e-3),
        attacks=(
            Attack(
                f"5 gradients in 2 dimensions: the mean is {small:.2f} instead of 0.30",
                abs(small - 0.3) < 0.03,
                "n times the effective dimension large",
            ),
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
    statement="The 95 % jackknife interval of SNR^2 covers it, with and without signal.",
    formula="P(low <= SNR^2 <= high) >= 0.95, up to simulation error",
    source="ours",
    assumptions="independent gradients, n = 50",
    route="100 simulated bins in 30 dimensions each, SNR^2 = 0.05 and 0; attacked with Student's t noise of 3 degrees of freedom",
)
def _() -> Evidence:
    rng = np.random.default_rng(24)

    def coverage(snr_squared: float, tail: float | None) -> float:
        hits = 0
        for _ in range(100):
            noise = rng.standard_normal((50, 30)) if tail is None else rng.standard_t(tail, (50, 30)) / math.sqrt(tail / (tail - 2))
            noise[:, 0] += math.sqrt(30 * snr_squared)
            found = estimate_snr(noise)
            hits += found.snr_squared_low <= snr_squared <= found.snr_squared_high
        return hits / 100

    heavy = coverage(0.05, 3.0)
    return Evidence(
        Comparison(coverage(0.05, None), 0.9, 0.0, ">=", what="coverage at SNR^2 = 0.05"),
        (Comparison(coverage(0.0, None), 0.9, 0.0, ">=", what="coverage without signal"),),
        attacks=(Attack(f"noise with 3 degrees of freedom: coverage {heavy:.2f}", heavy >= 0.9, "noise with lighter tails"),),
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
