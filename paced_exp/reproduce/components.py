"""Components of variance of differences between rows, estimated in the records of the first protocol, for the plan of the second.

A contrast's difference D[s, i] of seed s and problem i, in points, is a mean + seed effect + problem effect + residual, as in `significance`. The
residual is a true interaction of seed and problem, and the binomial noise of few samples a problem.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.reproduce.claims import Contrast, Measure
from paced_exp.reproduce.grids import BY_NAME, tables_at
from paced_exp.reproduce.measures import Measured, measure_row, row_named, strata_of
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import Scale

# The table of the first protocol where the rows of one of the second have their like.
_TABLES = {
    "one-pass": "distillation",
    "one-pass-short": "distillation",
    "as-published": "distillation",
    "kernels-one-pass": "kernels",
    "self-one-pass": "self-distillation",
    "order-one-pass": "stage-order",
    "share-one-pass": "stage-ratio",
    "rollouts-one-pass": "rollouts",
    "exponents-one-pass": "exponents",
    "recomputation-one-pass": "recomputation",
    "llama-one-pass": "llama",
    "multi-pass": "compute",
}
_ENDINGS = ("-short", "-published")
# Rows of another name there.
_ROWS = {
    "paced-eb": "paced-posterior",
    "akl-rollouts": "akl",
    "share-one-pass/forward-reverse": "50",
    **{
        f"multi-pass/{name}-{updates}": f"{name}{ending}"
        for name in ("uniform", "paced")
        for updates, ending in (("1", ""), ("2", "-double"))
    },
    **{f"rollouts-one-pass/k{K}-eb": f"k{K}-posterior" for K in (2, 4, 8, 16)},
}
_CAUTIOUS = 0.9  # share of the pairs of rows whose component of seeds is below the cautious one


@dataclass(frozen=True)
class Components:
    """Variances in points² of a contrast.

    seed: between seeds, of the mean over all problems. cautious: a larger one, for a cautious plan. problem: between problems. interaction,
    binomial: of one seed and problem, the latter with `samples` samples. origin: in words, what the last three were estimated from.
    """

    seed: float
    cautious: float
    problem: float
    interaction: float
    binomial: float
    samples: int
    origin: str

    def residual(self, samples: int) -> float:
        """Variance of one seed and problem with so many samples."""
        return self.interaction + self.binomial * self.samples / samples

    def times(self, factor: float) -> "Components":
        """All variances by a factor."""
        names = ("seed", "cautious", "problem", "interaction", "binomial")
        return replace(self, **{name: factor * getattr(self, name) for name in names})


class FirstRecords:
    """What the records of a scale of the first protocol say of contrasts of the second. They are read once."""

    def __init__(self, results: Results, scale: Scale) -> None:
        self._results, self._scale = results, scale
        self._pooled: dict[tuple[str, Measure], Components] = {}

    def components(self, contrast: Contrast) -> Components:
        """The components of a contrast.

        problem, interaction, binomial: of the same rows there; without such, the median over all pairs of rows of the setup, by half the sum of
        squared coefficients. seed: a contrast of five seeds says little of it, so it is the mean over those pairs, and `cautious` is what nine
        in ten of them lie below; by the same factor. Raises `UserError` where the setup has no two rows with all seeds.
        """
        pooled = self._of_pairs(_setup(contrast), contrast.measure, contrast.sources(self._scale))
        pooled = pooled.times(sum(factor**2 for factor, _ in contrast.terms) / 2)
        terms = _first_terms(contrast)
        rows = [(factor, row_named(self._results, self._scale, table, row).among(self._seeds)) for factor, table, row in terms]
        if not rows or not all(map(self._whole, (measured for _, measured in rows))):
            return pooled
        words = " ".join(f"{'+' if factor > 0 else '−'} {table}/{row}" for factor, table, row in terms).removeprefix("+ ")
        return replace(self._estimated(rows, contrast.sources(self._scale)), seed=pooled.seed, cautious=pooled.cautious, origin=words)

    @property
    def _seeds(self) -> range:
        return self._scale.seed_range(self._scale.seeds[0])

    def _whole(self, measured: Measured) -> bool:
        return not measured.untrained and measured.seeds == list(self._seeds)

    def _of_pairs(self, setup: str, measure: Measure, sources: Sequence[str]) -> Components:
        """Of the difference of two rows of a setup: over all pairs, the mean of seed, not below zero, and medians of the others."""
        if (setup, measure) not in self._pooled:
            tables = tables_at(self._scale)
            found = [measure_row(self._results, self._scale, table, row) for table in tables for row in table.rows if row.setup == setup]
            rows = {measured.of(self._seeds[0]).path: measured for measured in found if self._whole(measured)}
            if len(rows) < 2:
                raise UserError(
                    f"{self._results.folder / self._scale.name} has fewer than two rows of setup {setup} with seeds {self._seeds[0]} to "
                    f"{self._seeds[-1]}; restore the records from git"
                )
            pairs = [self._estimated([(1.0, a), (-1.0, b)], sources) for a, b in itertools.combinations(rows.values(), 2)]
            seeds = [pair.seed for pair in pairs]
            self._pooled[setup, measure] = Components(
                seed=max(0.0, float(np.mean(seeds))),
                cautious=max(0.0, float(np.quantile(seeds, _CAUTIOUS))),
                problem=median(pair.problem for pair in pairs),
                interaction=median(pair.interaction for pair in pairs),
                binomial=median(pair.binomial for pair in pairs),
                samples=pairs[0].samples,
                origin=f"median over {len(pairs)} pairs of rows, {setup}",
            )
        return self._pooled[setup, measure]

    def _estimated(self, terms: Sequence[tuple[float, Measured]], sources: Sequence[str]) -> Components:
        seeds, samples = list(self._seeds), int(self._scale.evaluation["samples"])
        noise = []
        for source in sources:
            shares = [(factor, np.array([measured.of(seed).accuracy(source) for seed in seeds])) for factor, measured in terms]
            # s(1 - s) / (m - 1) is unbiased for the variance p(1 - p) / m of the share s of m samples.
            noise.append(sum(float((factor**2 * share * (1 - share)).mean()) for factor, share in shares) * 100**2 / (samples - 1))
        return estimated(strata_of(terms, sources, seeds), float(np.mean(noise)), samples)


def estimated(strata: Sequence[np.ndarray], noise: float, samples: int) -> Components:
    """The components of differences (S, P_t), strata as of `crossed`; each is a mean over strata.

    They are unbiased but for two cuts: that of problems is not below zero, and the binomial one, `noise`, at most the whole residual. seed may be
    negative, so that means over contrasts are unbiased.
    """
    seeds, count = len(strata[0]), len(strata)
    residuals = []
    for part in strata:
        rest = part - part.mean(axis=0) - part.mean(axis=1, keepdims=True) + part.mean()
        residuals.append(float((rest**2).sum()) / ((seeds - 1) * (part.shape[1] - 1)))
    of_mean = sum(value / part.shape[1] for value, part in zip(residuals, strata, strict=True)) / count**2
    by_seed = np.mean([part.mean(axis=1) for part in strata], axis=0)
    seed = float(by_seed.var(ddof=1)) - of_mean
    problem = float(np.mean([part.mean(axis=0).var(ddof=1) - value / seeds for value, part in zip(residuals, strata, strict=True)]))
    residual = float(np.mean(residuals))
    binomial = min(residual, noise)
    return Components(seed, seed, max(0.0, problem), residual - binomial, binomial, samples, "")


def _first_terms(contrast: Contrast) -> list[tuple[float, str, str]]:
    """The contrast's terms in the first protocol; none where a row has no like there, or where two rows have the same."""
    found = []
    for factor, table, row in contrast.placed:
        bare = row
        for ending in _ENDINGS:
            bare = bare.removesuffix(ending)
        first, name = _TABLES[table], _ROWS.get(f"{table}/{row}", _ROWS.get(bare, bare))
        if name not in {other.name for other in BY_NAME[first].rows}:
            return []
        found.append((factor, first, name))
    rows = [BY_NAME[table].row(name) for _, table, name in found]
    return found if len({repr((row.options, row.updates, row.recompute_every)) for row in rows}) == len(rows) else []


def _setup(contrast: Contrast) -> str:
    (setup,) = {BY_NAME[table].row(row).setup for _, table, row in contrast.placed}
    return setup
