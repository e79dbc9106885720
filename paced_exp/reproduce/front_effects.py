"""What the first screen asks of the records: one row less another, and the difference in words."""

from dataclasses import dataclass

from paced_exp.reproduce.cells import planned_seeds
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.measures import Measured, combined, common_seeds, row_named
from paced_exp.reproduce.printed_table import fixed
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.significance import Estimate, side


@dataclass(frozen=True)
class Asked:
    """A row less another, each as TABLE/ROW."""

    row: str
    against: str

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Table and row of each."""
        split = (place.partition("/") for place in (self.row, self.against))
        return tuple((table, row) for table, _, row in split)


PACED = Asked("one-pass/paced", "one-pass/uniform")
AKL = Asked("one-pass/akl", "one-pass/paced")
AKL_SHORT = Asked("one-pass-short/akl-short", "one-pass-short/paced-short")
BOTH = Asked("kernels-one-pass/paced-akl", "one-pass/akl")  # the weights on the loss AKL
FILTER = Asked("one-pass-short/hard-filter-short", "one-pass-short/paced-short")
SELF = Asked("self-one-pass/paced", "self-one-pass/uniform")
SELF_AKL = Asked("self-one-pass/akl-references", "self-one-pass/uniform")  # on responses sampled before training
SELF_AKL_TO_PACED = Asked("self-one-pass/akl-references", "self-one-pass/paced")


def measured_rows(results: Results, scale: Scale, asked: Asked) -> tuple[Measured, Measured] | None:
    """Both rows; None before all seeds that both tables plan have run."""
    row, against = (row_named(results, scale, *place) for place in asked.places)
    planned = min(planned_seeds(scale, BY_NAME[table]) for table, _ in asked.places)
    return (row, against) if len(common_seeds((row, against))) >= planned else None


def effect(results: Results, scale: Scale, asked: Asked) -> Estimate | None:
    """The row less the other on the mean of tiers, in points; None before all planned seeds of both have run."""
    rows = measured_rows(results, scale, asked)
    return None if rows is None else combined([(1.0, rows[0]), (-1.0, rows[1])], scale.tiers)


def sign(found: Estimate) -> int:
    """1 above zero, -1 below it, 0 where the interval holds zero."""
    return side(found.low, found.high)


def points(found: Estimate) -> str:
    """The size and its interval where the sentence has the direction; the interval with its signs where it has none."""
    if (direction := sign(found)) == 0:
        return f"between {fixed(found.low, 1)} and {fixed(found.high, 1)} points"
    low, high = sorted((direction * found.low, direction * found.high))
    return f"**{fixed(abs(found.value), 1)} points** [{fixed(low, 1)}, {fixed(high, 1)}]"
