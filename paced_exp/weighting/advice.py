"""What the theory says of the estimates of a weight, under the law of pass rates that the counts at hand fit."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from paced_theory.estimation import EfficiencyRow, efficiency_table, fit_beta_prior

_BAYES = "empirical_bayes"
_ESTIMATES = ("plugin", "posterior", _BAYES)
LARGEST_K = 10**5  # of a problem: the theory sums over all counts up to four times as many
# A law fitted to fewer problems is noise: of a single one it lies all at its own pass rate. With 20, what twice eight rollouts would keep more is
# off by less than 0.02 nine times in ten, under the lab's law of pass rates and under the uniform one.
FEWEST_PROBLEMS = 20
_EVEN = 0.005  # shares that differ by less are called equal


@dataclass(frozen=True)
class Advice:
    """Which estimate keeps most, and what more rollouts would bring, under the law of pass rates that the counts fit.

    law: (a, b) of the Beta law of highest likelihood for all counts. rollouts: the median K of the counts. rows: what each estimate keeps of
    the progress of the exact weight p^alpha (1-p)^beta, if SNR² goes as that weight does and gradients' second moments do not depend on p,
    for half, once, twice and four times as many rollouts.
    """

    law: tuple[float, float]
    rollouts: int
    rows: list[EfficiencyRow]

    @property
    def best(self) -> str:
        """The estimate that keeps most at the rollouts at hand; empirical Bayes where it is as good as any."""
        shares = self._shares(self.rollouts)
        most = max(shares, key=lambda name: shares[name])
        return _BAYES if shares[_BAYES] > shares[most] - _EVEN else most

    @property
    def more(self) -> float:
        """What twice the rollouts would keep more, each time by the best estimate."""
        return max(0.0, max(self._shares(2 * self.rollouts).values()) - max(self._shares(self.rollouts).values()))

    def _shares(self, K: int) -> dict[str, float]:
        (row,) = (row for row in self.rows if row.K == K)
        found = {name: getattr(row, name) for name in _ESTIMATES}
        return {name: -math.inf if math.isnan(share) else share for name, share in found.items()}

    def __str__(self) -> str:
        lines = [
            f"these counts fit pass rates of the law Beta({self.law[0]:.2f}, {self.law[1]:.2f}); if SNR² goes as the weight, an estimate keeps of its progress",
            f"{'K':>9} {'plugin':>8} {'posterior':>9}  {_BAYES}",
        ]
        for row in self.rows:
            here = "  <- these counts" if self.rollouts == row.K else ""
            lines.append(f"{row.K:>9} {row.plugin:>8.2f} {row.posterior:>9.2f}  {row.empirical_bayes:>{len(_BAYES)}.2f}{here}")
        lines.append(
            f"in theory {self.best} keeps most, and {2 * self.rollouts} rollouts a problem would keep {self.more:.2f} more; what trainings gained: docs/weights.md"
        )
        return "\n".join(lines)


def advice(k: ArrayLike, K: ArrayLike, alpha: float = 1.0, beta: float = 1.0) -> Advice | None:
    """Advice for the kernel p^alpha (1-p)^beta and these counts (n,).

    None where they show no law of pass rates (fewer problems than `FEWEST_PROBLEMS`, all alike, or K = 1), and where a K is above `LARGEST_K`.
    """
    passes, rollouts = np.asarray(k), np.asarray(K)
    if len(passes) < FEWEST_PROBLEMS or not 2 <= rollouts.max() <= LARGEST_K or passes.sum() in (0, rollouts.sum()):
        return None
    law = fit_beta_prior(passes, rollouts)
    own = max(1, int(np.median(rollouts)))
    rows = efficiency_table(sorted({max(1, own // 2), own, 2 * own, 4 * own}), law, alpha=alpha, beta=beta)
    return Advice(law, own, rows)
