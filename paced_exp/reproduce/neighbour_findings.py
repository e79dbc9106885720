"""What the neighbouring methods' papers claim, asked of the table `neighbours`, with the words of the second protocol. Declared before its runs,
but for PACED's pass@32, which was asked when its records had been seen.

No claim rests on these hypotheses: they are exploratory, in no family that Holm's method corrects, and without a planned effect, since the first
protocol's records hold four samples a problem and no such methods. docs/neighbours.md prints them between two markers.
"""

from dataclasses import dataclass

from paced_exp.reproduce.claims import MARGIN, Contrast, Hypothesis, Measure
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.verdict_parts import finding_text
from paced_exp.reproduce.verdicts import finding_of

TABLE = "neighbours"
BEGIN, END = "<!-- neighbours:begin -->", "<!-- neighbours:end -->"


@dataclass(frozen=True)
class Question:
    """A method, and what is claimed of it, as a hypothesis. whose: who claims it."""

    method: str
    whose: str
    hypothesis: Hypothesis


def _question(
    method: str,
    name: str,
    words: str,
    better: str,
    worse: str,
    measure: Measure = "primary",
    *,
    margin: float = 0.0,
    whose: str = "its paper",
) -> Question:
    contrast = Contrast(TABLE, ((1.0, better), (-1.0, worse)), measure, margin)
    return Question(method, whose, Hypothesis(f"N.{name}", words, (contrast,), primary=False))


QUESTIONS = (
    _question("PACED", "paced", "retention: PACED − no weighting", "paced", "uniform", "retention"),
    _question("PACED", "paced-pass", "pass@32: PACED − no weighting", "paced", "uniform", "pass@32", whose="ours, asked after its runs"),
    _question("EWC", "ewc", "retention: EWC − no weighting", "ewc", "uniform", "retention"),
    _question("KL to the start", "kl", "retention: KL to the start − no weighting", "kl", "uniform", "retention", whose="common advice"),
    _question("CLASSP", "classp", "retention: CLASSP − no weighting", "classp", "uniform", "retention"),
    _question(
        "Half of the tokens",
        "half",
        f"accuracy: first half − all tokens + {MARGIN:g} point",
        "uniform-half",
        "uniform",
        margin=MARGIN,
        whose="ours: its paper keeps 91 %",
    ),
    _question(
        "Steps without the answer",
        "steps",
        f"accuracy: steps without the answer − all tokens + {MARGIN:g} point",
        "uniform-steps",
        "uniform",
        margin=MARGIN,
        whose="ours: its paper finds that they can be enough",
    ),
    _question("Dr. GRPO", "dr-grpo", f"accuracy: Dr. GRPO − GRPO + {MARGIN:g} point", "dr-grpo", "grpo", margin=MARGIN),
    _question("PACED's weight in GRPO", "grpo-paced", "accuracy: with PACED's weight − GRPO", "grpo-paced", "grpo", whose="ours"),
    _question("MaxRL", "maxrl", "pass@32: MaxRL − GRPO", "maxrl", "grpo", "pass@32"),
    _question("ACE", "ace", "pass@32: ACE − GRPO", "ace", "grpo", "pass@32"),
    _question("PSR", "psr", "pass@32: the untrained student − PSR", "base", "psr", "pass@32"),
    _question(
        "NSR",
        "nsr",
        f"pass@32: NSR − the untrained student + {MARGIN:g} point",
        "nsr",
        "base",
        "pass@32",
        margin=MARGIN,
        whose="ours: its paper finds more",
    ),
    _question("W-REINFORCE", "w-reinforce", "pass@32: W-REINFORCE − GRPO", "w-reinforce", "grpo", "pass@32"),
    _question("Guide", "guide", "accuracy on problems never solved before: Guide − GRPO", "guide", "grpo", "unsolved"),
)


def neighbour_block(results: Results, scale: Scale) -> str:
    """A row a question: the difference with its 95 % interval, and the word by that interval alone."""
    lines = [
        "| method | whose claim | difference, claimed to be above zero | measured, 95 % interval | by the interval alone |",
        "|---|---|---|---|---|",
    ]
    for question in QUESTIONS:
        finding = finding_of(question.hypothesis, results, scale)
        measured = "not run" if finding.value is None and finding.missing.startswith("not run") else finding_text(finding)
        lines.append(f"| {question.method} | {question.whose} | {finding.words} | {measured} | {finding.verdict} |")
    return "\n".join(lines)
