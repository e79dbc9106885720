"""What the second protocol can see: the minimal detectable effect (MDE) of every hypothesis, from the first records, before its runs.

    python -m paced_exp.reproduce.detectable [--scale desk] [--page docs/protocol-v2.md]

writes results/SCALE/detectable.json, and the table of hypotheses between the markers of the page.

The MDE is the smallest true effect that the planned runs see with a chance of 80 %. Data of the planned seeds, problems and samples are drawn
as normal differences with the components of variance of `components`, and `significance.crossed`, the estimator of the verdicts, judges the draws. A
hypothesis of several contrasts is seen where all of them are, and the effect is one that they share; contrasts with a row in common have its
noise in common. With an estimate v, its standard error e and critical value t, an effect d is seen where v + d > t e, so the MDE is the 80 % quantile
of t e - v over the draws.

C1 is not drawn: its MDE is that of a normal estimate with the standard error of the first probe's, times the first number of problems over the
planned one, the largest factor that fewer problems can bring.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm
from scipy.stats import t as t_law

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.json_files import write_atomically, write_checked
from paced_exp.probe.ranges import RANGES
from paced_exp.probe.verdict import MIDDLE, SHARE, middle_of
from paced_exp.reproduce.c1 import RANGE_PROBES
from paced_exp.reproduce.claims import Contrast, Hypothesis
from paced_exp.reproduce.components import Components, FirstRecords
from paced_exp.reproduce.findings import LEVEL
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.marked import between
from paced_exp.reproduce.options import RecordsOptions
from paced_exp.reproduce.planned import KIND, block, path_of, planned_effects
from paced_exp.reproduce.probes import probes_of
from paced_exp.reproduce.protocols import hypotheses_of
from paced_exp.reproduce.records import readable
from paced_exp.reproduce.scales import DESK_V1, Scale
from paced_exp.reproduce.significance import CONFIDENCE, POWER, crossed

SEED = 7
DRAWS = 300  # each counts twice, with its sign turned: the MDE is known to 2 %
# Of a probe of ranges: the first protocol's probe of the same models.
FIRST_PROBES = {"snr_ranges/qwen3": "snr_verdict/qwen3", "snr_ranges/llama": "snr_verdict/llama"}
MIDDLE_RANGES = sum(MIDDLE[0] <= one.low / 100 and one.high / 100 <= MIDDLE[1] for one in RANGES)
BEGIN, END = "<!-- hypotheses:begin -->", "<!-- hypotheses:end -->"


@dataclass(frozen=True, kw_only=True)
class DetectableConfig(RecordsOptions):
    """Plan.

    Attributes:
        scale: a scale of the second protocol
        page: the page with the markers of the table of hypotheses
    """

    scale: str = "desk"
    page: Path = Path("docs/protocol-v2.md")


@dataclass(frozen=True)
class Plan:
    """A planned design: seeds, problems in each stratum, samples a problem."""

    seeds: int
    strata: tuple[int, ...]
    samples: int


def plan_of(contrast: Contrast, scale: Scale) -> Plan:
    """The design of a contrast at a scale."""
    limit = int(scale.evaluation["evaluate_limit"])
    return Plan(contrast.planned_seeds(scale), (limit,) * len(contrast.sources(scale)), int(scale.evaluation["samples"]))


def needed(
    contrasts: Sequence[Contrast],
    components: Sequence[Components],
    plan: Plan,
    levels: Sequence[float],
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> np.ndarray:
    """For every draw, with both signs, and every level the effect that would have been seen in it; (2 draws, levels)."""
    names = list(dict.fromkeys((table, row) for contrast in contrasts for _, table, row in contrast.placed))
    factors = np.zeros((len(contrasts), len(names)), dtype=np.float32)
    for at, contrast in enumerate(contrasts):
        for factor, table, row in contrast.placed:
            factors[at, names.index((table, row))] += factor
    # Each contrast has its own components; rows are of variance one, and their sum too.
    factors /= np.sqrt((factors**2).sum(axis=1, keepdims=True))
    sd = [[math.sqrt(v) for v in (one.seed, one.problem, one.residual(plan.samples))] for one in components]
    found = np.empty((2 * draws, len(levels)))
    for draw in range(draws):
        of_seeds = rng.standard_normal((len(names), plan.seeds, 1), dtype=np.float32)
        parts = [
            (
                rng.standard_normal((len(names), 1, size), dtype=np.float32),
                rng.standard_normal((len(names), plan.seeds, size), dtype=np.float32),
            )
            for size in plan.strata
        ]
        estimates = [
            crossed(
                [np.tensordot(row, sd[at][0] * of_seeds + sd[at][1] * of_problems + sd[at][2] * rest, 1) for of_problems, rest in parts]
            )
            for at, row in enumerate(factors)
        ]
        for column, level in enumerate(levels):
            critical = [estimate.error * t_law.ppf(1 - level / 2, estimate.freedom) for estimate in estimates]
            for sign in (0, 1):
                found[2 * draw + sign, column] = max(
                    half - (1 - 2 * sign) * estimate.value for half, estimate in zip(critical, estimates, strict=True)
                )
    return found


def planned(hypothesis: Hypothesis, records: FirstRecords, scale: Scale, first_step: float, draws: int = DRAWS) -> dict[str, Any]:
    """The plan of a hypothesis with its MDE, as plain values: in points, alone and at Holm's first step, and alone if seeds vary more."""
    components = [records.components(contrast) for contrast in hypothesis.contrasts]
    plan = plan_of(hypothesis.contrasts[0], scale)
    rng = np.random.default_rng([SEED, *hypothesis.name.encode()])
    alone, corrected = np.quantile(needed(hypothesis.contrasts, components, plan, (LEVEL, first_step), rng, draws), POWER, axis=0)
    cautious = [replace(one, seed=one.cautious) for one in components]
    (careful,) = np.quantile(needed(hypothesis.contrasts, cautious, plan, (LEVEL,), rng, draws), POWER, axis=0)
    return {
        "hypothesis": hypothesis.name,
        "primary": hypothesis.primary,
        "unit": "points",
        "seeds": plan.seeds,
        "problems": sum(plan.strata),
        "samples": plan.samples,
        "alone": float(alone),
        "corrected": float(corrected) if hypothesis.primary else None,
        "cautious": float(careful),
        "components": [asdict(one) for one in components],
    }


