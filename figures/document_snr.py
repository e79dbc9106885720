"""docs/snr.md: what the probe says about the bell, written from its records.

python -m figures.document_snr [--results results] [--out docs/snr.md]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures.command import RESULTS
from figures.document_ranges import ranges
from paced_exp.core import config as configs
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.json_files import write_atomically
from paced_exp.core.options import Options
from paced_exp.probe.fits import exponent_words, flat_words, law_words, mixture_of, quality_words
from paced_exp.probe.step_noise import step_noise
from paced_exp.probe.verdict import ENDS, bin_name, by_rule, words
from paced_exp.reproduce.c1 import probe_records
from paced_exp.reproduce.findings import Finding
from paced_exp.reproduce.probes import ALIGNMENT, ROBUSTNESS, Probe, probe_command, probes_of
from paced_exp.reproduce.records import read_sealed
from paced_exp.reproduce.scales import DESK_V1, SMOLLM2
from paced_exp.reproduce.verdicts import findings_by_name

ROOT = Path(__file__).resolve().parent.parent
TRIMMED = "snr_robustness/trimmed"
ABSENT = "not in this record"
OLD_INTERVAL = "jackknife over problems, without an allowance for heavy tails, so not known to cover (see above)"
# Estimands besides SNR^2 of all gradients: the fields of a record's bins and what a column is called.
OTHERS = {"trimmed": "trimmed SNR²", "unit_norm": "unit-norm SNR²"}


def _record(probe: Probe, results: Path) -> dict[str, Any]:
    record = probe.record(results)
    if record is None:
        raise UserError(f"{probe.path(results)} does not exist; run: {probe.command}")
    return record


def _interval(row: dict[str, Any], name: str) -> str:
    """An estimate with its interval, and a dagger where the interval is not known to cover; or that an old record lacks it."""
    if row.get(name) is None:
        return ABSENT
    mark = "" if row.get(f"{name}_covers", True) else " †"
    return f"{row[name]:.4f} [{row[f'{name}_low']:.4f}, {row[f'{name}_high']:.4f}]{mark}"


def _fit(panel: dict[str, Any], name: str | None = None) -> str:
    """Both exponents through the mixture with the test of the fit, or one of them; or why there are none."""
    found = mixture_of(panel)
    if (fit := found["fit"]) is None:
        return str(found["problem"])
    return (
        "; ".join([exponent_words(fit, "a"), exponent_words(fit, "b"), quality_words(fit)]) if name is None else exponent_words(fit, name)
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _verdicts(records: dict[str, dict[str, Any]], results: Path) -> list[str]:
    """One row for each end bin of each record behind the claim: by its own interval, and after Holm's correction where it is in the family."""
    findings = findings_by_name(results, DESK_V1)
    judging = probe_records(results, DESK_V1)
    lines = []
    for key, record in records.items():
        for panel in record.get("steps", [record]):
            step = panel.get("step", 1)
            for end in ENDS:
                finding = findings.get(f"C1.step{step}.{end}")
                decides = step in judging and judging[step][1] == results / DESK_V1.name / key / "record.json"
                corrected = _corrected(finding) if finding is not None and decides else "no hypothesis of a claim"
                what = f"[{key}](../results/{DESK_V1.name}/{key}/record.json), update {step}"
                exponent = _fit(panel, "a" if end == "low" else "b") + _rejected(panel)
                raw = by_rule(panel["verdict"][end])
                lines.append(f"| {bin_name(panel, end)} | {what} | {panel['bins'][0]['n']} | {raw} | {corrected} | {exponent} |")
    return lines


def _rejected(panel: dict[str, Any]) -> str:
    """A mark where chi-squared says that no exponents fit."""
    fit = mixture_of(panel)["fit"]
    return " ✗" if fit is not None and fit["chi_squared_p"] < 0.05 else ""


def _corrected(finding: Finding) -> str:
    holm = "" if finding.holm is None else f", p {'< 0.001' if finding.holm < 0.001 else f'= {finding.holm:.3f}'}"
    return f"{finding.hypothesis}: {finding.verdict}{holm}"


def _pair(probe: Probe, record: dict[str, Any]) -> list[str]:
    config = record["config"]
    command = (
        f"python -m paced_exp.snr_probe --student {config['student']} --teacher {config['teacher']} --per-bin {config['per_bin']} "
        f"--max-problems {config['max_problems']} --out {config['out']}"
    )
    return [f"## {probe.words}", "", *_probed(probe, record, command, probe.words)]


