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

from paced_exp.core.errors import UserError
from paced_exp.probe.fits import mixture_of
from paced_exp.reproduce import readme
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import DESK_V1
from paced_theory.claims import counts_by_source

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
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
    lines = iter(done.stdout.splitlines())
    assert [wanted for wanted in expected if wanted not in lines] == []  # in this order; a trainer prints lines of its own between them


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
    desk = ROOT / "results" / "desk-v1"
    record = json.loads((desk / "snr_verdict" / "qwen3" / "record.json").read_text())
    fit = mixture_of(record)["fit"]
    said = [squared(record["bins"][0]), squared(record["bins"][-1]), in_the_middle(record["verdict"]["low"])]
    said += [f"{e} = {fit[e]:.2f} [{fit[f'{e}_low']:.2f}, {fit[f'{e}_high']:.2f}]" for e in "ab"]
    later = json.loads((desk / "snr_probe" / "record.json").read_text())["steps"][-1]
    assert later["step"] == 20
    said += [squared(later["bins"][0]), squared(later["bins"][-1]), in_the_middle(later["verdict"]["low"])]
    answer = " ".join((ROOT / "README.md").read_text().split("**Answer, so far.**")[1].split("![")[0].split())
    assert [text for text in said if text not in answer] == []


def test_the_verdicts_are_those_of_the_records() -> None:
    """Whatever they are: the block is written by make claims, and a new result changes both."""
    text = (ROOT / "README.md").read_text()
    assert readme.replaced(text, readme.block(Results(ROOT / "results"), DESK_V1), "README.md") == text, "run: make claims"
    judged = {claim["id"]: claim for claim in json.loads((ROOT / "results" / "claims.json").read_text())["scales"]["desk-v1"]}
    rows = re.findall(r"^\| (C\d+): [^|]+ \| ([^|]+) \| ([^|]+) \|$", text.split(readme.BEGIN)[1].split(readme.END)[0], re.M)
    assert rows == [(name, claim["verdict"], claim["verdict_alone"]) for name, claim in judged.items()]


def test_a_page_without_its_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for text in ("no markers", f"{readme.END} {readme.BEGIN}", f"{readme.BEGIN} {readme.BEGIN} {readme.END}"):
        page.write_text(text)
        with pytest.raises(UserError, match="must have <!-- claims:begin --> and after it"):
            readme.main(["--results", str(tmp_path), "--page", str(page)])
        assert page.read_text() == text
    page.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    readme.main(["--results", str(tmp_path), "--page", str(page)])
    assert (
        "\nold\n" not in page.read_text()
        and page.read_text().startswith(f"before\n{readme.BEGIN}\n")
        and page.read_text().endswith("\nafter\n")
    )
    assert "Not run yet." in page.read_text() and "22 of the 22 hypotheses could not be tested" in " ".join(page.read_text().split())


def test_the_engines_speeds_are_the_records() -> None:
    rows = json.loads((ROOT / "results" / "bench" / "rollouts.json").read_text())["rows"]
    hf, vllm = (next(row for row in rows if row["engine"] == name) for name in ("hf", "vllm"))
    rates = [row["rollouts_per_processor_second"] for row in (hf, vllm)]
    text = f"hf {rates[0]:.0f} rollouts a second of processor time, vllm {rates[1]:.0f} ({rates[1] / rates[0]:.2f} of it), "
    text += f"and vllm takes {vllm['start_processor_seconds']:.0f} s of it to start, hf {hf['start_processor_seconds']:.1f}."
    assert text in " ".join((ROOT / "README.md").read_text().split())


def test_the_ledger_is_counted_as_it_is() -> None:
    counts = counts_by_source()
    text = " ".join((ROOT / "README.md").read_text().split())
    total = sum(sum(part.values()) for part in counts.values())
    paper, ours = counts["paper"], counts["ours"]
    assert f"a list of {total} claims" in text
    assert f"Of the paper's {paper.total()}, {paper['holds']} hold and {paper['conditional']} hold under a condition" in text
    assert (
        f"Of {ours.total()} of our own, {ours['holds']} hold, {ours['conditional']} are conditional and {ours['refuted']} is refuted"
        in text
    )
