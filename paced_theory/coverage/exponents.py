"""Coverage of the exponents' intervals: from problems with a law of pass rates to the fit through the mixture, all estimated.

One data set: the counts of all problems drawn, K = 10 rollouts each; n problems a bin, their pass rates from the law given k; gradients in
200 dimensions r (s(p) u + e), with e of norm about 1 and r log-normal, so that norms are heavy-tailed and signal and noise share them;
SNR^2 with its interval by the package's estimator; the law of pass rates fitted to the counts; the exponents fitted through it. The law is
the measured one (that of results/desk-v1/snr_robustness/sum), the peak of SNR^2 is 0.003, about what the probe found, and 200 is about the
effective rank that it found.

A row counts the data sets in which the interval held the truth, for the exponent that fares worse; `extra` has both, the median widths and
the coverage of the one-sided upper bounds. Data sets without a fit count as misses.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.random import Generator
from scipy.special import log_expit

from paced_theory.coverage.study import Covered, Setting
from paced_theory.mixture import MixtureFit, fit_through_mixture
from paced_theory.pass_rate_law import Cells, bin_probabilities, fit_pass_rate_law, law_nodes, tilted_beta
from paced_theory.snr import estimate_snr

STUDY = "exponents of SNR^2 through the mixture"
REQUIRED = 0.90
LAW = (0.513, 0.263, (-0.675,))
PEAK = 0.003
DIMENSION = 200
CONFIDENCE = 0.95
_Z = 1.959963984540054


@dataclass(frozen=True)
class World:
    """What one setting simulates.

    a, b: the true exponents; n: problems a bin; tail: standard deviation of the norm's logarithm; cells: the counts of each bin; noise_a,
    noise_b: exponents of E||g||^2; turn: angle in radians by which the mean gradient turns from p = 0 to p = 1.
    """

    a: float
    b: float
    n: int
    tail: float
    rollouts: int = 10
    cells: Cells | None = None
    noise_a: float = 0.0
    noise_b: float = 0.0
    turn: float = 0.0


def simulate(world: World, rng: Generator) -> MixtureFit:
    """One data set and its fit. ValueError where it shows no signal."""
    logit = law_nodes(world.rollouts)
    joint = bin_probabilities(logit, world.rollouts, world.cells) * tilted_beta(logit, *LAW)
    share = joint.sum(axis=1)
    offered = rng.multinomial(int(world.n / share.min()), share)
    peak = (
        (world.a * np.log(world.a / (world.a + world.b)) + world.b * np.log(world.b / (world.a + world.b))) if world.a and world.b else 0.0
    )
    log_p, log_q = log_expit(logit), log_expit(-logit)
    signal = np.sqrt(PEAK) * np.exp((world.a * log_p + world.b * log_q - peak) / 2)
    angle = world.turn * np.exp(log_p)
    size = np.exp((world.noise_a * log_p + world.noise_b * log_q) / 2)
    estimates, errors, noise = [], [], []
    for row in joint:
        node = rng.choice(logit.size, world.n, p=row / row.sum())
        gradients = rng.standard_normal((world.n, DIMENSION), dtype=np.float32) / np.float32(np.sqrt(DIMENSION))
        gradients[:, 0] += signal[node] * np.cos(angle[node])
        gradients[:, 1] += signal[node] * np.sin(angle[node])
        gradients *= (size[node] * np.exp(world.tail * rng.standard_normal(world.n)))[:, None].astype(np.float32)
        estimate = estimate_snr(gradients, confidence=CONFIDENCE)
        estimates.append(estimate.snr_squared)
        errors.append((estimate.snr_squared_high - estimate.snr_squared_low) / (2 * _Z))
        noise.append(estimate.noise)
    law = fit_pass_rate_law(offered, world.rollouts, world.cells)
    varies = world.noise_a != 0 or world.noise_b != 0
    return fit_through_mixture(
        world.cells, world.rollouts, law, estimates, errors, noise=noise if varies else None, confidence=CONFIDENCE
    )  # fmt: skip


def covered(world: World, name: str, required: float | None, replicates: int, rng: Generator) -> Covered:
    """The row of one setting."""
    fits = fits_of(lambda: simulate(world, rng), replicates)
    row = row_of(STUDY, name, required, replicates, (world.a, world.b), fits)
    row.extra["median width of b"] = median_of(fits, lambda fit: fit.b_high - fit.b_low)
    return row


def fits_of(simulated: Callable[[], MixtureFit], replicates: int) -> list[MixtureFit]:
    """The fits of so many data sets; one that shows no signal has none."""
    fits = []
    for _ in range(replicates):
        with suppress(ValueError):  # no signal to fit
            fits.append(simulated())
    return fits


def median_of(fits: Sequence[MixtureFit], value: Callable[[MixtureFit], float]) -> float:
    """NaN without a fit."""
    return float(np.median([value(fit) for fit in fits])) if fits else float("nan")


def row_of(
    study: str, name: str, required: float | None, replicates: int, true: tuple[float, float], fits: Sequence[MixtureFit]
) -> Covered:
    """How often the fits' intervals hold the true exponents (a, b); the worse of both decides. A data set without a fit holds neither."""
    a, b = true
    held = [sum(fit.a_low <= a <= fit.a_high for fit in fits), sum(fit.b_low <= b <= fit.b_high for fit in fits)]
    extra = {
        "coverage of a": held[0] / replicates,
        "coverage of b": held[1] / replicates,
        "coverage of a's upper bound": sum(a <= fit.a_upper for fit in fits) / replicates,
        "coverage of b's upper bound": sum(b <= fit.b_upper for fit in fits) / replicates,
        "median a": median_of(fits, lambda fit: fit.a),
        "median b": median_of(fits, lambda fit: fit.b),
        "median width of a": median_of(fits, lambda fit: fit.a_high - fit.a_low),
        "median chi-squared / df": median_of(fits, lambda fit: fit.chi_squared / fit.degrees_of_freedom),
        "without a fit": float(replicates - len(fits)),
    }
    return Covered(study, name, CONFIDENCE, min(held), replicates, required, extra)


def _setting(world: World, words: str = "", required: float | None = REQUIRED) -> Setting:
    name = f"a, b = {world.a:g}, {world.b:g}; n = {world.n:,}; log-norm sd {world.tail:g}{'; ' + words if words else ''}"
    return Setting(STUDY, name, partial(covered, world, name, required), quick=3 if world.n < 1000 else 0, full=200)


SETTINGS: list[Setting] = [
    *[_setting(World(a, b, n, tail)) for a, b in ((1.0, 1.0), (0.33, 0.43), (0.0, 0.0)) for n in (500, 2000) for tail in (0.0, 1.0, 1.2)],
    _setting(World(0.33, 0.43, 2000, 1.1, noise_a=-0.18, noise_b=0.85), "noise varies with p as measured, its exponents fitted"),
    _setting(World(0.33, 0.43, 2000, 1.1, cells=[[0, 1], [2, 3], [4, 5], [6, 7], [8, 9, 10]]), "five bins of several counts"),
    _setting(World(1.0, 1.0, 2000, 1.1, turn=np.pi / 2), "the mean gradient turns by 90 degrees from p = 0 to 1", None),
]
