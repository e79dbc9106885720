"""The paper's claims as hypotheses about rows' measures, each oriented so that the claim says "greater than zero". Written before any run.

What a hypothesis is made of, and the claims of the first protocol; those of the second are in `second_claims`.
"""

from dataclasses import dataclass
from typing import Literal

from paced_exp.reproduce.cells import planned_seeds
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.scales import Scale

Measure = Literal["primary", "retention", "hardest", "pass@32", "unsolved"]

MARGIN = 1.0  # points: what "suffices" and "is not sensitive" allow


@dataclass(frozen=True)
class Contrast:
    """sum of coefficient x row of `table`, plus `margin`; claimed to be greater than zero.

    terms: (coefficient, row's name); TABLE/ROW for the row of another table.
    """

    table: str
    terms: tuple[tuple[float, str], ...]
    measure: Measure = "primary"
    margin: float = 0.0

    @property
    def placed(self) -> tuple[tuple[float, str, str], ...]:
        """The terms as (coefficient, table, row)."""
        split = ((factor, name.rpartition("/")) for factor, name in self.terms)
        return tuple((factor, table or self.table, row) for factor, (table, _, row) in split)

    @property
    def tables(self) -> tuple[str, ...]:
        """Its own table, and then the others of its terms."""
        return tuple(dict.fromkeys((self.table, *(table for _, table, _ in self.placed))))

    def sources(self, scale: Scale) -> tuple[str, ...]:
        """The evaluation sources over which its measure is the mean."""
        narrower = {"retention": (scale.retention,), "hardest": scale.tiers[-1:]}
        return narrower.get(self.measure, scale.tiers)

    @property
    def of_problem(self) -> Literal["accuracy", "pass@32", "unsolved"]:
        """What is measured of a problem (`measures`)."""
        return self.measure if self.measure in ("pass@32", "unsolved") else "accuracy"

    def planned_seeds(self, scale: Scale) -> int:
        """The seeds that all its tables plan."""
        return min(planned_seeds(scale, BY_NAME[table]) for table in self.tables)


@dataclass(frozen=True)
class Hypothesis:
    """Says that all its contrasts are greater than zero. name: unique in its protocol. words: in plain language, with what is subtracted from what.

    contrasts: none where a probe decides. primary: whether its claim rests on it, and Holm's method corrects for it; else it is exploratory.
    later: whether it was declared after its runs had been seen; it is then exploratory, and in no plan.
    """

    name: str
    words: str
    contrasts: tuple[Contrast, ...]
    primary: bool = True
    later: bool = False


@dataclass(frozen=True)
class Claim:
    """A claim: its id in paper/reported.json, a short name, its hypotheses (none: decided by the probe), and its protocol.

    statement: of a claim of ours, which the paper does not make.
    """

    id: str
    short: str
    hypotheses: tuple[Hypothesis, ...]
    protocol: int = 1
    statement: str = ""


def difference(
    name: str, words: str, table: str, better: str, worse: str, measure: Measure = "primary", *, primary: bool = True
) -> Hypothesis:
    """One row is better than another of the same table."""
    return Hypothesis(name, words, (Contrast(table, ((1.0, better), (-1.0, worse)), measure),), primary)


def within_margin(table: str, default: str, others: tuple[str, ...]) -> tuple[Contrast, ...]:
    """No other row is better than the default by `MARGIN` or more."""
    return tuple(Contrast(table, ((1.0, default), (-1.0, other)), margin=MARGIN) for other in others)


_D, _S, _ORDER = "distillation", "self-distillation", "stage-order"
_SENSITIVE = tuple(
    f"a{a:g}-b{b:g}" for a, b in ((0.5, 0.5), (0.5, 1.0), (1.0, 0.5), (1.0, 2.0), (2.0, 1.0), (2.0, 2.0), (0.5, 1.5), (1.5, 0.5))
)
_OTHER_EXPONENTS = tuple(row.name for row in BY_NAME["exponents"].rows if row.name != "a1-b1")

