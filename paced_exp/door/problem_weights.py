"""The weight of each problem from its k passes in K rollouts, as a table that can be shown, plotted and saved.

Needs only numpy and scipy, which `pip install` without extras installs. `to_frame` also needs pandas, and `plot` needs matplotlib.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.data.problem_tables import Counts, write_rows
from paced_exp.data.rollout_tables import counts_of_file
from paced_exp.door.cells import ids_in, numbers_in
from paced_exp.weighting import Beta, Estimator, Kernel, Weighting, weigh
from paced_exp.weighting import weights as weights_of
from paced_exp.weighting.advice import Advice, advice
from paced_exp.weighting.early_stopping import check_estimate

_FEW = 17  # distinct pass rates up to which each has a line; more are grouped into tenths
_BAR = 40  # characters of the longest bar


@dataclass(frozen=True)
class ProblemWeights:
    """A weight for each of n problems.

    counts: the k and K of each problem. weight (n,): mean one over the problems with a positive weight, so that learning rates keep their
    meaning; zero for a dropped problem. scheme: kernel and estimator in words. numbers: problems, dropped, effective_problems and others.
    """

    counts: Counts
    weight: np.ndarray
    scheme: str
    numbers: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.weight)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.weight, dtype=dtype)

    def columns(self) -> dict[str, Any]:
        """problem_id, k, K and weight, each of length n."""
        return {"problem_id": self.counts.problem_id, "k": self.counts.k, "K": self.counts.K, "weight": self.weight}

    def to_frame(self) -> Any:
        """A pandas DataFrame with problem_id, k, K and weight."""
        import pandas as pd

        return pd.DataFrame(self.columns())

    def save(self, path: str | Path) -> Path:
        """Write problem_id, k, K and weight atomically to a .jsonl, .csv or .parquet, for `paced.distill(weights=...)` or --weights."""
        write_rows(path, self.columns())
        return Path(path)

    def by_pass_rate(self) -> list[tuple[str, int, float]]:
        """(pass rate, problems, mean weight) of each pass rate that occurs, or of each tenth of the range if more than 17 occur."""
        k, K = self.counts.k, self.counts.K
        rates, group = np.unique(k / K, return_inverse=True)
        names = [f"{rate:.3g}" for rate in rates]
        if len(rates) > _FEW:
            tenths = np.minimum(10 * k // K, 9)  # exact in integers; the last tenth includes 1
            found, group = np.unique(tenths, return_inverse=True)
            names = [f"{tenth / 10:.1f}-{(tenth + 1) / 10:.1f}" for tenth in found]
        problems = np.bincount(group)
        means = np.bincount(group, weights=self.weight) / problems
        return [(name, int(count), float(mean)) for name, count, mean in zip(names, problems, means, strict=True)]

    def __repr__(self) -> str:
        rows, numbers = self.by_pass_rate(), self.numbers
        most = max(count for _, count, _ in rows)
        lines = [
            f"weights by {self.scheme}",
            f"{numbers['problems']} problems, {numbers['dropped']} dropped (weight zero), effective number {numbers['effective_problems']:.1f}, "
            f"largest weight {self.weight.max():.3f}",
            f"{'pass rate':>9} {'problems':>8} {'weight':>7}",
        ]
        lines += [f"{name:>9} {count:>8} {mean:>7.3f}  {'#' * max(1, round(_BAR * count / most))}" for name, count, mean in rows]
        return "\n".join(lines)

    def advice(self) -> Advice | None:
        """What these counts say of the estimates of p(1-p) and of more rollouts; None where they show no law of pass rates, as fewer than 20 do."""
        return advice(self.counts.k, self.counts.K)

    def plot(self) -> Any:
        """A matplotlib figure: each problem's weight against its pass rate k/K, above a histogram of the pass rates."""
        from paced_exp.door.plots import weights_figure

        return weights_figure(self.counts.k / self.counts.K, self.weight, self.scheme)

    def _repr_html_(self) -> str:
        from paced_exp.door.html import page, table

        head, _, *_ = repr(self).split("\n")[1:]
        rows = [(name, count, f"{mean:.3f}") for name, count, mean in self.by_pass_rate()]
        return page(f"weights by {self.scheme}", head, table(("pass rate", "problems", "weight"), rows))


def weights(
    rates: Any,
    kernel: str | Kernel | Callable[[float], float] = Beta(1, 1),  # noqa: B008 (a frozen value)
    estimator: str | Estimator = "plugin",
) -> ProblemWeights:
    """The weight of each problem from its k passes of K rollouts.

    rates: the result of `paced.pass_rates`, a frame or mapping with problem_id, k and K, or a file of these or of rollouts (problem_id,
    correct). kernel: w(p), such as paced.Beta(1, 1) or paced.HardFilter(0.2, 0.8), or a name, or any function of a pass rate. estimator: how w(p) is estimated from k of K: plugin (the paper's),
    unbiased, posterior, empirical_bayes, or an object such as paced.Posterior(prior=(0.35, 0.43)).

    Raises `UserError` for an unknown name, impossible counts, weights that are all zero, or an estimate that does not exist.
    """
    counts = counts_in(rates)
    if isinstance(estimator, str):
        check_estimate(estimator, rates if isinstance(rates, str | Path) else getattr(rates, "out", Path()) / "pass_rates.parquet")
    made = weights_of(counts.k, counts.K, kernel, estimator)
    shown = kernel if isinstance(kernel, str) else getattr(kernel, "name", None) or getattr(kernel, "__name__", repr(kernel))
    named = estimator if isinstance(estimator, str) else repr(estimator)
    return ProblemWeights(counts, made.in_training, f"{shown}, {named} estimate", made.summary())


def weigh_by(weighting: Weighting, counts: Counts) -> ProblemWeights:
    """The weights of `counts` under the options of a command. Raises `UserError` as `weights` does."""
    made = weigh(weighting, counts.k, counts.K)
    named = f", {weighting.estimate} estimate" if weighting.needs_pass_rates else ""
    return ProblemWeights(counts, made.in_training, f"{weighting.kernel(counts.K).name}{named}", made.summary())


def counts_in(rates: Any) -> Counts:
    """The counts in `rates`: a result of `paced.pass_rates`, a frame or mapping of columns, or a file.

    Raises `UserError` if problem_id, k or K is missing, in a row too, if a count is no number, and if it is impossible.
    """
    if isinstance(rates, Counts):
        return rates
    if isinstance(rates, str | Path):
        return counts_of_file(rates)
    columns = rates.to_frame() if hasattr(rates, "to_frame") else rates
    try:
        given, *counts = ([*columns[name]] for name in ("problem_id", "k", "K"))
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(
            f"`rates` is a {type(rates).__name__} without problem_id, k and K; give the result of paced.pass_rates, a frame with these columns, or a file"
        ) from error
    if not len(given) == len(counts[0]) == len(counts[1]) > 0:
        raise UserError(
            f"`rates` has {len(given)} problem_id, {len(counts[0])} k and {len(counts[1])} K; give one of each for at least one problem"
        )
    ids = ids_in(given, "rates")
    allowed = (("k", 0), ("K", 1))
    return Counts(
        ids,
        *(
            numbers_in(values, f"`rates`: {name} =", lambda row: f"problem {ids[row]!r}", f"a whole number of at least {least}")
            for values, (name, least) in zip(counts, allowed, strict=True)
        ),
    )
