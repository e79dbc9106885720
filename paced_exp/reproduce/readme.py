"""What the records say, in the README, docs/weights.md and docs/neighbours.md: written between markers, so that the pages cannot say what they do not.

    python -m paced_exp.reproduce.readme [--results results] [--page README.md] [--weights docs/weights.md] [--neighbours docs/neighbours.md]
        [--badges figures/out/badges.svg]

Everything between `<!-- claims:begin -->` and `<!-- claims:end -->` of the README, between `<!-- advice:begin -->` and
`<!-- advice:end -->` of docs/weights.md, and between the markers `neighbours`, `compressed` and `concise` of docs/neighbours.md is
replaced; the rest of the pages is left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.json_files import write_atomically
from paced_exp.reproduce import compressed_findings, concise_findings, neighbour_findings
from paced_exp.reproduce.advice import advice
from paced_exp.reproduce.badges import badges
from paced_exp.reproduce.by_model import verdicts_by_model
from paced_exp.reproduce.findings import Finding, Outcome
from paced_exp.reproduce.front import elsewhere, findings, setting
from paced_exp.reproduce.front_use import in_short, use
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.marked import between
from paced_exp.reproduce.options import RecordsOptions
from paced_exp.reproduce.records import Results, readable
from paced_exp.reproduce.scales import DESK, SCALES, Scale
from paced_exp.reproduce.tables import scales_to_print
from paced_exp.reproduce.verdict_parts import measured_text
from paced_exp.reproduce.verdicts import outcomes

BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"
ADVICE_BEGIN, ADVICE_END = "<!-- advice:begin -->", "<!-- advice:end -->"
WIDTH = 160
MODELS = "Models of a million parameters on short arithmetic; larger models may differ."
RULES = "by [rules](docs/protocol-v2.md) fixed before these runs"
MEASURED = "measured (positive: for the claim), 95 % interval"
NUMBERS = "All numbers: [docs/weights.md](docs/weights.md#should-i-use-it)."
INTERVALS = "Brackets: 95 % intervals, as they are; the verdicts are adjusted for multiple tests."


@dataclass(frozen=True, kw_only=True)
class ReadmeConfig(RecordsOptions):
    """Pages.

    Attributes:
        page: the page with the markers of the claims
        weights: the page with the markers of the advice
        neighbours: the page with the markers of what the neighbouring methods claim
        badges: the picture of the README's badges, which is replaced
    """

    page: Path = Path("README.md")
    weights: Path = Path("docs/weights.md")
    neighbours: Path = Path("docs/neighbours.md")
    badges: Path = Path("figures/out/badges.svg")


def block(results: Results) -> str:
    """What stands between the README's markers, from the records alone."""
    desk = scale_named(DESK.name, results.folder)  # with its measured kernels
    short = in_short(results, desk)
    others = _other_scales(results)
    judged = _others(results, others)
    parts = [
        *([f"**In short:** {short}"] if short else []),
        f"## What we found\n{wrapped(f'{MODELS} {setting(results, desk)} {INTERVALS}')}",
        _items([*findings(results, desk), *(item for scale in others for item in elsewhere(results, scale))]),
        f"## Should I use it?\n{wrapped(f'{_teachers([scale for scale, _ in judged])} {NUMBERS}')}",
        "\n".join(use(results, desk)),
        f"## The paper's claims\n{_table(outcomes(results, desk), judged)}",
    ]
    return "\n\n".join(part if part.startswith(("|", "- ", "#")) else wrapped(part) for part in parts)


def advice_block(results: Results) -> str:
    """What stands between the markers of docs/weights.md."""
    return f"{wrapped(f'{MODELS} Intervals are of 95 %.')}\n\n{_items(advice(results, scale_named(DESK.name, results.folder)))}"


def _items(items: Sequence[str]) -> str:
    return "\n".join(wrapped(item, "  ") for item in items)


def _other_scales(results: Results) -> list[Scale]:
    """Those of the second protocol with records: other models."""
    names = [name for name in scales_to_print(results.folder, None) if SCALES[name].protocol == 2 and name != DESK.name]
    return [scale_named(name, results.folder) for name in names]


def _others(results: Results, scales: Sequence[Scale]) -> list[tuple[Scale, list[Outcome]]]:
    """The scales at which a claim was measured, each with a column of its own."""
    judged = [(scale, outcomes(results, scale)) for scale in scales]
    return [(scale, found) for scale, found in judged if any(map(_is_measured, found))]


def _teachers(others: Sequence[Scale]) -> str:
    """What the teachers of distillation saw: the desk's the solution, and those of other scales with measured claims perhaps not."""
    unaided = [scale.models for scale in others if scale.setups["distillation"].options.get("teacher_prompt") == "plain"]
    if not unaided:
        return "Measured only with teachers that see the solution."
    return f"Measured with teachers that see the solution. Only that of {' and '.join(unaided)} (a column of the next table) reads the problem alone."


