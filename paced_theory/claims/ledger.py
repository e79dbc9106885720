"""What a claim is, what counts as evidence, and how its status follows from it.

A claim is recorded with the verdict reached when it was written; running it computes the verdict again from the evidence:

- refuted: the symbolic derivation or a numeric comparison made under the claim's own assumptions fails;
- conditional: those hold, but an attack that its source does not exclude breaks the claim; the attack names the condition that is needed;
- holds: nothing broke it;
- error: the check could not be carried out.

An attack may instead drop an assumption that the claim states. It then tests whether that is needed, cannot change the verdict, and says
what happens without it.
"""

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Status = Literal["holds", "conditional", "refuted", "error"]
Relation = Literal["=", "<=", ">="]
Origin = Literal["paper", "standard", "ours"]

#: Whose statement a claim is, by the word that its source begins with.
_ORIGIN_OF: dict[str, Origin] = {"PACED": "paper", "standard": "standard", "ours": "ours"}
ORIGINS: tuple[Origin, ...] = tuple(_ORIGIN_OF.values())


@dataclass(frozen=True)
class Comparison:
    """A number found against the number expected: |value - expected| <= tolerance, or one-sided with that slack."""

    value: float
    expected: float
    tolerance: float
    relation: Relation = "="
    what: str = ""

    @property
    def holds(self) -> bool:
        """False also where a number is NaN: an undefined value is no evidence."""
        excess = self.value - self.expected
        if self.relation == "<=":
            return excess <= self.tolerance
        if self.relation == ">=":
            return excess >= -self.tolerance
        return abs(excess) <= self.tolerance


@dataclass(frozen=True)
class Derivation:
    """A symbolic derivation by sympy: the identity shown, in words, and whether it came out."""

    identity: str
    holds: bool


@dataclass(frozen=True)
class Attack:
    """An attempt to break the claim: what was varied, whether the claim survived, and the condition needed if it did not.

    `drops` names the stated assumption that the attack removes, and `condition` then says what happens without it; None means that the
    claim's source does not exclude the case.
    """

    what: str
    survived: bool
    condition: str
    drops: str | None = None


@dataclass(frozen=True)
class Evidence:
    """All that was found for a claim: the headline comparison, further ones, the derivation, and the attacks."""

    main: Comparison
    also: tuple[Comparison, ...] = ()
    derivation: Derivation | None = None
    attacks: tuple[Attack, ...] = ()

    @property
    def status(self) -> Status:
        """The verdict that follows from the evidence."""
        supported = all(comparison.holds for comparison in (self.main, *self.also))
        if not supported or (self.derivation is not None and not self.derivation.holds):
            return "refuted"
        return "conditional" if self.conditions else "holds"

    @property
    def conditions(self) -> tuple[str, ...]:
        """What the claim needs beyond its own assumptions: one entry for each attack that broke it."""
        return tuple(attack.condition for attack in self.attacks if attack.drops is None and not attack.survived)

    @property
    def needed(self) -> tuple[str, ...]:
        """The claim's own assumptions that it was found not to survive without."""
        return tuple(attack.drops for attack in self.attacks if attack.drops is not None and not attack.survived)


@dataclass(frozen=True)
class Claim:
    """One statement of the theory with the check that decides on it.

    `id` is section.name; `formula` is ASCII mathematics; `source` says whose statement it is and begins with "PACED" and the paper's number,
    with "standard" or with "ours"; `route` says by which independent way the number is checked; `file` proves or implements it; `recorded`
    is the verdict on record, against which a run is compared. ValueError for a source that begins otherwise.
    """

    id: str
    statement: str
    formula: str
    source: str
    assumptions: str
    route: str
    file: str
    recorded: Status
    check: Callable[[], Evidence]

    def __post_init__(self) -> None:
        if not self.source.startswith(tuple(_ORIGIN_OF)):
            raise ValueError(f"source of {self.id} must begin with {', '.join(_ORIGIN_OF)}, got {self.source!r}")

    @property
    def origin(self) -> Origin:
        """Whose statement it is: the paper's, standard, or ours."""
        return next(origin for word, origin in _ORIGIN_OF.items() if self.source.startswith(word))

    @property
    def paper_item(self) -> str:
        """The statement of the paper that a claim of its checks, such as "Prop. 1"; "" for the other claims."""
        return re.split(r" \(|;", re.sub(r"^PACED(,|'s)? ", "", self.source))[0] if self.origin == "paper" else ""


@dataclass(frozen=True)
class Outcome:
    """A claim after its check has run; `error` is the one-line reason if the check itself failed, and there is no evidence then."""

    claim: Claim
    evidence: Evidence | None
    seconds: float
    error: str = ""

    @property
    def status(self) -> Status:
        """The verdict of the evidence; "error" without any."""
        return self.evidence.status if self.evidence is not None else "error"

    @property
    def as_recorded(self) -> bool:
        """Whether the computed verdict is the recorded one."""
        return self.status == self.claim.recorded


class Section:
    """A group of claims about one module; `claim` registers a check function, in the order of definition."""

    def __init__(self, name: str, title: str, file: str) -> None:
        self.name, self.title, self.file = name, title, file
        self.claims: list[Claim] = []

    def claim(
        self, name: str, *, statement: str, formula: str, source: str, assumptions: str, route: str, recorded: Status = "holds"
    ) -> Callable[[Callable[[], Evidence]], Callable[[], Evidence]]:
        """Decorator: the function under it gathers the evidence for the claim `section.name`."""

        def register(check: Callable[[], Evidence]) -> Callable[[], Evidence]:
            entry = Claim(f"{self.name}.{name}", statement, formula, source, assumptions, route, self.file, recorded, check)
            self.claims.append(entry)
            return check

        return register


def run(claim: Claim) -> Outcome:
    """Gather the evidence for one claim and time it; an exception in the check becomes the outcome "error"."""
    start = time.perf_counter()
    try:
        evidence = claim.check()
    except Exception as error:  # one broken check must not hide the other verdicts
        return Outcome(claim, None, time.perf_counter() - start, f"{type(error).__name__}: {' '.join(str(error).split())}")
    return Outcome(claim, evidence, time.perf_counter() - start)


def decimals(tolerance: float) -> int:
    """How many decimals of a value are meaningful when it is known to within `tolerance` > 0, between 1 and 12."""
    return min(12, max(1, math.ceil(-math.log10(tolerance))))


def number(value: float, tolerance: float) -> str:
    """A value written with the decimals that its tolerance vouches for (4 digits where that is 0), trailing zeros dropped; never "-0"."""
    if tolerance == 0:
        return f"{value:.4g}"
    text = f"{value:.{decimals(tolerance)}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
