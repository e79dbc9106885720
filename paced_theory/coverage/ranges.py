"""Coverage of what a probe of ranges reports: the exponents through ranges, and an outermost range against half of the middle.

One data set: problems in random order, screened with K = 10 rollouts. Those with k <= 1 or k >= 9 are rolled out F = 100 times more, while a range
of their end has room for more problems, and only these rollouts decide their range. Each range takes its first n problems, out of 45,000 at
most. Gradients in 200 dimensions r (s(p) u + e), as in `exponents`. Then as the probe does: SNR^2 with its interval in every range; the law
of pass rates fitted to the screened and the fresh counts; what each range mixes, from its problems' counts; the exponents fitted through it.

A row of the exponents counts the data sets in which the interval held the truth, for the exponent that fares worse; data sets without a fit
count as misses. A row of the verdict counts those in which the interval of SNR^2([0, 0.01)) - SNR^2(middle)/2 did.
"""

from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.random import Generator
from scipy.special import expit, log_expit, xlogy

from paced_theory._checks import FloatArray
from paced_theory.coverage.exponents import CONFIDENCE, DIMENSION, LAW, PEAK, fits_of, row_of
from paced_theory.coverage.snr import log_normal
from paced_theory.coverage.study import Covered, Setting
from paced_theory.mixture import MixtureFit, fit_through_posterior
from paced_theory.pass_rate_law import bin_probabilities, law_nodes, tilted_beta
from paced_theory.screened_law import fit_screened_law, outcome_posterior
from paced_theory.snr import SNREstimate, combine, estimate_snr

STUDY = "exponents of SNR^2 through ranges"
VERDICT = "range [0, 0.01) against half of the middle"
REQUIRED, REQUIRED_VERDICT = 0.90, 0.92
K, F = 10, 100
DRAWN = 45_000
# Fresh counts of the low ranges [0, 0.01), [0.01, 0.03), [0.03, 0.1) and of problems that leave the end; screened counts of the middle ranges.
LOW = ([0], [1, 2], list(range(3, 10)), list(range(10, F + 1)))
HIGH = tuple([F - count for count in cell] for cell in LOW)
MIDDLE = ((2,), (3, 4), (5, 6), (7, 8))
ENDS = {0: LOW, 1: LOW, K - 1: HIGH, K: HIGH}
_Z = 1.959963984540054


@dataclass(frozen=True)
class World:
    """What one setting simulates. a, b: the true exponents; n: problems wanted in a range; tail: standard deviation of the norm's logarithm."""

    a: float
    b: float
    n: int
    tail: float

    def signal(self, logit: FloatArray) -> FloatArray:
        """s(p) at these logits of p, at most sqrt(PEAK)."""
        total = self.a + self.b
        peak = float(xlogy(self.a, self.a / total) + xlogy(self.b, self.b / total)) if total else 0.0
        return np.asarray(np.sqrt(PEAK) * np.exp((self.a * log_expit(logit) + self.b * log_expit(-logit) - peak) / 2))


@dataclass(frozen=True)
class Drawn:
    """A data set: of each of the ten ranges the logits of the pass rates and the counts (passes, rollouts) of its problems; counts of all problems
    drawn."""

    logits: list[FloatArray]
    outcomes: list[tuple[FloatArray, FloatArray]]
    screened: FloatArray
    landed: dict[int, FloatArray]


@cache
def _law() -> tuple[FloatArray, FloatArray]:
    """Nodes of the logit of p, and their mass."""
    logit = law_nodes(K + F)
    return logit, tilted_beta(logit, *LAW)


def draw(n: int, rng: Generator, drawn: int = DRAWN) -> Drawn:
    """Problems until every range has n or `drawn` are screened; those at an end are rolled out again while a range there has room."""
    logit, mass = _law()
    x = rng.choice(logit, drawn, p=mass / mass.sum())
    p = expit(x)
    k, f = rng.binomial(K, p), rng.binomial(F, p)
    low, high = k <= 1, k >= K - 1
    members = [np.flatnonzero(low & np.isin(f, cell)) for cell in LOW[:3]]
    members += [np.flatnonzero(np.isin(k, counts)) for counts in MIDDLE]
    members += [np.flatnonzero(high & np.isin(f, cell)) for cell in HIGH[2::-1]]
    # The place in the order after which no more is wanted: of an end, and of all.
    full = [int(places[n - 1]) + 1 if len(places) >= n else drawn for places in members]
    until = {0: max(full[:3]), 1: max(full[7:])}
    stop = max(full)
    landed = {}
    for count, cells in ENDS.items():
        again = np.flatnonzero(k == count)
        again = again[again < until[int(count > K / 2)]]
        landed[count] = np.array([np.isin(f[again], cell).sum() for cell in cells], dtype=np.float64)
    members = [places[:n] for places in members]
    outcomes = []
    for index, places in enumerate(members):
        fresh = not 3 <= index < 7
        outcomes.append((k[places] + (f[places] if fresh else 0.0), np.full(len(places), float(K + F * fresh))))
    return Drawn([x[places] for places in members], outcomes, np.bincount(k[:stop], minlength=K + 1).astype(np.float64), landed)


