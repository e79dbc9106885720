"""The unit of all data: a problem with its answer, its expert solution, and the way its responses are graded."""

from dataclasses import dataclass, field
from typing import Any, Literal

GraderName = Literal["math", "lab", "exact", "mentions"]


@dataclass(frozen=True)
class Problem:
    """One problem.

    id: unique within its source. prompt: the question as text. answer: the gold answer as text. solution: the expert (worked)
    solution, ending in `\\boxed{answer}`, or None. source: where it came from (`lab:FAMILY`, a path, `hub:NAME`). split: its split.
    grader: `math` (math-verify), `lab` (the reasoning-gym verifier of the family), `exact` (string equality of the final answer), `mentions`
    (the response names the answer).
    metadata: JSON-able extras; for the lab the reasoning-gym entry's metadata (its verifiers need it), the family and the level.
    """

    id: str
    prompt: str
    answer: str
    solution: str | None
    source: str
    split: str
    grader: GraderName
    metadata: dict[str, Any] = field(default_factory=dict)
