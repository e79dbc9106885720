"""The benchmarks that `python -m bench` runs, smaller than each by itself, and the ratios that its table has of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]

RUN = "RUN"  # stands, in a part's arguments, for the folder of the rollouts that `before` makes


@dataclass(frozen=True)
class Part:
    """One benchmark in the whole.

    module, arguments: the command. seconds: by the clock on two idle cores, on the slowest machine that ran it.
    rows: its ratios, from its record. before: a command that must run first, whose folder the arguments name as RUN.
    """

    module: str
    arguments: Sequence[str]
    seconds: int
    rows: Callable[[Row], list[Row]]
    before: Sequence[str] = ()


def ratio(what: str, to: str, value: float, low: float | None = None, high: float | None = None) -> Row:
    """A row of the table: `what` in units of `to`, with its spread over batches or rounds, if that was measured."""
    return {"what": what, "to": to, "ratio": value, "low": low, "high": high}


def _spread(what: str, to: str, row: Row) -> Row:
    # The median, so that its quartiles hold it: the total has the first batch, with its checks and cold caches.
    return ratio(what, to, row["median"], row["quartile_low"], row["quartile_high"])


def gradients(record: Row) -> list[Row]:
    """Time of per-problem gradients, at the most problems, by size and contender."""
    most = max(row["problems"] for row in record["time"])
    rows = [row for row in record["time"] if row["problems"] == most and row["contender"] != "plain"]
    return [_spread(f"{row['contender']}, {row['size']} M parameters", "a plain step", row) for row in rows]


def distill(record: Row) -> list[Row]:
    """Time of a step."""
    return [_spread(row["contender"], "a step with a live teacher", row) for row in record["step"] if row["contender"] != "live teacher"]


def fused(record: Row) -> list[Row]:
    """Time of the loss with its gradients; and memory, to the dense loss's."""
    rows = [row for row in record["rows"] if row["to_products"]["total"] != 1]
    time = [_spread(row["contender"], "the four products", row["to_products"]) for row in rows]
    return time + [
        ratio(f"{row['contender']}, memory", "the dense loss", row["memory_to_dense"]) for row in rows if row["contender"] != "dense"
    ]


def rollouts(record: Row) -> list[Row]:
    """Rollouts a processor second of the hf engine, by round."""
    rates = {row["engine"]: [turn["rollouts"] / turn["processor_seconds"] for turn in row["rounds"]] for row in record["rows"]}
    values = sorted(ours / theirs for ours, theirs in zip(rates["hf"], rates["generate"], strict=True))
    return [ratio("hf engine, rollouts a second", "plain generate", values[len(values) // 2], values[0], values[-1])]


def adaptive(record: Row) -> list[Row]:
    """Rollouts under `--adaptive`, with one standard deviation over replicates."""
    return [
        ratio(
            f"{row['way']}: rollouts, {row['source']}",
            "K for all",
            row["rollouts"],
            row["rollouts"] - row["rollouts_sd"],
            row["rollouts"] + row["rollouts_sd"],
        )
        for row in record["rows"]
        if not row["way"].startswith("plugin")
    ]


def store(record: Row) -> list[Row]:
    """Time to open a journal and count passes."""
    seconds = {row["stage"]: row["processor_seconds"] for row in record["rows"]}
    return [ratio("open and count", "an earlier version", seconds["open and count"] / seconds["earlier: open and count"])]


def busy(record: Row) -> list[Row]:
    """Rate of rollouts beside one busy process."""
    return [ratio(f"{row['contender']}, beside one busy process", "alone", row["share"]) for row in record["rows"] if row["busy"] == 1]


def time(record: Row) -> list[Row]:
    """Processor time of whole commands."""
    totals = {
        (command, when): sum(row["seconds"] for row in record["rows"] if (row["command"], row["when"]) == (command, when))
        for command, when in {(row["command"], row["when"]) for row in record["rows"]}
    }
    commands = dict.fromkeys(row["command"] for row in record["rows"])
    return [
        ratio(f"a small {name}", f"commit {record['settings']['before'][:9]}", totals[name, "now"] / totals[name, "before"])
        for name in commands
    ]


PARTS = {
    "gradients": Part("bench.gradients", ("--problems", "100", "300", "--sizes", "0.8"), 120, gradients),
    "distill": Part("bench.distill", ("--problems", "256"), 65, distill),
    "fused": Part("bench.fused", ("--tokens", "256", "--rounds", "2", "--only", "fused", "dense", "TRL"), 150, fused),
    "rollouts": Part("bench.rollouts", ("--engines", "hf", "generate", "--limit", "60"), 70, rollouts),
    "adaptive": Part(
        "bench.adaptive",
        (RUN, "--replicates", "10", "--problems", "2000"),
        80,
        adaptive,
        ("paced_exp.rollout", "--limit", "300", "-K", "64"),
    ),
    "store": Part("bench.store", ("--problems", "600"), 75, store),
    "busy": Part("bench.busy", ("--rounds", "1", "--problems", "40"), 215, busy),
    "time": Part("bench.time", ("--only", "probe", "--options=--per-bin 10"), 120, time),
}
