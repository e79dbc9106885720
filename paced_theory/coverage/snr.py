"""Coverage of the intervals of SNR^2, of their sums over bins, of its kin, and the size of the test that SNR^2 is flat.

One data set: n gradients in 200 dimensions with Gaussian noise. Norms are log-normal in one of two ways: *proportional*, g_i = r_i (mu + e_i),
a large gradient has a large signal; *independent*, g_i = mu + r_i e_i. Spread: standard deviation of log r; measured: 1.0 to 1.2.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.random import Generator

from paced_theory._checks import FloatArray
from paced_theory.bootstrap import bootstrap_snr
from paced_theory.coverage.study import Covered, Setting
from paced_theory.snr import SNREstimate, combine, estimate_snr, flat_snr_test, trimmed_snr, unit_norm_snr

DIMENSION = 200
CONFIDENCE = 0.95
REQUIRED = 0.92
#: The quantile at which a sample is trimmed is itself uncertain, more than a jackknife sees.
REQUIRED_TRIMMED = 0.90


@dataclass(frozen=True)
class Norms:
    """A law of r: `draw(n, rng)`, with E r and E r^2, and its name."""

    name: str
    mean: float
    mean_square: float
    draw: Callable[[int, Generator], FloatArray]


def log_normal(spread: float) -> Norms:
    """r = exp(spread z), z standard normal."""
    return Norms(
        f"log-norm sd {spread:g}",
        math.exp(spread**2 / 2),
        math.exp(2 * spread**2),
        lambda n, rng: np.exp(spread * rng.standard_normal(n)),
    )


def pareto(index: float) -> Norms:
    """r^2 of Pareto's law with the given index > 1: P(r^2 > x) = x^-index."""
    half = 2 * index / (2 * index - 1)
    return Norms(f"r^2 Pareto of index {index:g}", half, index / (index - 1), lambda n, rng: (1 - rng.random(n)) ** (-1 / (2 * index)))


def rare(share: float, factor: float) -> Norms:
    """r = factor with probability `share`, else 1."""
    name = f"one norm in {1 / share:g} is {factor:g}-fold"
    mean, square = 1 + share * (factor - 1), 1 + share * (factor**2 - 1)
    return Norms(name, mean, square, lambda n, rng: np.where(rng.random(n) < share, factor, 1.0))


def signal(norms: Norms, snr_squared: float, proportional: bool) -> float:
    """||mu|| for which the gradients have this SNR^2 (see the module's docstring)."""
    if not proportional:
        return math.sqrt(snr_squared * norms.mean_square * DIMENSION)
    # SNR^2 = (E r)^2 m / (E r^2 (m + d) - (E r)^2 m), solved for m = ||mu||^2.
    denominator = norms.mean**2 * (1 + snr_squared) - snr_squared * norms.mean_square
    return math.sqrt(snr_squared * norms.mean_square * DIMENSION / denominator)


def gradients(norms: Norms, n: int, snr_squared: float, proportional: bool, rng: Generator) -> FloatArray:
    """n gradients (n, 200); single precision while they are drawn, which is twice as fast."""
    lengths = norms.draw(n, rng).astype(np.float32)[:, None]
    g = rng.standard_normal((n, DIMENSION), dtype=np.float32)
    if not proportional:
        g *= lengths
    g[:, 0] += signal(norms, snr_squared, proportional)
    if proportional:
        g *= lengths
    return g.astype(np.float64)


def _row(study: str, name: str, required: float | None, found: list[tuple[float, float, float]], truth: float) -> Covered:
    """The row of estimates (value, low, high)."""
    value, low, high = np.array(found).T
    extra = {
        "too high": float((low > truth).mean()),
        "too low": float((high < truth).mean()),
        "median width": float(np.median(high - low)),
        "root mean square error": float(np.sqrt(((value - truth) ** 2).mean())),
    }
    if truth != 0:
        extra["bias, relative"] = float(value.mean() / truth - 1)
    return Covered(study, name, CONFIDENCE, int(((low <= truth) & (truth <= high)).sum()), len(found), required, extra)


def _ends(estimate: SNREstimate) -> tuple[float, float, float]:
    return estimate.snr_squared, estimate.snr_squared_low, estimate.snr_squared_high


# ---- one bin


def one_bin(
    norms: Norms,
    n: int,
    snr_squared: float,
    proportional: bool,
    study: str,
    name: str,
    required: float | None,
    replicates: int,
    rng: Generator,
) -> Covered:
    """The interval of `estimate_snr`; extra: how the jackknife's correction of the ratio does, and how often `trusted` says no."""
    found = [estimate_snr(gradients(norms, n, snr_squared, proportional, rng)) for _ in range(replicates)]
    row = _row(study, name, required, [_ends(estimate) for estimate in found], snr_squared)
    corrected = np.array([estimate.snr_squared - estimate.bias for estimate in found])
    row.extra["root mean square error, corrected"] = float(np.sqrt(((corrected - snr_squared) ** 2).mean()))
    if snr_squared:
        row.extra["bias, relative, corrected"] = float(corrected.mean() / snr_squared - 1)
    row.extra["not trusted"] = float(np.mean([not estimate.trusted for estimate in found]))
    row.extra["median effective n"] = float(np.median([estimate.effective_n for estimate in found]))
    return row


