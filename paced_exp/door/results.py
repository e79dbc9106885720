"""What the verbs return: the record and folder of a run, which a notebook displays, and which can be plotted or turned into a frame."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from paced_exp.core.errors import UserError
from paced_exp.door.html import image, page, table
from paced_exp.evaluation.table import interval_text
from paced_exp.evaluation.table import table as evaluation_table
from paced_exp.models.loading import LoadedModel, load_model
from paced_exp.probe import table as probe_table
from paced_exp.probe.verdict import ENDS, by_rule, words
from paced_exp.rollouts import summary as rollout_summary
from paced_exp.training import summary as training_summary


@dataclass(frozen=True, repr=False, eq=False)
class Result:
    """The result of a run. record: the content of its record.json. out: its folder, which is temporary if `out` was not given."""

    record: dict[str, Any]
    out: Path


@dataclass(frozen=True, repr=False, eq=False)
class PassRates(Result):
    """How often a student solves each problem.

    frame: a row for each problem, with problem_id, k passes of K rollouts, p_hat = k/K, its 95 % Jeffreys interval (jeffreys_low, jeffreys_high),
    posterior_mean under a uniform prior, truncated_share, mean_tokens, and `weight`. The weight is the paper's plug-in p_hat (1 - p_hat), of mean
    one over the problems that it keeps. Where rollouts were stopped early (`adaptive`), which biases k/K, it is the mean of p(1-p) by
    empirical Bayes. It is zero throughout if every problem is always or never solved. `paced.weights` makes other weights.
    """

    frame: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        return self.frame.copy()

    def __getitem__(self, column: str) -> pd.Series:
        found: pd.Series = self.frame[column]
        return found

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return rollout_summary.table(self.record)

    def plot(self) -> Any:
        """A matplotlib figure: the weight against the pass rate, above a histogram of the pass rates."""
        from paced_exp.door.plots import weights_figure

        estimate = "empirical_bayes" if "adaptive" in self.record else "plugin"  # as in `with_weights`
        return weights_figure(self.frame["p_hat"].to_numpy(), self.frame["weight"].to_numpy(), f"p(1-p), {estimate} estimate")

    def _repr_html_(self) -> str:
        rows = self.record["sources"]
        shown = [
            (
                row["source"],
                row["problems"],
                _share(row, "pass_rate"),
                row["never_passed"],
                row["always_passed"],
                f"{row['truncated_share']:.1%}",
            )
            for row in rows
        ]
        line = f"{len(self.frame)} problems, {rows[-1]['rollouts']} rollouts of {self.record['config']['student']}"
        return page("pass rates", line, table(("source", "problems", "pass rate [95 %]", "k = 0", "k = K", "cut off"), shown))


@dataclass(frozen=True, repr=False, eq=False)
class SNRCurve(Result):
    """The gradient's signal-to-noise ratio against the student's pass rate, before one update or, with `at_steps`, before several."""

    @property
    def panels(self) -> list[dict[str, Any]]:
        """The record of each probe, one for every update of `at_steps`."""
        panels: list[dict[str, Any]] = self.record.get("steps", [self.record])
        return panels

    @property
    def verdict(self) -> Any:
        """{"low": ..., "high": ...}: whether the first and last bins have at least half of the middle bin's SNR², or less, or this is not decided.

        With `at_steps`, a dict of these by update. `print(curve)` shows the numbers behind them.
        """
        judged = [{end: by_rule(panel["verdict"][end]) for end in ENDS} for panel in self.panels]
        return judged[0] if "steps" not in self.record else dict(zip((panel["step"] for panel in self.panels), judged, strict=True))

    def to_frame(self) -> pd.DataFrame:
        """A row for each bin: pass_rate, n, snr and snr_squared with intervals, the naive estimate and its floor, and the nulls; with `at_steps`
        also step, and with `fresh_rollouts` the name of the range."""
        rows = [
            {**({"step": panel["step"]} if "step" in panel else {}), **row, **({"range": row["range"]["label"]} if "range" in row else {})}
            for panel in self.panels
            for row in panel["bins"]
        ]
        return pd.DataFrame(rows)

    def plot(self) -> Any:
        """The same matplotlib figure as the command draws. Raises `UserError` if no bin was filled."""
        from paced_exp.door.plots import in_style

        if not all(panel["bins"] for panel in self.panels):
            raise UserError("no bin holds enough problems for a curve; raise `max_problems`, or take fewer `bins` or a smaller `per_bin`")
        with in_style():
            from paced_exp.probe.figure import snr_figure

            return snr_figure(self.record)

    def __repr__(self) -> str:
        if "steps" not in self.record:
            return probe_table.table(self.record)
        return "\n".join(f"before update {panel['step']}:\n{probe_table.table(panel)}" for panel in self.panels)

    def _repr_html_(self) -> str:
        config = self.record["config"]
        said = [
            f"before update {panel['step']}: {words(panel, end)}" if "step" in panel else words(panel, end)
            for panel in self.panels
            for end in ENDS
        ]
        shown = [image(self.plot(), repr(self))] if all(panel["bins"] for panel in self.panels) else []
        return page(f"gradient SNR of {config['student']} distilled from {config['teacher']}", "; ".join(said), *shown)


@dataclass(frozen=True, repr=False, eq=False)
class Evaluation(Result):
    """mean@n, pass@k and length of a model's responses on each source, with 95 % intervals, and paired differences if it has a comparison."""

    def to_frame(self) -> pd.DataFrame:
        """A row for each source: problems, samples, mean, pass@n and tokens with their _low and _high, truncated_share, and differences as difference_*."""
        against = self.record["against"]
        differences = {row["source"]: row for row in against["differences"]} if against else {}
        rows = []
        for row in self.record["sources"]:
            last = str(row["samples"])
            flat = {name: row[name] for name in ("source", "problems", "samples")}
            flat |= _spread("mean", row["mean"]) | _spread(f"pass@{last}", row["pass_at"][last]) | _spread("tokens", row["tokens"])
            flat["truncated_share"] = row["truncated_share"]
            if (other := differences.get(row["source"])) is not None:
                flat |= _spread("difference_mean", other["mean"]) | _spread(f"difference_pass@{last}", other["pass_at"][last])
            rows.append(flat)
        return pd.DataFrame(rows)

    def plot(self) -> Any:
        """A matplotlib figure: mean@n of each source, and beside it the paired differences, if any."""
        from paced_exp.door.plots import evaluation_figure

        return evaluation_figure(self.record)

    def __repr__(self) -> str:
        return evaluation_table(self.record)

    def _repr_html_(self) -> str:
        frame = self.to_frame()
        against = self.record["against"]
        names = [
            "source",
            "problems",
            f"mean@{frame['samples'][0]} %",
            "tokens",
            *([f"less {against['model']}, points"] if against else []),
        ]
        rows = []
        for row, flat in zip(self.record["sources"], frame.to_dict("records"), strict=True):
            compared = [interval_text({end: flat[f"difference_mean{end}"] for end in ("", "_low", "_high")}, 100, "+")] if against else []
            rows.append([row["source"], row["problems"], interval_text(row["mean"], 100), interval_text(row["tokens"], 1), *compared])
        return page(f"evaluation of {self.record['config']['model']}", "with 95 % intervals over problems", table(names, rows))


