"""The ledger: every claim of the theory with its evidence, one file per section."""

from importlib import import_module

from paced_theory.claims.ledger import Attack, Claim, Comparison, Derivation, Evidence, Outcome, Section, run

SECTIONS = ("collapse", "snr", "representation", "robustness", "convergence", "estimation", "stages", "kernels")

__all__ = ["SECTIONS", "Attack", "Claim", "Comparison", "Derivation", "Evidence", "Outcome", "Section", "ledger", "run", "sections"]


def sections() -> list[Section]:
    """All sections in the order of the theory; importing one registers its claims."""
    return [import_module(f"{__name__}.{name}").section for name in SECTIONS]


def ledger() -> list[Claim]:
    """All claims in order."""
    return [claim for section in sections() for claim in section.claims]
