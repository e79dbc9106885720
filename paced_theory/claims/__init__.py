"""The ledger: every claim of the theory with its evidence, one file per section."""

from collections import Counter
from collections.abc import Iterable
from importlib import import_module

from paced_theory.claims.ledger import (
    ORIGINS,
    Attack,
    Claim,
    Comparison,
    Derivation,
    Evidence,
    Origin,
    Outcome,
    Section,
    Status,
    run,
)

SECTIONS = ("collapse", "snr", "representation", "robustness", "convergence", "estimation", "stages", "kernels")

__all__ = [
    "ORIGINS",
    "SECTIONS",
    "Attack",
    "Claim",
    "Comparison",
    "Derivation",
    "Evidence",
    "Origin",
    "Outcome",
    "Section",
    "Status",
    "counts_by_source",
    "ledger",
    "run",
    "sections",
]


def sections() -> list[Section]:
    """All sections in the order of the theory; importing one registers its claims."""
    return [import_module(f"{__name__}.{name}").section for name in SECTIONS]


def ledger() -> list[Claim]:
    """All claims in order."""
    return [claim for section in sections() for claim in section.claims]


def counts_by_source(outcomes: Iterable[Outcome] | None = None) -> dict[Origin, Counter[Status]]:
    """How many claims have each verdict, by whose statement they are: the paper's, standard, ours (in this order, all three present).

    Of `outcomes`, or else of the recorded verdicts of the whole ledger, without running a check (a test holds the two equal).

    >>> sum(counts_by_source()["paper"].values())
    24
    """
    found = [(c.origin, c.recorded) for c in ledger()] if outcomes is None else [(o.claim.origin, o.status) for o in outcomes]
    return {origin: Counter(status for of, status in found if of == origin) for origin in ORIGINS}