CLAIMS = (
    Claim("C1", "the SNR is a bell", ()),
    Claim(
        "C2",
        "PACED beats no weighting",
        (
            difference("C2.distillation", "distillation: PACED − unweighted", _D, "paced", "uniform"),
            difference("C2.self", "self-distillation: PACED − unweighted", _S, "paced", "uniform"),
        ),
    ),
    Claim(
        "C3",
        "PACED beats AKL and the hard filter",
        (
            difference("C3.akl", "distillation: PACED − AKL", _D, "paced", "akl"),
            difference("C3.filter", "distillation: PACED − hard filter", _D, "paced", "hard-filter"),
            difference("C3.akl-self", "self-distillation: PACED − AKL", _S, "paced", "akl"),
            difference("C3.filter-self", "self-distillation: PACED − hard filter", _S, "paced", "hard-filter"),
        ),
    ),
    Claim(
        "C4",
        "PACED forgets less",
        (
            difference("C4.distillation", "distillation, retention: PACED − unweighted", _D, "paced", "uniform", "retention"),
            difference("C4.self", "self-distillation, retention: PACED − unweighted", _S, "paced", "uniform", "retention"),
        ),
    ),
    Claim(
        "C5",
        "forward, then reverse is best",
        (
            Hypothesis(
                "C5.schedules",
                "forward–reverse − forward–forward, and − reverse–reverse (the smaller)",
                (
                    Contrast(_ORDER, ((1.0, "forward-reverse"), (-1.0, "forward-forward"))),
                    Contrast(_ORDER, ((1.0, "forward-reverse"), (-1.0, "reverse-reverse"))),
                ),
            ),
            difference(
                "C5.hardest", "hardest tier: forward–reverse − unweighted forward KL", "two-stage", "forward-reverse", "uniform", "hardest"
            ),
        ),
    ),
    Claim(
        "C6",
        "reverse, then forward is worse",
        (difference("C6.order", "forward–reverse − reverse–forward", _ORDER, "forward-reverse", "reverse-forward"),),
    ),
    Claim(
        "C7",
        "half and half is best",
        (
            Hypothesis(
                "C7.ratio",
                "50 % − 25 %, and 50 % − 75 % (the smaller)",
                (
                    Contrast("stage-ratio", ((1.0, "50"), (-1.0, "25"))),
                    Contrast("stage-ratio", ((1.0, "50"), (-1.0, "75"))),
                ),
            ),
        ),
    ),
    Claim(
        "C8",
        "eight rollouts suffice",
        (
            Hypothesis("C8.suffices", "K = 8 − K = 16 + 1 point", within_margin("rollouts", "k8-plugin", ("k16-plugin",))),
            Hypothesis(
                "C8.diminishing",
                "(K = 4 − K = 2) − (K = 16 − K = 8)",
                (Contrast("rollouts", ((1.0, "k4-plugin"), (-1.0, "k2-plugin"), (-1.0, "k16-plugin"), (1.0, "k8-plugin"))),),
            ),
        ),
    ),
    Claim(
        "C9",
        "α = β = 1 is a good default",
        (
            Hypothesis(
                "C9.default", "α = β = 1 − any other pair + 1 point (the smallest)", within_margin("exponents", "a1-b1", _OTHER_EXPONENTS)
            ),
            Hypothesis(
                "C9.insensitive",
                "a pair next to α = β = 1, or of the peak moved, − α = β = 1, + 1 point (the smallest)",
                tuple(Contrast("exponents", ((1.0, other), (-1.0, "a1-b1")), margin=MARGIN) for other in _SENSITIVE),
            ),
        ),
    ),
    Claim("C10", "recomputing pass rates helps", (difference("C10.half", "recomputed at half − never", "recomputation", "half", "never"),)),
    Claim("C11", "it holds for another family", (difference("C11.llama", "Llama: PACED − unweighted", "llama", "paced", "uniform"),)),
)