def _pretrained(results: Path) -> list[str]:
    """The same of the pretrained model, where its probe was run."""
    (probe,) = probes_of(SMOLLM2, ALIGNMENT)
    command = probe_command(SMOLLM2, ALIGNMENT)
    about = f"{SMOLLM2.about} No hypothesis rests on it: C1 is asked of ranges, and here are bins of ten rollouts."
    if (record := probe.record(results)) is None:
        return [about, "", f"Not measured yet: `{command}`."]
    precision = f"Rollouts are in {probe.config.rollout_dtype}, gradients in {probe.config.dtype}."
    return [f"{about} {precision}", "", *_probed(probe, record, command, SMOLLM2.models, "one thread, beside another job")[:-1]]


def _probed(probe: Probe, record: dict[str, Any], command: str, words_of_figure: str, cores: str = "two shared cores") -> list[str]:
    """What a probe of bins cost, its figure, a table of its bins, and what is said of them. cores: that it ran on."""
    rows, seconds = record["bins"], record["seconds"]
    lines = [
        f"`{command}`: "
        f"{record['rollouts']['problems_drawn']:,} problems drawn, {record['rollouts']['rollouts']:,} rollouts, {sum(r['n'] for r in rows):,} gradients; "
        f"{sum(seconds.values()) / 60:.0f} minutes of wall time on {cores} ({', '.join(f'{k} {v / 60:.0f}' for k, v in seconds.items() if v >= 60)}).",
        "",
        f"![SNR curve, {words_of_figure}](../results/{probe.scale.name}/{probe.key}/snr_curve.png)",
        "",
        f"| pass rate | n | SNR², 95 % interval | {' | '.join(OTHERS.values())} | naive SNR | its floor | naive on unequal bins (n) |",
        "|---|---|---|" + "---|" * len(OTHERS) + "---|---|---|",
    ]
    for row, other in zip(rows, record["artefact"], strict=True):
        others = " | ".join(_interval(row, key) for key in OTHERS)
        naive = "none" if other["snr_naive"] is None else f"{other['snr_naive']:.3f}"
        lines.append(
            f"| {row['pass_rate']:.1f} | {row['n']} | {_interval(row, 'snr_squared')} | {others} | {row['snr_naive']:.3f} | {row['floor']:.3f} "
            f"| {naive} ({other['n']}) |"
        )
    lines += ["", f"Intervals: {record.get('interval', OLD_INTERVAL)}.", ""]
    lines += [f"- {_sentence(words(record, end))}" for end in ENDS]
    law = mixture_of(record)["law"]
    ranked = ", ".join(f"{model['name']} (+{model['delta_aic']:.1f})" for model in record["models"])
    return [
        *lines,
        f"- Fit of SNR² = c p^a (1-p)^b through the mixture: {_fit(record)}.",
        f"- Law of pass rates: {ABSENT if law is None else law_words(law)}.",
        f"- Test of a flat SNR: {_flat(record)}.",
        f"- Other shapes by AIC, read at (k + ½)/(K + 1) without the mixture: {ranked or 'none'}.",
        "",
    ]


def _flat(record: dict[str, Any]) -> str:
    return flat_words(record["flat"]) if "flat" in record else ABSENT


def _variant_row(words: str, panel: dict[str, Any]) -> str:
    first, last, middle = panel["bins"][0], panel["bins"][-1], panel["verdict"]["low"]
    centre = f"{middle['middle']:.4f} [{middle['middle_low']:.4f}, {middle['middle_high']:.4f}]"
    verdicts = " / ".join(by_rule(panel["verdict"][end]) for end in ENDS)
    n = min(row["n"] for row in panel["bins"])
    return (
        f"| {words} | {n} | {_interval(first, 'snr_squared')} | {centre} | {_interval(last, 'snr_squared')} | {_fit(panel)} | {verdicts} |"
    )


def _steps(stepped: Probe, record: dict[str, Any]) -> list[str]:
    """The probe before several updates of one training: a table with a column an update."""
    config, panels = record["config"], record["steps"]
    seconds = sum(sum(panel["seconds"].values()) for panel in panels)
    lines = [
        f"`python -m paced_exp.snr_probe --at-steps {config['at_steps']} --per-bin {config['per_bin']} --max-problems {config['max_problems']}`: "
        f"the student is trained with {config['method']} weights from one probe to the next, and its pass rates are taken again; "
        f"{seconds / 60:.0f} minutes of wall time on two shared cores.",
        "",
        f"![SNR curves before the updates probed](../results/{DESK_V1.name}/{stepped.key}/snr_curve.png)",
        "",
        "| pass rate | " + " | ".join(f"SNR² before update {panel['step']}" for panel in panels) + " |",
        "|---|" + "---|" * len(panels),
    ]
    for rows in zip(*(panel["bins"] for panel in panels), strict=True):
        lines.append(f"| {rows[0]['pass_rate']:.1f} | {' | '.join(_interval(row, 'snr_squared') for row in rows)} |")
    lines.append("")
    for panel in panels:
        said = " ".join(_sentence(words(panel, end)) for end in ENDS)
        lines.append(f"- Before update {panel['step']}: {said} Fit: {_fit(panel)}.")
    return lines


