"""The claims of each protocol, and those that a scale asks."""

from dataclasses import replace

from paced_exp.reproduce.c1 import RANGE_PROBES
from paced_exp.reproduce.claims import CLAIMS, Claim, Hypothesis
from paced_exp.reproduce.declared import tables_at
from paced_exp.reproduce.scale import Scale
from paced_exp.reproduce.second_claims import SECOND_CLAIMS


def claims_of(protocol: int) -> list[Claim]:
    """The claims that scales of a protocol are asked, in the order of their ids."""
    return [claim for claim in (*CLAIMS, *SECOND_CLAIMS) if claim.protocol == protocol]


def hypotheses_of(protocol: int) -> list[Hypothesis]:
    """Their hypotheses. Of C1 in the first protocol, which the probe decides, there are none here."""
    return [hypothesis for claim in claims_of(protocol) for hypothesis in claim.hypotheses]


def claims_at(scale: Scale) -> list[Claim]:
    """The claims that a scale asks, with the hypotheses whose rows, or whose probe, it runs: fixed by what it declares, whatever records there are.

    A scale that runs part of the tables asks fewer, and corrects for those alone.
    """
    if scale.rows is None:
        return claims_of(scale.protocol)
    rows = {(table.name, row.name) for table in tables_at(scale) for row in table.rows}
    probes = {variant.key for variant in scale.probes}

    def is_asked(hypothesis: Hypothesis) -> bool:
        if not hypothesis.contrasts:
            return RANGE_PROBES[hypothesis.name][0] in probes
        return all((table, row) in rows for contrast in hypothesis.contrasts for _, table, row in contrast.placed)

    asked = [replace(claim, hypotheses=tuple(filter(is_asked, claim.hypotheses))) for claim in claims_of(scale.protocol)]
    return [claim for claim in asked if claim.hypotheses]


def not_asked(scale: Scale) -> list[str]:
    """The ids of the protocol's claims whose primary hypotheses a scale does not ask."""
    asked = {claim.id for claim in claims_at(scale) if any(one.primary for one in claim.hypotheses)}
    return [claim.id for claim in claims_of(scale.protocol) if claim.id not in asked and any(one.primary for one in claim.hypotheses)]