def estimates(world: World, logits: list[FloatArray], rng: Generator) -> list[SNREstimate]:
    """SNR^2 of each range from gradients of its problems."""
    found = []
    for x in logits:
        g = rng.standard_normal((len(x), DIMENSION), dtype=np.float32) / np.float32(np.sqrt(DIMENSION))
        g[:, 0] += world.signal(x)
        g *= np.exp(world.tail * rng.standard_normal(len(x)))[:, None].astype(np.float32)
        found.append(estimate_snr(g, confidence=CONFIDENCE))
    return found


def fitted(world: World, rng: Generator) -> MixtureFit:
    """One data set and the exponents' fit. ValueError where it shows no signal."""
    data = draw(world.n, rng)
    found = estimates(world, data.logits, rng)
    law = fit_screened_law(data.screened, K, F, {k: [list(cell) for cell in cells] for k, cells in ENDS.items()}, data.landed)
    rows = []
    for passes, rollouts in data.outcomes:
        times = np.bincount(passes.astype(np.int64))
        there = np.flatnonzero(times)
        rows.append(times[there] / times.sum() @ outcome_posterior(law, there, np.full(there.size, rollouts[0])))
    errors = [(one.snr_squared_high - one.snr_squared_low) / (2 * _Z) for one in found]
    return fit_through_posterior(law, np.array(rows), [one.snr_squared for one in found], errors, confidence=CONFIDENCE)


def exponents(world: World, name: str, required: float | None, replicates: int, rng: Generator) -> Covered:
    """The row of one setting of the exponents."""
    return row_of(STUDY, name, required, replicates, (world.a, world.b), fits_of(lambda: fitted(world, rng), replicates))


def true_snr_squared(world: World) -> FloatArray:
    """SNR^2 of the problems of each range, (10,), from the law of p given how a range chooses them."""
    logit, mass = _law()
    first, second = bin_probabilities(logit, K), bin_probabilities(logit, F)
    chosen = [first[:2].sum(axis=0) * second[cell].sum(axis=0) for cell in LOW[:3]]
    chosen += [first[list(counts)].sum(axis=0) for counts in MIDDLE]
    chosen += [first[K - 1 :].sum(axis=0) * second[cell].sum(axis=0) for cell in HIGH[2::-1]]
    norms, signal = log_normal(world.tail), world.signal(logit)
    found = []
    for likelihood in chosen:
        weight = likelihood * mass / float(likelihood @ mass)
        mean, square = norms.mean * float(weight @ signal), norms.mean_square * (float(weight @ signal**2) + 1)
        found.append(mean**2 / (square - mean**2))
    return np.array(found)


def verdict(world: World, name: str, required: float | None, replicates: int, rng: Generator) -> Covered:
    """The row of one setting of the verdict; the middle is the mean of [0.3, 0.5) and [0.5, 0.7)."""
    true, weights = true_snr_squared(world)[[0, 4, 5]], [1.0, -0.25, -0.25]
    truth = float(true @ weights)
    found = []
    for _ in range(replicates):
        drawn = draw(world.n, rng).logits
        ranges = estimates(world, [drawn[index] for index in (0, 4, 5)], rng)
        found.append(combine(ranges, weights))
    value, low, high = np.array(found).T
    extra = {
        "too high": float((low > truth).mean()),
        "too low": float((high < truth).mean()),
        "median width": float(np.median(high - low)),
        "bias": float(value.mean() - truth),
    }
    return Covered(VERDICT, name, CONFIDENCE, int(((low <= truth) & (truth <= high)).sum()), replicates, required, extra)


def _name(world: World) -> str:
    return f"a, b = {world.a:g}, {world.b:g}; n = {world.n:,} a range; log-norm sd {world.tail:g}"


def _exponents(world: World) -> Setting:
    return Setting(STUDY, _name(world), partial(exponents, world, _name(world), REQUIRED), quick=2 if world.n < 500 else 0, full=100)


def _verdict(world: World) -> Setting:
    return Setting(
        VERDICT, _name(world), partial(verdict, world, _name(world), REQUIRED_VERDICT), quick=4 if world.n < 500 else 0, full=200
    )


SETTINGS: list[Setting] = [
    *[_exponents(World(a, b, n, tail)) for a, b in ((1.0, 1.0), (0.33, 0.43)) for n in (300, 1250) for tail in (0.0, 1.2)],
    *[_exponents(World(0.0, 0.0, 1250, tail)) for tail in (0.0, 1.2)],
    *[_verdict(World(a, b, n, tail)) for a, b in ((1.0, 1.0), (0.33, 0.43)) for n in (300, 1250) for tail in (0.0, 1.2)],
]
