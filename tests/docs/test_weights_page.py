"""docs/weights.md: its verl estimator, which no test can run inside verl, does what it says, beside a brute-force loop."""

import re
import runpy
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import beta

PAGE = Path(__file__).resolve().parents[2] / "docs" / "weights.md"


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Callable[..., Any]]:
    """What the page's code registers, in a stand-in for verl's module of that name."""
    found: dict[str, Callable[..., Any]] = {}

    def register_adv_est(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        return lambda function: found.setdefault(name, function)

    for name in ("verl", "verl.trainer", "verl.trainer.ppo", "verl.trainer.ppo.core_algos"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["verl.trainer.ppo.core_algos"].register_adv_est = register_adv_est  # type: ignore[attr-defined]
    (code,) = re.findall(r"^```python verl\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    (tmp_path / "page.py").write_text(code)
    runpy.run_path(str(tmp_path / "page.py"))
    return found


def test_the_verl_estimator_is_its_formula(registered: dict[str, Callable[..., Any]]) -> None:
    index = np.array(["a", "b", "a", "b", "a", "c", "c", "a"])
    scores = [1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    rewards, mask = torch.zeros(8, 5), torch.ones(8, 5)
    mask[3, 2:] = 0
    rewards[:, 1] = torch.tensor(scores)
    advantages, returns = registered["paced"](rewards, mask, index, config=None, extra="ignored")
    assert torch.equal(advantages, returns) and advantages.shape == (8, 5)
    for row, name in enumerate(index):
        group = [scores[other] for other in range(8) if index[other] == name]
        k, K = sum(group), len(group)
        weight = quad(lambda p, k=k, K=K: p * (1 - p) * beta.pdf(p, k + 1, K - k + 1), 0, 1)[0]
        wanted = weight / 0.15 * (scores[row] - k / K)
        assert advantages[row].tolist() == pytest.approx([wanted * float(m) for m in mask[row]], abs=1e-6)