def _one_bin(norms: Norms, n: int, snr_squared: float, proportional: bool, required: float | None = REQUIRED) -> Setting:
    study = "SNR^2 of a bin" if required else "SNR^2 of a bin, norms for which nothing is promised"
    name = f"{norms.name}, {'proportional' if proportional else 'independent'}; n = {n:,}; SNR^2 = {snr_squared:g}"
    run = partial(one_bin, norms, n, snr_squared, proportional, study, name, required)
    return Setting(study, name, run, quick={100: 20, 500: 8, 2000: 0}[n], full=500 if n == 2000 else 1000)


# ---- bootstrap, kin


def bootstrapped(
    norms: Norms, n: int, snr_squared: float, study: str, name: str, required: float | None, replicates: int, rng: Generator
) -> Covered:
    """The interval of `bootstrap_snr`."""
    found = [bootstrap_snr(gradients(norms, n, snr_squared, True, rng), replicates=400, rng=rng) for _ in range(replicates)]
    return _row(study, name, required, [_ends(estimate) for estimate in found], snr_squared)


def _bootstrapped(norms: Norms, n: int, snr_squared: float, required: float | None) -> Setting:
    study = "SNR^2 of a bin by the bootstrap"
    name = f"{norms.name}, proportional; n = {n:,}; SNR^2 = {snr_squared:g}"
    return Setting(study, name, partial(bootstrapped, norms, n, snr_squared, study, name, required), quick=5 if n == 100 else 0, full=500)


@lru_cache
def kin_truth(spread: float, snr_squared: float, proportional: bool, share: float) -> tuple[float, float]:
    """Trimmed and unit-norm SNR^2 of the law, by 1,000,000 draws (error about 0.4 %): of a gradient only the first coordinate and the
    squared norm matter, as the mean lies along the first axis by symmetry."""
    rng, norms, draws = np.random.default_rng(5), log_normal(spread), 1_000_000
    length = norms.draw(draws, rng)
    first, rest = rng.standard_normal(draws), rng.chisquare(DIMENSION - 1, draws)
    mean = signal(norms, snr_squared, proportional)
    along = length * (mean + first) if proportional else mean + length * first
    squared = along**2 + length**2 * rest
    kept = squared <= np.quantile(squared, 1 - share)
    trimmed = along[kept].mean() ** 2
    unit = (along / np.sqrt(squared)).mean() ** 2
    return float(trimmed / (squared[kept].mean() - trimmed)), float(unit / (1 - unit))


def kin(
    spread: float,
    n: int,
    snr_squared: float,
    proportional: bool,
    unit: bool,
    study: str,
    name: str,
    required: float,
    replicates: int,
    rng: Generator,
) -> Covered:
    """The interval of `trimmed_snr` at a share of 1 % or of `unit_norm_snr`."""
    truth = kin_truth(spread, snr_squared, proportional, 0.01)[int(unit)]
    found = []
    for _ in range(replicates):
        g = gradients(log_normal(spread), n, snr_squared, proportional, rng)
        found.append(_ends(unit_norm_snr(g @ g.T) if unit else trimmed_snr(g @ g.T)))
    return _row(study, name, required, found, truth)


def _kin(spread: float, n: int, snr_squared: float, proportional: bool, unit: bool) -> Setting:
    study = "unit-norm SNR^2 of a bin" if unit else "SNR^2 of a bin without the 1 % largest"
    name = f"log-norm sd {spread:g}, {'proportional' if proportional else 'independent'}; n = {n:,}; SNR^2 = {snr_squared:g}"
    run = partial(kin, spread, n, snr_squared, proportional, unit, study, name, REQUIRED if unit else REQUIRED_TRIMMED)
    return Setting(study, name, run, quick=5 if n == 100 else 0, full=1000)


# ---- several bins

BINS = 11
#: Spread of the norms by bin, from p = 0 to p = 1.
SPREADS = {
    "light": (0.0,) * BINS,
    "heavy": (1.2,) * BINS,
    "rising": tuple(1.2 * b / (BINS - 1) for b in range(BINS)),
    "heavy at p = 0": (1.2, *(0.7,) * 9, 0.3),
}


def _size(n: int) -> dict[str, int]:
    return {"quick": 4, "full": 500} if n == 100 else {"quick": 0, "full": 300}


def _bins(spreads: tuple[float, ...], n: int, snr_squared: list[float], proportional: bool, rng: Generator) -> list[SNREstimate]:
    return [estimate_snr(gradients(log_normal(s), n, v, proportional, rng)) for s, v in zip(spreads, snr_squared, strict=True)]


