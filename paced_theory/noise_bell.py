"""Pure noise draws a bell: `python -m paced_theory.noise_bell`, ten seconds.

    python -m paced_theory.noise_bell [--problems 20000] [--dimensions 500] [--seed 0]

Every problem gets a gradient of independent normal numbers, so that no direction is shared and the true SNR is zero at every pass rate.
Pass rates follow the U-shaped law measured on the lab's student (0.35, 0.43), with K = 10 rollouts a problem. The naive estimate
||mean g|| / sqrt(tr Cov g) is about 1/sqrt(n) in a bin of n problems. Few problems have a middling pass rate, so their bins are
small, and the naive curve is a bell. The unbiased SNR^2 (`paced_theory.snr`) is zero within its intervals.

Exit status: 0, or 2 for bad arguments. Source: ours.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from paced_theory.snr import SNREstimate, estimate_snr

ROLLOUTS = 10
LAW = (0.35, 0.43)  # of pass rates, measured on the lab's student
WIDTH = 40  # characters of the longest bar
FEWEST = 20  # problems of the smallest bin


@dataclass(frozen=True)
class Bin:
    """The problems with k of K passes, and what their gradients of pure noise look like."""

    pass_rate: float
    problems: int
    estimate: SNREstimate


def noise_bins(problems: int, dimensions: int, generator: np.random.Generator) -> list[Bin]:
    """One bin for each count of passes 0..K. Raises ValueError where a bin has too few problems for an interval."""
    passes = generator.binomial(ROLLOUTS, generator.beta(*LAW, size=problems))
    sizes = np.bincount(passes, minlength=ROLLOUTS + 1)
    if sizes.min() < FEWEST:
        raise ValueError(f"--problems {problems} leaves {sizes.min()} in a bin, at least {FEWEST} are needed; try 20000")
    return [Bin(k / ROLLOUTS, int(n), estimate_snr(generator.normal(size=(n, dimensions)))) for k, n in enumerate(sizes)]


def table(bins: Sequence[Bin]) -> str:
    """The bins as text, the naive estimate as bars, and what is to be seen in a last line."""
    tallest = max(one.estimate.naive_snr for one in bins)
    lines = [f"{'pass rate':>9} {'problems':>8}  {'naive SNR':<{WIDTH + 7}} unbiased SNR^2, 95 % interval"]
    for one in bins:
        naive, found = one.estimate.naive_snr, one.estimate
        bar = "#" * round(WIDTH * naive / tallest)
        interval = f"{found.snr_squared:+.5f} [{found.snr_squared_low:+.5f}, {found.snr_squared_high:+.5f}]"
        lines.append(f"{one.pass_rate:9.1f} {one.problems:8d}  {naive:.3f} {bar:<{WIDTH}}  {interval}")
    zero = sum(one.estimate.snr_squared_low <= 0 <= one.estimate.snr_squared_high for one in bins)
    ends = (bins[0].estimate.naive_snr + bins[-1].estimate.naive_snr) / 2
    lines.append(
        f"The gradients are pure noise. The naive SNR peaks at {tallest / ends:.1f} times its ends, by the sizes of the bins alone."
    )
    lines.append(f"The unbiased intervals contain zero in {zero} of {len(bins)} bins.")
    return "\n".join(lines)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}; see python -m paced_theory.noise_bell --help", file=sys.stderr)
        raise SystemExit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _Parser(prog="python -m paced_theory.noise_bell", description="Pure noise draws a bell.", allow_abbrev=False)
    parser.add_argument("--problems", type=int, default=20_000, help="how many problems (default: 20000)")
    parser.add_argument("--dimensions", type=int, default=500, help="numbers in a gradient (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    options = parser.parse_args(arguments)
    for name, least in (("problems", 1), ("dimensions", 2), ("seed", 0)):
        if getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}, got {getattr(options, name)}")
    try:
        print(table(noise_bins(options.problems, options.dimensions, np.random.default_rng(options.seed))))
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
