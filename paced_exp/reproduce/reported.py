"""The paper's own numbers, paper/reported.json: facts for columns beside ours."""

from pathlib import Path
from typing import Any

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json
from paced_exp.reproduce.grids import Row, Table

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

    def accuracies(self, table: Table, row: Row) -> list[tuple[float, float | None]] | None:
        """(value, spread or None) on the paper's three benchmarks, in per cent; None where the paper's row is not known."""
        values = self._row(table, row)
        return None if values is None else [_pair(value) for value in values[:3]]

    def forgetting(self, table: Table, row: Row) -> float | None:
        """The paper's drop on MMLU in points, where it is known."""
        if table.columns == "forgetting":
            name = {
                "forgetting-distillation": "PACED distillation",
                "forgetting-self": "PACED self-distillation",
            }[table.name]
            return float(self._content["tables"]["forgetting"][name]) if row.name == "paced" else None
        values = self._row(table, row)
        return None if values is None or len(values) < 4 else _pair(values[3])[0]

    def _row(self, table: Table, row: Row) -> list[Any] | None:
        if table.reported is None or row.reported is None:
            return None
        found: list[Any] = self._content["tables"][table.reported]["rows"][row.reported]
        return found


def _pair(value: Any) -> tuple[float, float | None]:
    return (float(value[0]), float(value[1])) if isinstance(value, list) else (float(value), None)
