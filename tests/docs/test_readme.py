"""The README and the docs cannot rot: their Python runs, and what they name exists."""

import json
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
QUICK = 300  # seconds; a command called quick takes ten at most, but not on a machine that others use


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for number, text in enumerate(re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)):
            found.append((f"{page.name}-{number}", text))
    return found


@pytest.mark.parametrize("code", [text for _, text in blocks("python")], ids=[name for name, _ in blocks("python")])
def test_python_examples_run(code: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    expected = re.findall(r"^print\(.*\)  # (.*)$", code, re.M)
    assert len(done.stdout.splitlines()) >= len(expected)
    for line, wanted in zip(done.stdout.splitlines(), expected, strict=False):
        assert line == wanted


QUICK_COMMANDS = [
    line.split("#")[0].strip() for _, text in blocks("console") for line in text.splitlines() if re.search(r"# quick\b", line)
]


@pytest.mark.parametrize("command", QUICK_COMMANDS)
def test_quick_commands_run(command: str, tmp_path: Path) -> None:
    words = shlex.split(command)
    assert words[0] == "python"
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, cwd=tmp_path, timeout=QUICK)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_targets_modules_and_files_exist(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)) <= targets
    for module in set(re.findall(r"python -m ((?:paced_\w+|figures)[\w.]*)", text)):
        assert find_spec(module.rstrip(".")) is not None, module
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
        assert (page.parent / link).exists(), link


def squared(row: dict[str, Any]) -> str:
    return f"{row['snr_squared']:.4f} [{row['snr_squared_low']:.4f}, {row['snr_squared_high']:.4f}] at p = {row['pass_rate']:.0f}"


def in_the_middle(verdict: dict[str, Any]) -> str:
    return f"{verdict['middle']:.4f} [{verdict['middle_low']:.4f}, {verdict['middle_high']:.4f}] in the middle"


def test_the_answer_at_the_top_is_that_of_the_records() -> None:
    desk = ROOT / "results" / "desk"
    record = json.loads((desk / "snr_verdict" / "qwen3" / "record.json").read_text())
    fit = record["fit"]
    said = [squared(record["bins"][0]), squared(record["bins"][-1]), in_the_middle(record["verdict"]["low"])]
    said += [f"{e} = {fit[e]:.2f} [{fit[f'{e}_low']:.2f}, {fit[f'{e}_high']:.2f}]" for e in "ab"]
    later = json.loads((desk / "snr_probe" / "record.json").read_text())["steps"][-1]
    assert later["step"] == 20
    said += [squared(later["bins"][0]), squared(later["bins"][-1]), in_the_middle(later["verdict"]["low"])]
    answer = " ".join((ROOT / "README.md").read_text().split("**Answer, so far.**")[1].split("![")[0].split())
    assert [text for text in said if text not in answer] == []
    for probe in (record, later):
        assert probe["verdict"]["low"]["verdict"] == "does not collapse" and probe["verdict"]["high"]["verdict"] == "collapses"


def test_the_gain_at_the_top_is_that_of_the_records() -> None:
    judged = json.loads((ROOT / "results" / "claims.json").read_text())["scales"]["desk"]
    findings = {finding["hypothesis"]: finding for claim in judged for finding in claim["findings"]}
    answer = " ".join((ROOT / "README.md").read_text().split("**And does the weight help?**")[1].split("![")[0].split())
    for name, setting in (("C2.distillation", "with forward KL"), ("C2.self", "in self-distillation")):
        value, low, high = (f"{findings[name][key]:+.1f}".replace("-", "−") for key in ("value", "low", "high"))
        assert f"{value} [{low}, {high}] points {setting}" in answer and findings[name]["n"].startswith("5 seeds")
        assert findings[name]["verdict"] == "not decided" and "neither is decided" in answer
    for name, sign, setting in (("C3.akl", -1, "above PACED in distillation"), ("C3.akl-self", 1, "below it in self-distillation")):
        value, *ends = (f"{sign * findings[name][key]:.1f}" for key in ("value", "low", "high"))
        low, high = sorted(ends, key=float)
        assert re.search(rf"{value} \[{low}, {high}\] (points )?{setting}", answer) and findings[name]["verdict"] != "not decided"
    ends = {end: findings[f"C1.step{step}.{end}"]["verdict"] for step in (1, 20) for end in ("low", "high")}
    assert ends == {"low": "does not replicate", "high": "not decided"}  # "only the second is decided"


def test_the_other_architecture_is_as_the_readme_says() -> None:
    verdict = json.loads((ROOT / "results" / "desk" / "snr_verdict" / "llama" / "record.json").read_text())["verdict"]
    assert (verdict["low"]["verdict"], verdict["high"]["verdict"]) == ("does not collapse", "not decided")
    trimmed = json.loads((ROOT / "results" / "desk" / "snr_robustness" / "trimmed" / "record.json").read_text())
    assert trimmed["share"] == 0.01 and trimmed["verdict"]["high"]["verdict"] != "collapses"
    assert "The Llama architecture: the same at p = 0, not decided at p = 1." in " ".join((ROOT / "README.md").read_text().split())


def test_the_engines_speeds_are_the_records() -> None:
    rows = json.loads((ROOT / "results" / "desk" / "bench" / "rollouts.json").read_text())["rows"]
    hf, vllm = (next(row for row in rows if row["engine"] == name) for name in ("hf", "vllm"))
    rates = [row["rollouts_per_processor_second"] for row in (hf, vllm)]
    text = f"hf {rates[0]:.0f} rollouts a second of processor time, vllm {rates[1]:.0f} ({rates[1] / rates[0]:.2f} of it), "
    text += f"and vllm takes {vllm['start_processor_seconds']:.0f} s of it to start, hf {hf['start_processor_seconds']:.1f}."
    assert text in " ".join((ROOT / "README.md").read_text().split())
