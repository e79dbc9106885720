"""Which estimates may be taken of counts whose rollouts were stopped early (`paced rollout --adaptive`).

A rule that stops where the weight is certain looks at k, so k of n is no binomial count. The posterior of p given k of n is the same as for a
fixed n, and so is the likelihood of a law of p: `posterior` and `empirical_bayes` stay what they are. `unbiased` is not unbiased any more. The
plug-in is biased: under the lab's law by up to 0.07 in the pass rate.
"""

import sys
from pathlib import Path

from paced_exp.core.errors import UserError
from paced_exp.data.problem_tables import stopped_early

_FIX = "take `estimate` empirical_bayes or posterior, which early stopping leaves as they are"


def check_estimate(estimate: str, counts: str | Path) -> None:
    """Refuse or warn of an estimate that does not suit the file `counts`, if its rollouts were stopped early.

    Raises `UserError` for `unbiased`. Warns on stderr of `plugin`.
    """
    if estimate not in ("plugin", "unbiased") or not stopped_early(counts):
        return
    if estimate == "unbiased":
        raise UserError(f"`estimate` unbiased does not exist for {counts}, whose rollouts were stopped early; {_FIX}")
    print(
        f"warning: the rollouts of {counts} were stopped early, so that k/K is biased, and with it `estimate` plugin; {_FIX}",
        file=sys.stderr,
    )
