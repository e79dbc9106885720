"""The paper's own numbers, paper/reported.json: facts for columns beside ours."""

from pathlib import Path
from typing import Any

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json
from paced_exp.reproduce.grids import Row, Table
from paced_exp.reproduce.scales import BENCHMARKS

_HEADS = {**{name: f"{name}, %" for name in BENCHMARKS}, "MMLU forgetting": "MMLU drop, points"}
# A row that stands in several of the paper's tables, or with the loss of its table, has other names there.
_NAMES = {
    "self_distillation_accuracy": {
        "Forward KL (unweighted)": "Reverse KL (unweighted)",
        "Hard filter, forward KL": "Hard filter, reverse KL",
        "PACED, forward KL": "PACED, reverse KL",
    },
    "stage_ratio_KL_to_RevKL": {"PACED KL -> PACED RevKL": "50%"},
}
DEFAULT = Path(__file__).resolve().parents[2] / "paper" / "reported.json"


class Reported:
    """The paper's numbers by our tables and rows."""

    def __init__(self, path: Path = DEFAULT) -> None:
        if not path.exists():
            raise UserError(f"{path} does not exist; restore it from git")
        self._content: dict[str, Any] = read_json(path)

    @property
    def claims(self) -> dict[str, str]:
        """The paper's claims by id, C1 and on."""
        return {claim["id"]: claim["claim"] for claim in self._content["claims"]}

    @property
    def source(self) -> str:
        """Where the numbers are from."""
        return str(self._content["source"])

    @property
    def setup(self) -> dict[str, Any]:
        """The paper's setup: models, data, hyper-parameters."""
        return dict(self._content["setup"])

    def columns(self, table: Table) -> dict[str, str]:
        """The columns of the paper's table that stands beside ours, each with its head in ours; none where no table does."""
        return {name: _HEADS[name] for name in self._content["tables"][table.reported]["columns"]} if table.reported else {}

    def values(self, table: Table, row: Row) -> list[tuple[float, float | None]] | None:
        """(value, its ± or None) in each of these columns; None where the paper's row is not known."""
        if table.reported is None or row.reported is None:
            return None
        name = _NAMES.get(table.reported, {}).get(row.reported, row.reported)
        values = self._content["tables"][table.reported]["rows"][name]
        return None if values is None else [_pair(value) for value in values]

    def accuracies(self, table: Table, row: Row) -> list[tuple[float, float | None]] | None:
        """The same on the paper's three benchmarks alone, in per cent."""
        values = self.values(table, row)
        return None if values is None else [pair for name, pair in zip(self.columns(table), values, strict=True) if name in BENCHMARKS]


def _pair(value: Any) -> tuple[float, float | None]:
    return (float(value[0]), float(value[1])) if isinstance(value, list) else (float(value), None)
