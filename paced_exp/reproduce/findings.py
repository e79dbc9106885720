"""What was found of a hypothesis and of a claim, and what it is called. The words and their rule: docs/protocol.md, docs/protocol-v2.md.

Every verdict is given twice: by the interval alone, and corrected by Holm's method for all primary hypotheses asked the same question. Exploratory
ones are not corrected for, and leave the claim's verdict as it is.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from paced_exp.reproduce.claims import MARGIN, Claim
from paced_exp.reproduce.significance import Estimate

Verdict = Literal["replicates", "contradicted", "smaller than reported", "equivalent within 1 point", "not decided"]
Together = Verdict | Literal["mixed"]
FirstVerdict = Literal["replicates", "does not replicate", "not decided"]

VERDICTS: tuple[Together, ...] = (
    "replicates",
    "contradicted",
    "smaller than reported",
    "equivalent within 1 point",
    "mixed",
    "not decided",
)
LEVEL = 0.05
assert MARGIN == 1, "the word says one point"


@dataclass(frozen=True)
class Size:
    """An effect as a share of what uniform gains over the base, ours and the paper's, on the contrast where ours falls shortest.

    value, low, high: ours, with Fieller's 95 % interval (None: no end there). gain: ours of uniform over the base, in points. reported,
    reported_error: the paper's share, with the standard error that its ± give; points: the paper's effect in points. p: two-sided, of "ours
    is not smaller".
    """

    value: float
    low: float | None
    high: float | None
    gain: float
    reported: float
    reported_error: float
    points: float
    p: float
    holm: float | None = None


@dataclass(frozen=True)
class Finding:
    """A hypothesis with what was measured.

    value, low, high: of the contrast that decides, margin included, with its 95 % interval; None where it was not run. unit: theirs. p:
    two-sided; holm: the same adjusted over the scale. towards: whether the evidence is in the claimed direction. n: seeds and problems,
    or the probe's. missing: why nothing can be decided, if so. seen, seen_holm: the effect that would have been seen with a chance of
    80 %, alone and at Holm's first step. size: against the paper's effect, where it gives one. p_equivalent, holm_equivalent: of "the
    difference is not within a point", where that is asked. end: the bin of C1. estimate: with standard error and degrees of freedom. records,
    command: what it was computed from, and what makes that. primary: whether the claim rests on it. planned, planned_holm: the effects that the
    plan said would be seen, before the runs. margin: what value, low and high include. against: of several contrasts, what the one that
    decides is compared with.
    """

    hypothesis: str
    words: str
    unit: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    towards: bool = True
    n: str = ""
    missing: str = ""
    holm: float | None = None
    seen: float | None = None
    seen_holm: float | None = None
    size: Size | None = None
    p_equivalent: float | None = None
    holm_equivalent: float | None = None
    end: str = ""
    estimate: Estimate | None = None
    records: tuple[Path, ...] = ()
    command: str = ""
    primary: bool = True
    planned: float | None = None
    planned_holm: float | None = None
    margin: float = 0.0
    against: str = ""

    @property
    def verdict(self) -> Verdict:
        """Corrected by Holm's method; `holm` must be set where there is an estimate. Of an exploratory one, by the interval alone."""
        if not self.primary:
            return self.raw_verdict
        return self._judged(self.holm, self.size.holm if self.size else None, self.holm_equivalent)

    @property
    def raw_verdict(self) -> Verdict:
        """By the interval alone."""
        # The probe's interval is not symmetric, and its p-value approximate: there the interval decides.
        p = 0.0 if self.unit == "SNR²" and self.p is not None else self.p
        return self._judged(p, self.size.p if self.size else None, self.p_equivalent)

    @property
    def first_verdict(self) -> FirstVerdict:
        """By the rule that was written before the runs, which knew three words."""
        if self._direction(self.holm) == 0:
            return "not decided"
        return "replicates" if self.towards else "does not replicate"

    def says(self, verdict: Verdict) -> str:
        """The verdict in words: of C1 what it says of the bin, else itself."""
        if not self.end or verdict not in ("replicates", "contradicted"):
            return verdict
        return f"{verdict}: {self.end} {'has less than' if verdict == 'replicates' else 'keeps at least'} half"

    def _judged(self, p: float | None, p_smaller: float | None, p_equivalent: float | None) -> Verdict:
        direction = self._direction(p)
        if self.missing or direction < 0:
            return "not decided" if self.missing else "contradicted"
        if p_smaller is not None and p_smaller <= LEVEL:
            return "smaller than reported"
        if direction > 0:
            return "replicates"
        return "equivalent within 1 point" if p_equivalent is not None and p_equivalent <= LEVEL else "not decided"

    def _direction(self, p: float | None) -> int:
        """1 where the interval lies above zero, -1 where below, and the p-value agrees; else 0."""
        if self.missing or p is None or self.low is None or self.high is None or p > LEVEL:
            return 0
        if self.towards and self.low > 0:
            return 1
        return -1 if not self.towards and self.high < 0 else 0


