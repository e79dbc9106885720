"""Coverage of the efficiencies of weights, from gradients to `progress.efficiencies` over the Gram matrix of bins.

One data set: n gradients in 200 dimensions in each of 11 bins, g_i = r_i (mu_b + e_i) (*proportional*) or mu_b + r_i e_i (*independent*), r
log-normal. The bins' mean gradients turn by 1.5 radians from p = 0 to p = 1; their SNR^2 is the same in all bins (*flat*), or falls as
4 p (1 - p) to a fiftieth at both ends (*bell*). The shares of the bins are the desk's. Six weights, each along the pool's mean gradient and
along each bin's own.

A row counts the data sets in which the interval of the efficiency that fares worst held the truth; `extra` has all twelve, and how the worst
one misses.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.random import Generator

from paced_theory._checks import FloatArray
from paced_theory.coverage.snr import DIMENSION, SPREADS, log_normal, signal
from paced_theory.coverage.study import Covered, Setting
from paced_theory.gram import bin_gram
from paced_theory.progress import angles, efficiencies

STUDY = "efficiency of a weight from the Gram matrix of bins"
TURN = 1.5
CONFIDENCE = 0.95
REQUIRED = 0.88
P = np.arange(11) / 10
SHARE = np.array([0.16, 0.07, 0.06, 0.055, 0.05, 0.05, 0.055, 0.06, 0.08, 0.11, 0.25])
WEIGHTS = {
    "uniform": np.ones(11),
    "paced": P * (1 - P),
    "grpo": np.sqrt(P * (1 - P)),
    "hard filter": ((P >= 0.2) & (P <= 0.8)) * 1.0,
    "focal": (1 - P) ** 2,
    "maxrl": np.append(10.0, (1 - (1 - P[1:]) ** 10) / P[1:]),
}
_ALL = np.array(list(WEIGHTS.values()))


@dataclass(frozen=True)
class World:
    """What one setting simulates: the SNR^2 where it is largest, its shape, and the spread of log r in each bin."""

    n: int
    spreads: str
    proportional: bool
    shape: str = "flat"
    snr_squared: float = 0.01

    @property
    def means(self) -> FloatArray:
        """mu_b, (11, 200), so that the gradients have the stated SNR^2."""
        bell = np.maximum(4 * P * (1 - P), 0.02) if self.shape == "bell" else np.ones(11)
        wanted = zip(SPREADS[self.spreads], self.snr_squared * bell, strict=True)
        lengths = np.array([signal(log_normal(spread), one, self.proportional) for spread, one in wanted])
        result = np.zeros((11, DIMENSION))
        result[:, 0], result[:, 1] = lengths * np.cos(TURN * P), lengths * np.sin(TURN * P)
        return result

    def truth(self, own: bool) -> FloatArray:
        """The efficiencies of the weights, (6,)."""
        norms = [log_normal(spread) for spread in SPREADS[self.spreads]]
        first, second = np.array([one.mean for one in norms]), np.array([one.mean_square for one in norms])
        squared = (self.means**2).sum(axis=1)
        moment = second * (squared + DIMENSION) if self.proportional else squared + second * DIMENSION
        means = self.means * (first[:, None] if self.proportional else 1.0)
        alignment = (means**2).sum(axis=1) if own else means @ (SHARE @ means)
        return np.asarray(np.cos(np.minimum(angles(_ALL, alignment, moment, SHARE), np.pi / 2)) ** 2)

    def draw(self, rng: Generator) -> list[FloatArray]:
        """One data set: n gradients of each bin."""
        bins = []
        for spread, mean in zip(SPREADS[self.spreads], self.means.astype(np.float32), strict=True):
            lengths = log_normal(spread).draw(self.n, rng).astype(np.float32)[:, None]
            noise = rng.standard_normal((self.n, DIMENSION), dtype=np.float32)
            bins.append((lengths * (mean + noise) if self.proportional else mean + lengths * noise).astype(np.float64))
        return bins


def covered(world: World, name: str, required: float | None, replicates: int, rng: Generator) -> Covered:
    """The row of one setting."""
    truth = np.concatenate([world.truth(False), world.truth(True)])
    above, below, widths = np.zeros(12), np.zeros(12), []
    for _ in range(replicates):
        gram = bin_gram(world.draw(rng))
        found = [efficiencies(gram, SHARE, _ALL, own=own, confidence=CONFIDENCE) for own in (False, True)]
        low, high = (np.concatenate([getattr(one, end) for one in found]) for end in ("low", "high"))
        above += low > truth
        below += high < truth
        widths.append(high - low)
    held = replicates - above - below
    worst = int(held.argmin())
    names = [f"{name}, {along}" for along in ("the pool's", "its own") for name in WEIGHTS]
    extra = {f"coverage of {one}": float(count) / replicates for one, count in zip(names, held, strict=True)}
    extra |= {"worst: too high": float(above[worst]) / replicates, "worst: too low": float(below[worst]) / replicates}
    extra["median width, mean over all"] = float(np.median(widths, axis=0).mean())
    return Covered(STUDY, name, CONFIDENCE, int(held[worst]), replicates, required, extra)


def _setting(world: World) -> Setting:
    kind = "" if world.spreads == "light" else f", {'proportional' if world.proportional else 'independent'}"
    name = f"norms {world.spreads}{kind}; {world.shape}, SNR^2 = {world.snr_squared:g}; n = {world.n:,} a bin"
    quick = 10 if world.n == 100 else 0
    return Setting(STUDY, name, partial(covered, world, name, REQUIRED), quick=quick, full=300)


SETTINGS: list[Setting] = [
    *[
        _setting(World(n, spreads, proportional))
        for n in (300, 600)
        for spreads in SPREADS
        for proportional in (True, False)
        if proportional or spreads != "light"
    ],
    *[_setting(World(100, spreads, proportional)) for spreads, proportional in (("light", True), ("heavy at p = 0", False))],
    *[_setting(World(300, "heavy at p = 0", proportional, "bell")) for proportional in (True, False)],
    _setting(World(300, "heavy at p = 0", False, snr_squared=0.03)),
]
