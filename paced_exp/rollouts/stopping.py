"""When to stop rolling out a problem: as soon as its weight is certain.

The rule (`paced_theory.stopping`) makes weights p(1-p) by empirical Bayes as exact as K rollouts for every problem would, on average or at worst.
It needs the law of pass rates. Unless that is given, it is the Beta law of highest likelihood for the first rollouts, of which every problem has
equally many.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.rollouts.engine import rollout_seed
from paced_theory.estimation import fit_beta_prior
from paced_theory.stopping import StoppingRule, as_exact_as, unbiased_rate

Criterion = Literal["mean", "largest"]
Law = tuple[float, float]

LARGEST_K = 1024  # a rule's table has (4 K)^2 states
_SHARE = 4  # the first rollouts of all problems are one in so many of K


def parse_law(text: str) -> Law:
    """The a and b of a Beta law given as "0.35,0.43". Raises `UserError` for anything else."""
    try:
        a, b = (float(part) for part in text.split(","))
    except ValueError:
        a = b = 0.0
    if not (0 < a < np.inf and 0 < b < np.inf):
        raise UserError(f"`law` {text} must be the a and b of a Beta law of pass rates, two positive numbers such as 0.35,0.43")
    return a, b


@dataclass(frozen=True)
class Stopping:
    """When to stop rolling out a problem.

    criterion, K: weights as exact as from K rollouts for all, in the `mean` or in the `largest` error. first: rollouts that every problem gets.
    law: (a, b) of the Beta law of pass rates. law_from: where it is from, in words. seed: of the run, for the few states in which the rule
    divides problems at random.
    """

    criterion: Criterion
    K: int
    first: int
    law: Law
    law_from: str
    seed: int
    rule: StoppingRule

    @classmethod
    def of(cls, criterion: Criterion, K: int, seed: int, law: Law | None, counts: tuple[np.ndarray, np.ndarray]) -> "Stopping":
        """The rule for problems with these `counts` of first rollouts, k and n (problems,)."""
        known, law_from = law, "given"
        if known is None:
            try:
                known, law_from = fit_beta_prior(*counts), "fitted to the first rollouts"
            except ValueError:  # all passed, or none
                known, law_from = (1.0, 1.0), "uniform, since the first rollouts all passed or all failed"
        return cls(criterion, K, first_rollouts(K), known, law_from, seed, as_exact_as(K, criterion, first=first_rollouts(K), prior=known))

    @property
    def looks(self) -> list[int]:
        """The numbers of rollouts, ascending, after which a problem may stop. At the last, all that are left do."""
        reached, looks = np.ones(1, dtype=bool), []
        for n, row in enumerate(self.rule.proceed):
            share = row[: n + 1]
            if (reached & (share < 1)).any():
                looks.append(n)
            going = reached & (share > 0)
            reached = np.append(going, False) | np.append(False, going)
        return looks

    def goes_on(self, problem_id: str, k: int, n: int) -> bool:
        """Whether a problem with k passes in n rollouts gets more. The same on every machine."""
        share = float(self.rule.proceed[n, k])
        return share > 0 and (share >= 1 or rollout_seed(self.seed, problem_id, -n) / 2**63 < share)

    def rates(self, k: np.ndarray, n: np.ndarray) -> np.ndarray:
        """The pass rate of each problem, estimated without bias from the k of n rollouts at which it was stopped (`unbiased_rate`)."""
        return np.asarray(unbiased_rate(self.rule.proceed)[n, k])

    def record(self, n: np.ndarray) -> dict[str, Any]:
        """For records: the rule, and what it saved on problems with n rollouts each, beside what theory expects under the law."""
        return {
            "criterion": self.criterion,
            "as_exact_as": self.K,
            "first": self.first,
            "law": list(self.law),
            "law_from": self.law_from,
            "rollouts": int(n.sum()),
            "rollouts_of_k_for_all": self.K * len(n),
            "saved_share": 1 - float(n.mean()) / self.K,
            "saved_share_expected": 1 - self.rule.expected_rollouts / self.K,
            "efficiency": self.rule.efficiency,
            "largest_deviation": self.rule.deviation,
        }


def first_rollouts(K: int) -> int:
    """The rollouts that every problem gets: enough to fit a law to, and so few that hardly any weight is certain yet."""
    return max(2, K // _SHARE)
