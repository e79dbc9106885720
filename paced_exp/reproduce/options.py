"""Options that the commands on records share."""

from dataclasses import dataclass
from pathlib import Path

from paced_exp.core.options import Options


@dataclass(frozen=True, kw_only=True)
class RecordsOptions(Options):
    """Records.

    Attributes:
        results: folder of the records
    """

    results: Path = Path("results")
