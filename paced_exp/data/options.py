"""Options that choose problems."""

from dataclasses import dataclass

from paced_exp.core.options import Options


@dataclass(frozen=True, kw_only=True)
class ProblemOptions(Options):
    """The problems.

    Attributes:
        problems: lab:SPLIT, a .jsonl or .parquet file, hub:NAME, or several joined by commas
        columns: JSON object from a problem's field (id, prompt, answer, solution) to the column of your file that holds it, such as {"prompt": "question"}
        skip_long: skip problems whose prompt and longest response exceed the model's context, instead of refusing to run
    """

    problems: str = "lab:train"
    columns: dict[str, str] | None = None
    skip_long: bool = False


@dataclass(frozen=True, kw_only=True)
class LimitedProblemOptions(ProblemOptions):
    """The problems and a limit on their number.

    Attributes:
        limit: at most so many problems of each source, drawn at random by the seed from a file or the hub; all when left out (of the lab: the first of its stream, by default the split's size)
    """

    limit: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "limit")
