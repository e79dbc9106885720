"""The claims of each protocol."""

from paced_exp.reproduce.claims import CLAIMS, Claim, Hypothesis
from paced_exp.reproduce.second_claims import SECOND_CLAIMS


def claims_of(protocol: int) -> list[Claim]:
    """The claims that scales of a protocol are asked, in the order of their ids."""
    return [claim for claim in (*CLAIMS, *SECOND_CLAIMS) if claim.protocol == protocol]


def hypotheses_of(protocol: int) -> list[Hypothesis]:
    """Their hypotheses. Of C1 in the first protocol, which the probe decides, there are none here."""
    return [hypothesis for claim in claims_of(protocol) for hypothesis in claim.hypotheses]
