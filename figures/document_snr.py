"""docs/snr.md: the verdict on the bell, written from the records of the probe.

python -m figures.document_snr [--results results/desk] [--out docs/snr.md]
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from paced_exp.errors import UserError, exit_cleanly
from paced_exp.reproduce.records import read_sealed
from paced_exp.run_folder import write_atomically
from paced_theory import BetaKernel, HardFilter, SqrtVariance, Uniform

ROOT = Path(__file__).resolve().parent.parent
VERDICT, ROBUSTNESS, STEPS = "snr_verdict", "snr_robustness", "snr_probe"
PAIRS = {"qwen3": "Qwen3 architecture", "llama": "Llama architecture"}
VARIANTS = {
    "reverse-kl": "reverse KL on the student's own rollouts",
    "cross-entropy": "cross-entropy on the worked solution",
    "last-layer": "forward KL, the last transformer block alone",
    "sum": "forward KL, summed over a response's tokens",
    "k40": "forward KL, p from K = 40 rollouts",
    "trimmed": "forward KL, without the 1 % largest gradients of every bin",
}
KERNELS = {"p(1-p)": BetaKernel(1, 1), "sqrt(p(1-p))": SqrtVariance(), "hard filter [0.2, 0.8]": HardFilter(0.2, 0.8), "uniform": Uniform()}


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise UserError(f"{path} does not exist; docs/snr.md names the command that makes it")
    record: dict[str, Any] = read_sealed(path)
    return record


def efficiencies(record: dict[str, Any]) -> dict[str, float]:
    """Each kernel's efficiency if the fitted curve f = c p^a (1-p)^b is the true SNR^2, the law of p is the one drawn, and m = E ||g||^2.

    Weights w gain (sum P w s)^2 / (sum P w^2 m) with s = f m; the best, w = f, gains sum P f^2 m (ours; theory section 4).
    """
    rows, fit = record["bins"], record["fit"]
    p, share, m = (np.array([row[key] for row in rows], dtype=float) for key in ("posterior_pass_rate", "offered", "mean_squared_norm"))
    f = p ** fit["a"] * (1 - p) ** fit["b"]
    return {
        name: float((share * w * f * m).sum() ** 2 / ((share * w**2 * m).sum() * (share * f**2 * m).sum()))
        for name, w in ((name, kernel(p)) for name, kernel in KERNELS.items())
    }


def _interval(value: float, low: float, high: float, digits: int = 4) -> str:
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _exponent(fit: dict[str, Any], name: str) -> str:
    low, high = fit[f"{name}_low"], fit[f"{name}_high"]
    if low is None or high is None:
        return f"{fit[name]:.2f} (at the bound of the search)"
    one = "holds" if low <= 1 <= high else "excludes"
    zero = "holds" if low <= 0 <= high else "excludes"
    return f"{_interval(fit[name], low, high, 2)}: {one} the paper's 1, {zero} 0"


def _pair(name: str, record: dict[str, Any], folder: str) -> list[str]:
    rows, seconds = record["bins"], record["seconds"]
    command = f"python -m paced_exp.snr_probe --student {record['config']['student']} --teacher {record['config']['teacher']}"
    lines = [
        f"## {PAIRS[name]}",
        "",
        f"`{command} --per-bin {record['config']['per_bin']} --max-problems {record['config']['max_problems']} --out {record['config']['out']}`: "
        f"{record['rollouts']['problems_drawn']:,} problems drawn, {record['rollouts']['rollouts']:,} rollouts, {sum(r['n'] for r in rows):,} gradients; "
        f"{sum(seconds.values()) / 60:.0f} minutes of wall time on two shared cores ({', '.join(f'{k} {v / 60:.0f}' for k, v in seconds.items() if v >= 60)}).",
        "",
        f"![SNR against the pass rate, {PAIRS[name]}](../{folder}/{VERDICT}/{name}/figure2_snr.png)",
        "",
        "| pass rate | n | SNR², 95 % interval | naive SNR | its floor | naive on unequal bins (n) |",
        "|---|---|---|---|---|---|",
    ]
    for row, other in zip(rows, record["artefact"], strict=True):
        squared = _interval(row["snr_squared"], row["snr_squared_low"], row["snr_squared_high"])
        lines.append(
            f"| {row['pass_rate']:.1f} | {row['n']} | {squared} | {row['snr_naive']:.3f} | {row['floor']:.3f} | {other['snr_naive']:.3f} ({other['n']}) |"
        )
    lines += [""] + [f"- **{record['verdict'][end]['words']}**." for end in ("low", "high")]
    fit = record["fit"]
    if fit is None:
        return [*lines, "- No leading-order fit: the estimates show no signal that c p^a (1-p)^b could follow.", ""]
    best = [model for model in record["models"] if model["delta_aic"] < 2]
    ranked = [f"{model['name']} (+{model['delta_aic']:.1f})" for model in record["models"]]
    shares = efficiencies(record)
    lines += [
        f"- Fit SNR² = c p^a (1-p)^b: a = {_exponent(fit, 'a')}; b = {_exponent(fit, 'b')}.",
        f"- Rivals by AIC: {', '.join(ranked)}. Within 2 of the best, which AIC does not tell apart: {', '.join(m['name'] for m in best)}.",
        f"- The kernel that this curve itself suggests is p^{fit['a']:.2f} (1-p)^{fit['b']:.2f}. The residuals' oscillation, {fit['oscillation']:.2f}, "
        f"guarantees it an efficiency of sech²(osc/2) = {fit['guaranteed_efficiency']:.2f}; noise in the points counts against it here.",
        "- If the fit were the truth, weights would keep of the best weights' gain a step: "
        + ", ".join(f"{kernel} {share:.2f}" for kernel, share in shares.items())
        + ".",
        "",
    ]
    return lines


def _variant_row(name: str, record: dict[str, Any]) -> str:
    ends = [record["bins"][0], record["bins"][-1]]
    middle = record["verdict"]["low"]
    fit = record["fit"]
    exponents = (
        "no signal to fit"
        if fit is None
        else "; ".join(
            f"{e} = {fit[e]:.2f}" if fit[f"{e}_low"] is None else f"{e} = {_interval(fit[e], fit[f'{e}_low'], fit[f'{e}_high'], 2)}"
            for e in "ab"
        )
    )
    squared = [_interval(row["snr_squared"], row["snr_squared_low"], row["snr_squared_high"]) for row in ends]
    n = min(row["n"] for row in record["bins"])
    return (
        f"| {VARIANTS[name]} | {n} | {squared[0]} | {_interval(middle['middle'], middle['middle_low'], middle['middle_high'])} | {squared[1]} "
        f"| {exponents} | {record['verdict']['low']['verdict']} / {record['verdict']['high']['verdict']} |"
    )


def _steps(record: dict[str, Any], folder: str) -> list[str]:
    """The probe before several updates of one training: a table with a column an update."""
    config, panels = record["config"], record["steps"]
    seconds = sum(sum(panel["seconds"].values()) for panel in panels)
    lines = [
        f"`python -m paced_exp.snr_probe --at-steps {config['at_steps']} --per-bin {config['per_bin']} --max-problems {config['max_problems']}`: "
        f"the student is trained with {config['method']} weights from one probe to the next, and its pass rates are taken again; "
        f"{seconds / 60:.0f} minutes of wall time on two shared cores.",
        "",
        f"![SNR against the pass rate before the updates probed](../{folder}/{STEPS}/figure2_snr.png)",
        "",
        "| pass rate | " + " | ".join(f"SNR² before update {panel['step']}" for panel in panels) + " |",
        "|---|" + "---|" * len(panels),
    ]
    for rows in zip(*(panel["bins"] for panel in panels), strict=True):
        squared = (_interval(row["snr_squared"], row["snr_squared_low"], row["snr_squared_high"]) for row in rows)
        lines.append(f"| {rows[0]['pass_rate']:.1f} | {' | '.join(squared)} |")
    lines.append("")
    for panel in panels:
        fit = panel["fit"]
        words = f"{panel['verdict']['low']['words']}; {panel['verdict']['high']['words']}"
        exponents = "" if fit is None else f". Fit: a = {_exponent(fit, 'a')}; b = {_exponent(fit, 'b')}"
        lines.append(f"- Before update {panel['step']}: {words}{exponents}.")
    return lines


def _held(record: dict[str, Any]) -> str:
    shares = record["largest_share"]
    return (
        f"In the run of the verdict the {record['share']:.0%} largest gradients of a bin hold between {min(shares):.0%} and {max(shares):.0%} of its "
        f"squared norm, {shares[0]:.0%} at p = 0 and {shares[-1]:.0%} at p = 1. Without them the verdicts are: "
        f"p → 0 {record['verdict']['low']['verdict']}, p → 1 {record['verdict']['high']['verdict']}."
    )


def _cost_rows(bench: dict[str, Any]) -> list[str]:
    names = ("engine", "engine with sketch", "Opacus fast gradient clipping", "loop of single passes")
    settings = dict.fromkeys((row["parameters"], row["problems"]) for row in bench["time"])
    lines = []
    for parameters, problems in sorted(settings):
        ratio = {row["contender"]: row["total"] for row in bench["time"] if (row["parameters"], row["problems"]) == (parameters, problems)}
        lines.append(f"| {parameters:,} | {problems:,} | " + " | ".join(f"{ratio[name]:.2f}" for name in names) + " |")
    return lines


def document(results: Path) -> str:
    """The whole page as Markdown. Raises `UserError` for a record that is missing."""
    folder = f"results/{results.name}"
    verdicts = {name: _read(results / VERDICT / name / "record.json") for name in PAIRS}
    variants = {name: _read(results / ROBUSTNESS / name / "record.json") for name in VARIANTS}
    steps = _read(results / STEPS / "record.json")
    bench = _read(results / "bench" / "gradients.json")
    prose = (Path(__file__).parent / "document_snr.md").read_text(encoding="utf-8")
    fill: dict[str, Callable[[], str]] = {
        "pairs": lambda: "\n".join(line for name, record in verdicts.items() for line in _pair(name, record, folder)),
        "variants": lambda: "\n".join(_variant_row(name, record) for name, record in variants.items()),
        "steps": lambda: "\n".join(_steps(steps, folder)),
        "held": lambda: _held(variants["trimmed"]),
        "cost": lambda: "\n".join(_cost_rows(bench)),
        "words": lambda: "\n".join(
            f"- {PAIRS[name]}: {record['verdict'][end]['words']}." for name, record in verdicts.items() for end in ("low", "high")
        ),
    }
    for name, text in fill.items():
        prose = prose.replace(f"<!-- {name} -->", text())
    return prose


def main(argv: list[str] | None = None) -> None:
    """Write the page and print its path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "desk")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "snr.md")
    arguments = parser.parse_args(argv)
    write_atomically(arguments.out, document(arguments.results))
    print(arguments.out)


if __name__ == "__main__":
    exit_cleanly(main)