@dataclass(frozen=True, repr=False, eq=False)
class Distillation(Result):
    """A trained student and its training."""

    @property
    def model(self) -> str:
        """The folder of the trained student, in transformers' layout. It can be given wherever a model is asked for."""
        return str(self.out / "model")

    @property
    def evaluation(self) -> Evaluation | None:
        """The evaluation after training; None if `evaluate` is none."""
        return None if self.record["evaluation"] is None else Evaluation(self.record["evaluation"], self.out / "evaluation")

    def load(self, *, device: str = "auto", dtype: str = "auto") -> LoadedModel:
        """The trained student as an object, whose `.model` and `.tokenizer` are those of transformers."""
        return load_model(self.model, device=device, dtype=dtype)

    def to_frame(self) -> pd.DataFrame:
        """A row for each update: loss in nats per token, learning rate, gradient norm, seconds and others."""
        lines = (self.out / "training" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return pd.DataFrame([json.loads(line) for line in lines])

    def plot(self) -> Any:
        """A matplotlib figure: the loss of every update."""
        from paced_exp.door.plots import loss_figure

        return loss_figure(self.to_frame())

    def __repr__(self) -> str:
        shown = [] if self.evaluation is None else [repr(self.evaluation)]
        return "\n".join([*shown, training_summary.summary(self.record), self.model])

    def _repr_html_(self) -> str:
        config = self.record["config"]
        shown = [] if self.evaluation is None else [self.evaluation._repr_html_()]
        said = training_summary.summary(self.record).replace("\n", "; ")
        return page(f"{config['student']} distilled from {config['teacher']}", said, *shown)


def _spread(name: str, interval: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}{end}": value for end, value in zip(("", "_low", "_high"), interval.values(), strict=True)}


def _share(row: dict[str, Any], name: str) -> str:
    if row[f"{name}_low"] is None:
        return f"{row[name]:.3f}"
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"
