"""The public-cases benchmark: how cases are read from a checkout, and that agreement is counted by hand."""

from pathlib import Path

import pytest

from bench import grading
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json

CASES = r"""
import os
os.system("touch ran")

@pytest.mark.parametrize("gold,pred,expected", [
    ("$4$", "so $x = 4$", 1),
    ("$5$", r"\boxed{4} or \boxed{5}", 1),
    (r"$(2,2),(6,2)$", r"\boxed{(6,2)} and \boxed{(2,2)}", True),
    ("$4$", "$5$", 0),
    (r"$\frac13$", r"$0.333333$", 0),
    (sympy.Symbol("x"), "$x$", 1),
    ("$11_3$", r"$11_2$", 1),
    ("$7$", "It is seven.", 1),
])
def test_one(gold, pred, expected): ...

@pytest.mark.parametrize("choice", ["A", "B"])
def test_other(choice): ...
"""


def checkout(folder: Path) -> Path:
    (folder / "tests").mkdir()
    (folder / "tests" / "test_some.py").write_text(CASES)
    return folder


def test_agreement_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    grading.main(["--cases", str(checkout(tmp_path)), "--out", str(tmp_path / "record.json")])
    record = read_json(tmp_path / "record.json")
    assert (record["cases"], record["left_out"]) == (7, 2)
    assert record["should_pass"] == {"passed": 2, "failed": 3} and record["should_fail"] == {"passed": 1, "failed": 1}
    assert record["disagree"] == {
        "test_some.py:1": "form",
        "test_some.py:4": "passed",
        "test_some.py:5": "rule",
        "test_some.py:6": "prose",
    }
    assert "7 cases, 2 left out; 3 agree" in capsys.readouterr().out
    assert not (tmp_path / "ran").exists(), "no code of the checkout is run"


def test_another_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no cases in tests/test_\*\.py; give a checkout"):
        grading.main(["--cases", str(tmp_path)])