def _table(found: Sequence[Outcome], others: Sequence[tuple[Scale, Sequence[Outcome]]] = ()) -> str:
    """A row a claim of the paper's with a primary hypothesis, with the verdict on other models behind it. Those that were not run share the last one."""
    verdict = f"verdict {RULES}, {DESK.models}" if others else f"verdict {RULES}"
    heads = ["claim of the paper", verdict, MEASURED, *(scale.models for scale, _ in others)]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    elsewhere = {row[0].text: [value.text for value in row[1:]] for row in verdicts_by_model(others)}
    measured_elsewhere = {outcome.claim.id for _, judged in others for outcome in judged if _is_measured(outcome)}
    waiting = []
    for outcome in found:
        if not outcome.primary or outcome.claim.statement:
            continue
        name = f"{outcome.claim.id}: {outcome.claim.short}"
        if not _is_measured(outcome) and outcome.claim.id not in measured_elsewhere:
            waiting.append(name)
            continue
        measured = "; ".join(measured_text(outcome.claim, finding) + _contrast(finding) for finding in outcome.primary)
        lines.append(f"| {' | '.join([name, _verdict(outcome), measured, *elsewhere[name]])} |")
    if waiting:
        lines.append(f"| {' | '.join(['; '.join(waiting), 'not decided', 'not run yet', *['–'] * len(others)])} |")
    return "\n".join(lines)


def _verdict(outcome: Outcome) -> str:
    """The verdict; that no gain is seen where it says only that the paper's is larger; and of C1 the end that decided."""
    ends = {finding.end for finding in outcome.primary if finding.end and outcome.verdict in ("replicates", "contradicted")}
    values = [finding.value for finding in outcome.primary]
    none = outcome.verdict == "smaller than reported" and all(value is not None and value <= 0 for value in values)
    return outcome.verdict + (", no gain seen" if none else "") + "".join(f" at {end}" for end in sorted(ends))


def neighbour_blocks(results: Results) -> list[tuple[str, tuple[str, str]]]:
    """What stands in docs/neighbours.md, with the markers around each."""
    return [
        (neighbour_findings.neighbour_block(results, DESK), (neighbour_findings.BEGIN, neighbour_findings.END)),
        (compressed_findings.compressed_block(results.folder, DESK), (compressed_findings.BEGIN, compressed_findings.END)),
        (concise_findings.concise_block(results, DESK), (concise_findings.BEGIN, concise_findings.END)),
    ]


def _contrast(finding: Finding) -> str:
    """What a difference of SNR² is of: the judged one of the ends that the claim is about."""
    return f", half of the middle's minus that of {finding.end}" if finding.unit == "SNR²" and finding.value is not None else ""


def _is_measured(outcome: Outcome) -> bool:
    """Whether any of its primary hypotheses has a number."""
    return any(finding.value is not None for finding in outcome.primary)


def wrapped(text: str, indent: str = "") -> str:
    """Lines of at most `WIDTH` characters, broken at spaces, those after the first indented."""
    lines = [""]
    for word in text.split():
        if lines[-1].strip() and len(lines[-1]) + 1 + len(word) > WIDTH:
            lines.append(indent)
            lines[-1] += word
        else:
            lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)


def replaced(page: str, text: str, name: str) -> str:
    """The README with `text` between its markers. Raises `UserError` where it does not have both once, in order."""
    return between(page, text, name, (BEGIN, END))


@configs.command(ReadmeConfig, "paced_exp.reproduce.readme", __doc__)
def main(config: ReadmeConfig) -> None:
    """Replace the blocks and say where."""
    results = readable(config.results)
    blocks = (
        ("page", config.page, block(results), (BEGIN, END)),
        ("weights", config.weights, advice_block(results), (ADVICE_BEGIN, ADVICE_END)),
        *(("neighbours", config.neighbours, text, markers) for text, markers in neighbour_blocks(results)),
    )
    written: dict[Path, str] = {}
    for option, path, text, markers in blocks:
        if not path.is_file():
            raise UserError(f"`{option}` {path} is not a file; name the page that has the markers {' and '.join(markers)}")
        page = written[path] if path in written else path.read_text(encoding="utf-8")
        written[path] = between(page, text, f"`{option}` {path}", markers)
    written[config.badges] = badges(outcomes(results, scale_named(DESK.name, results.folder)))
    for path, text in written.items():
        write_atomically(path, text)
        print(path)


if __name__ == "__main__":
    exit_cleanly(main)