def planned_probe(hypothesis: Hypothesis, results: Path, scale: Scale, first_step: float) -> dict[str, Any]:
    """The same of a hypothesis that a probe of ranges decides, in SNR². Raises `UserError` without the first protocol's probe of those models."""
    key, end = RANGE_PROBES[hypothesis.name]
    config = next(probe.config for probe in probes_of(scale) if probe.key == key)
    first = next(probe for probe in probes_of(DESK_V1) if probe.key == FIRST_PROBES[key])
    record = first.record(results)
    if record is None:
        raise UserError(f"{first.path(results)} does not exist; restore it from git, or run: {first.command}")
    bins = record["bins"]
    errors = [
        (row["snr_squared_high"] - row["snr_squared_low"]) / (2 * norm.ppf((1 + CONFIDENCE) / 2)) * row["n"] / config.per_bin
        for row in bins
    ]
    middle = middle_of([row["pass_rate"] for row in bins], errors)
    of_middle = SHARE**2 * float(np.mean(np.square(middle))) / MIDDLE_RANGES
    error = math.sqrt(errors[0 if end == "low" else -1] ** 2 + of_middle)
    alone, corrected = (float((norm.ppf(1 - level / 2) + norm.ppf(POWER)) * error) for level in (LEVEL, first_step))
    return {
        "hypothesis": hypothesis.name,
        "primary": hypothesis.primary,
        "unit": "SNR²",
        "problems": config.per_bin,
        "alone": alone,
        "corrected": corrected if hypothesis.primary else None,
        "from": f"{first.path(Path())}",
    }


def content_of(results: Path, scale: Scale, draws: int = DRAWS) -> dict[str, Any]:
    """What is recorded of a scale's plan."""
    hypotheses = [hypothesis for hypothesis in hypotheses_of(scale.protocol) if not hypothesis.later]
    primaries = sum(hypothesis.primary for hypothesis in hypotheses)
    records = FirstRecords(readable(results), DESK_V1)
    rows = [
        planned(hypothesis, records, scale, LEVEL / primaries, draws)
        if hypothesis.contrasts
        else planned_probe(hypothesis, results, scale, LEVEL / primaries)
        for hypothesis in hypotheses
    ]
    return {
        "kind": KIND,
        "scale": scale.name,
        "power": POWER,
        "level": LEVEL,
        "primaries": primaries,
        "draws": 2 * draws,
        "seed": SEED,
        "hypotheses": rows,
    }


@configs.command(DetectableConfig, "paced_exp.reproduce.detectable", __doc__)
def main(config: DetectableConfig) -> None:
    """Simulate, write record and page, say where."""
    scale = scale_named(config.scale, config.results)
    if scale.protocol == 1:
        raise UserError(f"`scale` {scale.name} follows the first protocol, which planned no effects; give one of the second, such as desk")
    if not config.page.is_file():
        raise UserError(f"`page` {config.page} is not a file; name the page that has the markers {BEGIN} and {END}")
    path = path_of(config.results, scale)
    write_checked(path, content_of(config.results, scale))
    text = block(planned_effects(config.results, scale), scale.protocol)
    write_atomically(config.page, between(config.page.read_text(encoding="utf-8"), text, f"`page` {config.page}", (BEGIN, END)))
    print(path)
    print(config.page)


if __name__ == "__main__":
    exit_cleanly(main)
