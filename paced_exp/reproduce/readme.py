"""The verdicts in the README, written between two markers from the records, so that the page cannot say what they do not.

    python -m paced_exp.reproduce.readme [--results results] [--page README.md]

Everything between `<!-- claims:begin -->` and `<!-- claims:end -->` is replaced; the rest of the page is left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.json_files import write_atomically
from paced_exp.reproduce.c1 import other_architecture
from paced_exp.reproduce.findings import Finding, Outcome
from paced_exp.reproduce.marked import between
from paced_exp.reproduce.options import RecordsOptions
from paced_exp.reproduce.records import Results, readable
from paced_exp.reproduce.regime import sentence
from paced_exp.reproduce.scales import DESK_V1, Scale
from paced_exp.reproduce.verdict_parts import finding_text, untested
from paced_exp.reproduce.verdicts import outcomes

BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"
WIDTH = 160
COMPARED = {
    "unweighted": {"C2.distillation": "with forward KL from the teacher", "C2.self": "in self-distillation by reverse KL"},
    "AKL": {"C3.akl": "in distillation", "C3.akl-self": "in self-distillation"},
}


@dataclass(frozen=True, kw_only=True)
class ReadmeConfig(RecordsOptions):
    """Page.

    Attributes:
        page: the page with the markers
    """

    page: Path = Path("README.md")


def block(results: Results, scale: Scale) -> str:
    """What stands between the markers, from the records alone."""
    found = outcomes(results, scale)
    by_name = {finding.hypothesis: finding for outcome in found for finding in outcome.findings}
    paragraphs = [
        _bins(by_name, other_architecture(results.folder, scale)),
        "**And does the weight help?** " + _gains(by_name) + " " + sentence(results, scale),
        "Every claim, corrected for all hypotheses and by intervals alone (what each is made of: [docs/claims.md](docs/claims.md)):",
        _table(found),
        *untested(found),
    ]
    return "\n\n".join(part if part.startswith("|") else wrapped(part) for part in paragraphs if part)


def _bins(found: dict[str, Finding], other: dict[str, Finding]) -> str:
    """What the probe says of both end bins before each update."""
    said = []
    for step in dict.fromkeys(name.split(".")[1] for name in found if name.startswith("C1.")):
        ends = [
            f"{finding.end} {_both(_bin_words(finding.verdict), _bin_words(finding.raw_verdict))}"
            for finding in (found[f"C1.{step}.{end}"] for end in ("low", "high"))
            if finding.end
        ]
        if ends:
            said.append(f"Before update {step.removeprefix('step')}: {'; '.join(ends)}.")
    if other:
        ends = [f"{finding.end} {_bin_words(finding.raw_verdict)}" for finding in other.values()]
        said.append(f"The Llama architecture, before training and by intervals alone: {'; '.join(ends)}.")
    return "The bins at both ends against half of the middle's SNR². " + " ".join(said) if said else ""


def _bin_words(verdict: str) -> str:
    return {"replicates": "has less than half", "contradicted": "keeps at least half"}.get(verdict, verdict)


def _both(corrected: str, alone: str) -> str:
    return (
        f"{corrected}, corrected and by its interval alone"
        if corrected == alone
        else f"{corrected} (corrected), {alone} (its interval alone)"
    )


def _gains(found: dict[str, Finding]) -> str:
    said = []
    for against, names in COMPARED.items():
        measured = [(found[name], words) for name, words in names.items() if found[name].value is not None]
        if measured:
            ends = ", ".join(
                f"{finding_text(finding)} {words} ({_both(finding.verdict, finding.raw_verdict)})" for finding, words in measured
            )
            said.append(f"PACED less {against} in mean accuracy over three tiers: {ends}.")
    return " ".join(said) or "Not run yet."


def _table(found: Sequence[Outcome]) -> str:
    lines = ["| claim | corrected | by intervals alone |", "|---|---|---|"]
    lines += [f"| {o.claim.id}: {o.claim.short} | {o.verdict} | {o.raw_verdict} |" for o in found]
    return "\n".join(lines)


def wrapped(text: str) -> str:
    """Lines of at most `WIDTH` characters, broken at spaces outside links."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > WIDTH:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)


def replaced(page: str, text: str, name: str) -> str:
    """The page with `text` between its markers. Raises `UserError` where it does not have both once, in order."""
    return between(page, text, name, (BEGIN, END))


@configs.command(ReadmeConfig, "paced_exp.reproduce.readme", __doc__)
def main(config: ReadmeConfig) -> None:
    """Replace the block and say where."""
    text = block(readable(config.results), DESK_V1)
    if not config.page.is_file():
        raise UserError(f"`page` {config.page} is not a file; name the page that has the markers {BEGIN} and {END}")
    write_atomically(config.page, replaced(config.page.read_text(encoding="utf-8"), text, f"`page` {config.page}"))
    print(config.page)


if __name__ == "__main__":
    exit_cleanly(main)
