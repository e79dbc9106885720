"""The interval of SNR^2: a jackknife over problems, with an allowance for the part of the norms' tail that a sample has not shown.

**Jackknife.** It is made on the scale of the naive SNR ||mean g|| / sqrt(n2) and carried to SNR^2 by SNR^2 = naive^2 - 1/n. On that scale
the spread hardly depends on the signal (s^2 itself is a degenerate U-statistic without signal, and its spread grows as s with it), so
the same interval holds for both. Without signal it is wider than needed, by up to sqrt(2).

**Tail.** Where the norms ||g|| have heavy tails, n2 is an average that a few gradients carry. Most samples miss the largest of them, so
that n2 comes out too small, SNR^2 too high, and the jackknife, which sees the same sample, too narrow: at a log-normal spread of 1.2 of
the norms it covers 0.73 where 0.95 is stated, missing on one side. What is missed is estimated from the shape of the upper half. A line
through log ||g||^2 against normal scores there gives a log-normal law, whose mean over the upper half stands for the sample's:

    m_tail = (lower half's part of the mean of ||g||^2) + exp(a + b^2/2) Phi(b),        kappa = min(1, mean ||g||^2 / m_tail).

The lower limit is moved down by `tail_bias` = (1 - kappa) max(SNR^2, 0); the upper limit and the estimate stay. Light tails have kappa
near 1 and nothing moves. `paced_theory.coverage.snr` simulates the coverage: at least 0.92 for log-normal norms of spread 0 to 1.2.
It fails for norms that are heavier still, or whose largest are too rare to show in the sample (claim `snr.interval` has the numbers).

**The estimate stays uncorrected.** Corrected by the jackknife, the ratio's bias falls by half to all, and its mean squared error
rises by up to a half (simulated by the claim `snr.ratio-unbiased`): the correction trades a known direction for more spread. `bias`
reports the jackknife's estimate of the bias instead.

Intervals for sums over bins (`combine`): MOVER (Zou and Donner 2008) for the jackknife's part. Tail biases of several bins point in one
direction and do not average out, so they are added without squaring. Source: ours, but for MOVER.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from paced_theory._checks import check_array, check_fraction, check_int, check_nonnegative
from paced_theory._gram import Array, check_noise
from paced_theory.norm_tail import tail_share

#: Below so many effective gradients an interval rests on the log-normal shape of its norms (`SNREstimate.trusted`).
TRUSTED = 10.0


@dataclass(frozen=True)
class SNREstimate:
    """An estimate of SNR from n gradients.

    signal_squared: unbiased ||mu||^2, may be negative. noise: unbiased tr Cov. snr_squared: their ratio, with a confidence interval.
    snr, snr_low, snr_high: square roots, a negative value clipped at 0 (`clipped` says so of the estimate).
    naive_snr: ||mean g|| / sqrt(n2), what the paper plots. floor: 1/sqrt(n), what the naive value shows without any signal.
    bias: the jackknife's estimate of the bias of snr_squared, not subtracted. tail_bias: by how much snr_squared lies too high where the
    norms go on as a log-normal law beyond the sample; the lower limit allows for it. confidence: the interval's nominal coverage.
    effective_n: (sum ||g||^2)^2 / sum ||g||^4, how many gradients carry the noise; n where all norms are equal.
    """

    n: int
    signal_squared: float
    noise: float
    snr_squared: float
    snr_squared_low: float
    snr_squared_high: float
    snr: float
    snr_low: float
    snr_high: float
    naive_snr: float
    floor: float
    clipped: bool
    bias: float = 0.0
    tail_bias: float = 0.0
    effective_n: float = math.nan
    confidence: float = 0.95

    @property
    def trusted(self) -> bool:
        """Whether enough gradients carry the noise (effective_n >= 10) for the interval to cover without faith in the norms' law.

        Below that it covers where the norms are log-normal, and as little as 0.6 where a rare kind of problem has far larger gradients.
        """
        return self.effective_n >= TRUSTED


def signal_and_noise(n: int, sum_norm_squared: float, norms_squared_sum: float) -> tuple[float, float]:
    """Unbiased ||mu||^2 and tr Cov from ||sum g||^2 and sum ||g||^2.

    The noise is negative where ||sum g||^2 exceeds n sum ||g||^2: no n vectors have such sums, but estimates of them from sketches can.
    Raises ValueError for n < 2 (signal and noise cannot be told apart), negative or non-finite sums.
    """
    check_int("n", n, 2)
    check_nonnegative("sum_norm_squared", sum_norm_squared)
    check_nonnegative("norms_squared_sum", norms_squared_sum)
    signal = (sum_norm_squared - norms_squared_sum) / (n * (n - 1))
    noise = (norms_squared_sum - sum_norm_squared / n) / (n - 1)
    return signal, noise


def jackknife_estimate(
    norms: Array,
    projected: Array,
    total: float,
    *,
    confidence: float,
    copies: NDArray[np.int64] | None = None,
    tail: bool = True,
) -> SNREstimate:
    """The estimate and its interval from ||g_i||^2, g_i . sum g, both (n,), and ||sum g||^2.

    copies (n,): how often each leave-one-out value counts, for samples trimmed of copies.sum() - n gradients. tail: allow for the norms'
    tail. Raises ValueError where the gradients do not differ, also when only one of them differs (left out, it leaves no noise).
    """
    n, trace = len(norms), float(norms.sum())
    signal, noise = signal_and_noise(n, total, trace)
    left_total = np.maximum(total - 2 * projected + norms, 0.0)
    left_trace = trace - norms
    left_noise = (left_trace - left_total / (n - 1)) / (n - 2)
    check_noise(min(noise, float(left_noise.min())), trace / n)
    counts = np.ones(n, dtype=np.int64) if copies is None else copies
    drawn = int(counts.sum())
    left_naive = np.sqrt(left_total / left_noise) / (n - 1)
    spread = math.sqrt((drawn - 1) / drawn * float(counts @ (left_naive - float(counts @ left_naive) / drawn) ** 2))
    half = float(stdtrit(drawn - 1, 0.5 + check_fraction("confidence", confidence) / 2)) * spread
    naive, ratio = math.sqrt(total / noise) / n, signal / noise
    left_ratio = left_naive**2 - 1 / (n - 1)
    unseen = (1 - tail_share(norms)) * max(ratio, 0.0) if tail else 0.0
    low, high = max(0.0, naive - half) ** 2 - 1 / n - unseen, (naive + half) ** 2 - 1 / n
    return SNREstimate(
        n=n,
        signal_squared=signal,
        noise=noise,
        snr_squared=ratio,
        snr_squared_low=low,
        snr_squared_high=high,
        snr=root(ratio),
        snr_low=root(low),
        snr_high=root(high),
        naive_snr=naive,
        floor=1 / math.sqrt(n),
        clipped=signal < 0,
        bias=(drawn - 1) * (float(counts @ left_ratio) / drawn - ratio),
        tail_bias=unseen,
        effective_n=float((norms / trace).sum() ** 2 / ((norms / trace) ** 2).sum()),  # shares: squares stay in range
        confidence=confidence,
    )


class Interval(Protocol):
    """What `combine` reads of an estimate: an `SNREstimate`, or the numbers of one in a record."""

    @property
    def snr_squared(self) -> float: ...
    @property
    def snr_squared_low(self) -> float: ...
    @property
    def snr_squared_high(self) -> float: ...
    @property
    def tail_bias(self) -> float: ...


def combine(estimates: Sequence[Interval], weights: Sequence[float]) -> tuple[float, float, float]:
    """sum_i w_i SNR^2_i over independent bins with an interval of the estimates' own confidence: (value, low, high).

    MOVER (Zou and Donner 2008): value - low is the root of the summed squares of each term's distance to its unfavourable limit, which
    keeps the limits' asymmetry. Tail biases add to it unsquared: they all point one way. Raises ValueError for no estimates or another
    number of weights.
    """
    if not estimates or len(estimates) != len(weights):
        raise ValueError(f"estimates and weights must be of one length >= 1, got {len(estimates)} and {len(weights)}")
    check_array("weights", weights, ndim=1)
    value, below, above, tail_below, tail_above = 0.0, 0.0, 0.0, 0.0, 0.0
    for estimate, weight in zip(estimates, weights, strict=True):
        down = estimate.snr_squared - estimate.snr_squared_low - estimate.tail_bias
        up = estimate.snr_squared_high - estimate.snr_squared
        value += weight * estimate.snr_squared
        below += (weight * (down if weight > 0 else up)) ** 2
        above += (weight * (up if weight > 0 else down)) ** 2
        tail_below += max(weight, 0.0) * estimate.tail_bias
        tail_above += max(-weight, 0.0) * estimate.tail_bias
    return value, value - math.sqrt(below) - tail_below, value + math.sqrt(above) + tail_above


def root(value: float) -> float:
    """The square root, 0 of a negative number."""
    return math.sqrt(max(0.0, value))