def _held(record: dict[str, Any]) -> str:
    shares = record["largest_share"]
    verdicts = "; ".join(f"{bin_name(record, end)} {by_rule(record['verdict'][end])}" for end in ENDS)
    return (
        f"In the run of the verdict the {record['share']:.0%} largest gradients of a bin hold between {min(shares):.0%} and {max(shares):.0%} of its "
        f"squared norm, {shares[0]:.0%} at k = 0 and {shares[-1]:.0%} at k = K. Without them: {verdicts}."
    )


def _ends(records: Sequence[dict[str, Any]]) -> str:
    """The share of the problems drawn that are never or always solved in their K rollouts."""
    shares = [(counts[0] + counts[-1]) / sum(counts) for record in records if (counts := record["rollouts"]["offered"])]
    return f"{' and '.join(f'{share:.0%}' for share in shares)} of the problems (Qwen3, Llama) have no pass or nothing else"


def _noise_row(name: str, panel: dict[str, Any]) -> str:
    found = step_noise(panel)
    powers = "too few bins" if found.exponents is None else f"p^{found.exponents[0]:.2f} (1-p)^{found.exponents[1]:.2f}"
    return f"| {name} | {powers} | {found.ratio:.2f} | {found.kept:.0%} | {found.ratio_passed_over:.2f} |"


def _cost_rows(bench: dict[str, Any]) -> list[str]:
    names = ("engine", "engine with sketch", "dattri-llm", "Opacus fast gradient clipping", "loop of single passes")
    settings = dict.fromkeys((row["parameters"], row["problems"]) for row in bench["time"])
    lines = []
    for parameters, problems in sorted(settings):
        ratio = {row["contender"]: row["total"] for row in bench["time"] if (row["parameters"], row["problems"]) == (parameters, problems)}
        lines.append(
            f"| {parameters:,} | {problems:,} | "
            + " | ".join(f"{ratio[name]:.2f}" if name in ratio else "not run" for name in names)
            + " |"
        )
    return lines


def document(results: Path) -> str:
    """The whole page as Markdown. Raises `UserError` for a record that is missing or was made with other options than are declared."""
    pairs = [(probe, _record(probe, results)) for probe in probes_of(DESK_V1) if probe.config.at_steps == "1"]
    stepped = next(probe for probe in probes_of(DESK_V1) if probe.config.at_steps != "1")
    steps = _record(stepped, results)
    variants = {probe.words: _record(probe, results) for probe in probes_of(DESK_V1, ROBUSTNESS)}
    # Made by a command that no longer is: new records hold the estimand.
    trimmed = read_sealed(results / DESK_V1.name / TRIMMED / "record.json")
    variants["forward KL, without the 1 % largest gradients of every bin"] = trimmed
    bench = read_sealed(results / "bench" / "gradients.json")
    noisy = {f"{probe.words}, update 1": record for probe, record in pairs}
    noisy |= {f"{pairs[0][0].words}, update {panel['step']}": panel for panel in steps["steps"] if panel["step"] > 1}
    parts = {
        "ranges": ranges(results),
        "verdicts": _verdicts({probe.key: record for probe, record in (*pairs, (stepped, steps))}, results),
        "pairs": [line for probe, record in pairs for line in _pair(probe, record)],
        "pretrained": _pretrained(results),
        "variants": [_variant_row(words, record) for words, record in variants.items()],
        "robustness": [f"`{probe_command(DESK_V1, ROBUSTNESS)}`"],
        "steps": _steps(stepped, steps),
        "held": [_held(trimmed)],
        "ends": [_ends([record for _, record in pairs])],
        "noise": [_noise_row(name, panel) for name, panel in noisy.items()],
        "cost": _cost_rows(bench),
    }
    prose = (Path(__file__).parent / "document_snr.md").read_text(encoding="utf-8")
    for name, lines in parts.items():
        prose = prose.replace(f"<!-- {name} -->", "\n".join(lines))
    return prose


@dataclass(frozen=True, kw_only=True)
class SnrPageConfig(Options):
    """Page.

    Attributes:
        results: folder of the records
        out: the file to write
    """

    results: Path = RESULTS
    out: Path = ROOT / "docs" / "snr.md"


@configs.command(SnrPageConfig, "figures.document_snr", __doc__)
def main(config: SnrPageConfig) -> None:
    """Write the page and print its path."""
    write_atomically(config.out, document(config.results))
    print(config.out)


if __name__ == "__main__":
    exit_cleanly(main)
