"""The accuracy-aligned probe: what a step on a problem of each pass rate does to the expected accuracy on held-out problems.

It adds resumable stages to the probe: graded rollouts of held-out problems, the gradient of their expected accuracy (`accuracy_gradient`), the
metric of an Adam step (`accuracy_metric`), the utilities of the probed problems (`accuracy_utilities`), and estimates (`accuracy_estimates`). Ours.
The question is whether a bell over the pass rate, such as PACED's p(1-p), raises accuracy most, whatever the SNR of gradients is.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from paced_exp.core.clock import StageClock
from paced_exp.core.errors import UserError
from paced_exp.core.progress import progress
from paced_exp.core.run_folder import RunFolder
from paced_exp.data.problem import Problem
from paced_exp.data.problem_tables import read_counts, write_rows
from paced_exp.data.prompt_hashes import hash_column
from paced_exp.data.prompt_lengths import LongPrompts
from paced_exp.data.sources import load_problems, source_fingerprint
from paced_exp.gradients.engine import GradientSums
from paced_exp.grading.grader import Grader
from paced_exp.models.loading import LoadedModel
from paced_exp.probe.accuracy_estimates import MINIMUM, AlignedBin, curve_of, estimates, weight_columns
from paced_exp.probe.accuracy_gradient import GROUPS, Directions, accuracy_gradients, norm_squared
from paced_exp.probe.accuracy_metric import SecondMoment, second_moment
from paced_exp.probe.accuracy_utilities import METRICS, utilities_of
from paced_exp.probe.binning import Bins
from paced_exp.probe.config import ProbeConfig
from paced_exp.probe.ranges import Ranges
from paced_exp.rollouts.collect import collect
from paced_exp.rollouts.engine import Sampling
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.references import Reference
from paced_exp.rollouts.store import ChunkStore

# Added to the seed for held-out problems and their rollouts. So an evaluation with the same seed, which judges weights made from them, draws
# other problems of the same sources.
SEED = 1000
WEIGHTS = "weights.jsonl"
STORE = "accuracy_rollouts"


class AccuracyProbe:
    """The held-out problems of a probe, and what is measured with them. Loads them, and raises `UserError` if they are unsuitable."""

    def __init__(self, config: ProbeConfig, student: LoadedModel) -> None:
        self._config = config
        lab = all(part.strip().startswith("lab:") for part in config.accuracy_problems.split(","))
        problems = load_problems(
            config.accuracy_problems, limit=config.accuracy_limit, seed=config.seed + SEED, columns=None if lab else config.columns
        )
        self.problems = LongPrompts([(student, "plain")], config.max_new_tokens, config.skip_long).listed(problems)
        if len(self.problems) < GROUPS:
            raise UserError(
                f"`accuracy_problems` {config.accuracy_problems} gives {len(self.problems)} problems, and at least {GROUPS} are needed for an "
                "interval; raise `accuracy_limit`, or name further sources"
            )
        self._ids = {problem.id for problem in self.problems}

    @property
    def fingerprint(self) -> dict[str, str]:
        """Fingerprints of what is read, for `RunFolder.claim`."""
        return {"accuracy_problems": source_fingerprint(self._config.accuracy_problems)}

    def apart(self, source: Iterator[Problem]) -> Iterator[Problem]:
        """Pass the problems to probe on. Raises `UserError` at a held-out one, since a step on a problem raises its own accuracy most."""
        for problem in source:
            if problem.id in self._ids:
                raise UserError(
                    f"problem {problem.id!r} of `problems` is one of `accuracy_problems` {self._config.accuracy_problems} too; give sources "
                    "that have no problem in common"
                )
            yield problem

    def roll_out(self, run: RunFolder, student: LoadedModel, grader: Grader, engines: Engines) -> None:
        """Make the graded rollouts of the held-out problems that the run's folder lacks."""
        store, samples = ChunkStore(run.path, STORE), self._config.accuracy_samples
        done = samples * len(store.done_ids())
        with progress(samples * len(self.problems), "rollouts", "held-out rollouts", initial=done) as bar:
            sampling = Sampling(samples, self._config.max_new_tokens, self._config.temperature, self._config.seed + SEED)
            for _ in collect(self.problems, student, engines.of(student), grader, store, sampling, watch=bar.watch):
                pass
        store.finalise(order=[problem.id for problem in self.problems])

    def record(
        self,
        run: RunFolder,
        bins: Bins | Ranges,
        problems: dict[str, Problem],
        references: dict[str, Reference],
        sums: list[GradientSums | None],
        student: LoadedModel,
        teacher: LoadedModel,
        clock: StageClock,
    ) -> dict[str, Any]:
        """The entry `accuracy` of the probe's record. Also writes weights.jsonl.

        bins, problems, references: the probed problems and their responses. sums: gradient sums of each bin.
        """
        config, folder = self._config, run / "accuracy"
        with clock("accuracy gradient"):
            gradients = accuracy_gradients(self.problems, ChunkStore(run.path, STORE), student, config, folder)
        members = [[(problems[name], references[name]) for name, _ in own if references[name].token_ids] for own in bins.members]
        with clock("second moment"):
            pools = [(float(offered), pairs) for offered, pairs in zip(bins.drawn, members, strict=True) if pairs]
            moment = second_moment(config, pools, student, teacher, folder)
            metric = moment.metric()
        aligned: list[AlignedBin] = []
        with clock("utilities"), progress(sum(map(len, members)), "gradients", "utilities") as bar:
            for index, (pairs, own, bin_sums) in enumerate(zip(members, bins.members, sums, strict=True)):
                if bin_sums is None or len(pairs) < MINIMUM:
                    continue
                passes = float(np.mean([count for name, count in own if references[name].token_ids]))
                utilities = utilities_of(
                    config,
                    pairs,
                    bin_sums.norms_squared,
                    gradients,
                    metric,
                    student,
                    teacher,
                    folder / f"bin-{index:03d}.npz",
                )
                trials = bins.trials[index]
                aligned.append(AlignedBin(passes / trials, passes * (config.K / trials), bins.drawn[index], utilities))
                bar.update(len(pairs))
        return self._about(run) | self._estimated(run, aligned, gradients, moment)

    def _about(self, run: RunFolder) -> dict[str, Any]:
        """The held-out problems in numbers."""
        outcomes = ChunkStore(run.path, STORE).outcomes()
        rates = outcomes.groupby("problem_id")["correct"].mean()
        return {
            "problems": len(self.problems),
            "rollouts": len(outcomes),
            "expected_accuracy": float(rates.mean()),
            "problems_with_both_outcomes": int(((rates > 0) & (rates < 1)).sum()),
            "groups": GROUPS,
        }

    def _estimated(self, run: RunFolder, aligned: list[AlignedBin], gradients: Directions, moment: SecondMoment) -> dict[str, Any]:
        result: dict[str, Any] = {"second_moment": moment.origin, "metrics": {}, "curve": None, "problem": ""}
        size = {"sgd": norm_squared(gradients), "adam": norm_squared(gradients, moment.metric())}
        if not aligned:
            return result | {"problem": f"no bin holds {MINIMUM} problems"}
        result["metrics"] = {metric: {"gradient_norm_squared": size[metric], **estimates(aligned, metric)} for metric in METRICS}
        curve = curve_of(result["metrics"]["sgd"]["bins"])
        columns = None if curve is None else weight_columns(curve, read_counts(run / "pass_rates.parquet"))
        if columns is None:
            return result | {"problem": "no bin's mean utility is positive, so that there are no weights"}
        write_rows(run / WEIGHTS, {**columns, **hash_column(run / "pass_rates.parquet", columns["problem_id"])})
        return result | {"curve": curve}
