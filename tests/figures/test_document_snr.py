"""docs/snr.md says what the records say, and what a kernel would keep is what the theory's formula gives."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from figures import document_snr
from paced_exp.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def record(a: float, b: float) -> dict[str, Any]:
    return {
        "bins": [{"posterior_pass_rate": (k + 0.5) / 11, "offered": 100 + 10 * k, "mean_squared_norm": 1.0 + k} for k in range(11)],
        "fit": {"a": a, "b": b},
    }


def test_the_committed_page_is_that_of_the_committed_records() -> None:
    assert (ROOT / "docs" / "snr.md").read_text(encoding="utf-8") == document_snr.document(ROOT / "results" / "desk")


def test_a_kernel_of_the_fitted_shape_keeps_everything_and_others_what_a_simulation_gives() -> None:
    assert document_snr.efficiencies(record(1, 1))["p(1-p)"] == pytest.approx(1)
    assert document_snr.efficiencies(record(0.5, 0.5))["sqrt(p(1-p))"] == pytest.approx(1)
    # Weights w on problems drawn by their share gain (E w s)^2 / E w^2 m: here by drawing them.
    shares = document_snr.efficiencies(record(0.3, 0.9))
    rng = np.random.default_rng(0)
    k = rng.choice(11, size=400_000, p=(100 + 10 * np.arange(11)) / (100 + 10 * np.arange(11)).sum())
    p, m = (k + 0.5) / 11, 1.0 + k
    signal = p**0.3 * (1 - p) ** 0.9 * m
    best = (signal**2 / m).mean()
    for name, w in {"p(1-p)": p * (1 - p), "uniform": np.ones_like(p), "hard filter [0.2, 0.8]": 1.0 * ((p >= 0.2) & (p <= 0.8))}.items():
        assert shares[name] == pytest.approx((w * signal).mean() ** 2 / (w**2 * m).mean() / best, abs=5e-3)
        assert shares[name] < 1


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"qwen3/record\.json does not exist"):
        document_snr.document(tmp_path)


def test_it_is_written_where_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document_snr.main(["--out", str(tmp_path / "page.md")])
    assert "## Qwen3 architecture" in (tmp_path / "page.md").read_text(encoding="utf-8")
    assert json.loads((ROOT / "results" / "desk" / "snr_verdict" / "qwen3" / "record.json").read_text())["kind"] == "snr_probe"