def verdict(
    spreads: tuple[float, ...],
    n: int,
    end: float,
    proportional: bool,
    study: str,
    name: str,
    required: float,
    replicates: int,
    rng: Generator,
) -> Covered:
    """MOVER's interval of the verdict's quantity: SNR^2 of one end less half the mean of five bins in the middle, whose SNR^2 is 0.01."""
    values, weights = [end] + [0.01] * 5, [1.0] + [-0.1] * 5
    found = [combine(_bins(spreads, n, values, proportional, rng), weights) for _ in range(replicates)]
    return _row(study, name, required, found, end - 0.005)


def middle(spread: float, n: int, proportional: bool, study: str, name: str, required: float, replicates: int, rng: Generator) -> Covered:
    """MOVER's interval of the mean of five bins of SNR^2 = 0.01."""
    found = [combine(_bins((spread,) * 5, n, [0.01] * 5, proportional, rng), [0.2] * 5) for _ in range(replicates)]
    return _row(study, name, required, found, 0.01)


def _several(n: int, proportional: bool) -> list[Setting]:
    kind = f"{'proportional' if proportional else 'independent'}; n = {n:,} a bin"
    study, settings = "SNR^2 over bins (MOVER)", []
    size = _size(n)
    for spread in (0.0, 1.2):
        name = f"mean of five, log-norm sd {spread:g}, {kind}"
        settings.append(Setting(study, name, partial(middle, spread, n, proportional, study, name, REQUIRED), **size))
    for at_end, in_middle in ((0.0, 0.0), (1.2, 1.2), (0.0, 1.2), (1.2, 0.0)):
        for end in (0.0, 0.005):
            name = f"end of SNR^2 {end:g} less half the middle, log-norm sd {at_end:g} and {in_middle:g}, {kind}"
            run = partial(verdict, (at_end, *(in_middle,) * 5), n, end, proportional, study, name, REQUIRED)
            settings.append(Setting(study, name, run, **size))
    return settings


def flat(
    spreads: tuple[float, ...], n: int, snr_squared: tuple[float, ...], proportional: bool, study: str, name: str, required: float | None, replicates: int, rng: Generator
) -> Covered:  # fmt: skip
    """Counts the data sets in which the test at level 0.05 does not reject that SNR^2 is flat; extra: the share in which it does."""
    kept = sum(flat_snr_test(_bins(spreads, n, list(snr_squared), proportional, rng)).p_value > 1 - CONFIDENCE for _ in range(replicates))
    return Covered(study, name, CONFIDENCE, kept, replicates, required, {"rejected": 1 - kept / replicates})


def _flat(shape: str, n: int, snr_squared: float, proportional: bool, end: float = 1.0) -> Setting:
    kind = f"norms {shape}, {'proportional' if proportional else 'independent'}; n = {n:,} a bin; SNR^2 = {snr_squared:g}"
    study = "test that SNR^2 is flat, it is" if end == 1 else "test that SNR^2 is flat, it is not (power)"
    name = kind if end == 1 else f"{kind}, {end:g} of it at p = 0"
    values = (snr_squared * end, *(snr_squared,) * (BINS - 1))
    run = partial(flat, SPREADS[shape], n, values, proportional, study, name, 0.93 if end == 1 else None)
    return Setting(study, name, run, **_size(n))


SETTINGS: list[Setting] = [
    *[
        _one_bin(log_normal(spread), n, snr_squared, proportional)
        for n in (2000, 500, 100)
        for proportional in (True, False)
        for spread in (0.0, 0.6, 1.0, 1.2)
        for snr_squared in (0.0, 0.001, 0.01)
    ],
    *[_one_bin(norms, n, 0.01, True, None) for norms in (pareto(1.5), rare(0.01, 10.0)) for n in (100, 500, 2000)],
    *[
        _bootstrapped(log_normal(spread), n, snr_squared, REQUIRED if spread == 0 else None)
        for n, snr_squared in ((100, 0.0), (100, 0.01), (500, 0.01))
        for spread in (0.0, 1.2)
    ],
    *[
        _kin(spread, n, 0.01, proportional, unit)
        for unit in (False, True)
        for n in (100, 500)
        for proportional in (True, False)
        for spread in (0.0, 1.2)
    ],
    *[_kin(1.2, 500, 0.0, True, unit) for unit in (False, True)],
    *[setting for n in (100, 500) for proportional in (True, False) for setting in _several(n, proportional)],
    *[
        _flat(shape, n, value, proportional)
        for n, value in ((100, 0.001), (100, 0.01), (500, 0.01))
        for proportional in (True, False)
        for shape in SPREADS
    ],
    *[_flat(shape, n, 0.01, True, end) for shape in ("light", "rising") for n in (100, 500) for end in (0.5, 0.25)],
]