def exploratory(hypothesis: str, words: str, estimate: Estimate, *, seeds: int, planned: int) -> Finding:
    """What an estimate in points says of a hypothesis that no claim rests on: by its interval alone. Nothing before all `planned` seeds are there."""
    p = min(1.0, 2 * min(estimate.p_greater, estimate.p_less))
    towards = estimate.p_greater <= estimate.p_less
    missing = f"{seeds} of {planned} planned seeds" if seeds < planned else ""
    return Finding(
        hypothesis,
        words,
        "points",
        estimate.value,
        estimate.low,
        estimate.high,
        p,
        towards,
        missing=missing,
        p_equivalent=p_equivalent(estimate),
        estimate=estimate,
        primary=False,
    )


def p_equivalent(estimate: Estimate) -> float:
    """Two-sided p-value of "not within a point of zero": at most 0.05 where the 95 % interval lies within (two one-sided tests)."""
    return 2 * max(estimate.shifted(-MARGIN).p_less, estimate.shifted(MARGIN).p_greater)


@dataclass(frozen=True)
class Outcome:
    """A claim with its findings and verdicts."""

    claim: Claim
    findings: tuple[Finding, ...]

    @property
    def primary(self) -> tuple[Finding, ...]:
        """The findings that the claim rests on."""
        return tuple(finding for finding in self.findings if finding.primary)

    @property
    def exploratory(self) -> tuple[Finding, ...]:
        """The others."""
        return tuple(finding for finding in self.findings if not finding.primary)

    @property
    def verdict(self) -> Together:
        """Of all primary findings together, corrected; "not decided" where there are none."""
        return together([finding.verdict for finding in self.primary])

    @property
    def raw_verdict(self) -> Together:
        """The same by intervals alone."""
        return together([finding.raw_verdict for finding in self.primary])

    @property
    def first_verdict(self) -> FirstVerdict:
        """By the rule that was written before the runs: replicates where all findings do, does not where one does not."""
        verdicts = [finding.first_verdict for finding in self.primary]
        if "does not replicate" in verdicts:
            return "does not replicate"
        return "replicates" if verdicts and all(verdict == "replicates" for verdict in verdicts) else "not decided"

    @property
    def words(self) -> str:
        """The corrected verdict; of a claim whose hypotheses differ, what each of them is."""
        return self._words(self.verdict, [finding.verdict for finding in self.primary])

    @property
    def raw_words(self) -> str:
        """The same by intervals alone."""
        return self._words(self.raw_verdict, [finding.raw_verdict for finding in self.primary])

    @property
    def both(self) -> str:
        """Both verdicts in one phrase."""
        words, raw = self.words, self.raw_words
        return f"{words}, corrected as by the interval alone" if words == raw else f"{words} (corrected); by the interval alone: {raw}"

    def _words(self, verdict: Together, verdicts: list[Verdict]) -> str:
        if len(set(verdicts)) < 2:
            return verdict
        named = {
            kind: ", ".join(f.hypothesis for f, found in zip(self.primary, verdicts, strict=True) if found == kind) for kind in verdicts
        }
        return f"{verdict} ({'; '.join(f'{kind}: {names}' for kind, names in named.items())})"


def together(verdicts: list[Verdict]) -> Together:
    """The verdict on a claim that says all its hypotheses at once.

    Mixed where two are decided differently. Else: contradicted or smaller than reported where one is; what all are, where they agree; and
    not decided where some are open and nothing speaks against the claim.
    """
    decided = set(verdicts) - {"not decided"}
    if len(decided) > 1:
        return "mixed"
    if decided <= {"contradicted", "smaller than reported"} or "not decided" not in verdicts:
        return next(iter(decided), "not decided")
    return "not decided"
