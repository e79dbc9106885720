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
from paced_exp.reproduce.marked import between
from paced_exp.reproduce.records import Results
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
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", text, re.M)) <= targets
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
    """Whatever they are: the blocks are written by make claims, and a new result changes all."""
    text, results = (ROOT / "README.md").read_text(), Results(ROOT / "results")
    assert readme.replaced(text, readme.block(results), "README.md") == text, "run: make claims"
    weights = (ROOT / "docs" / "weights.md").read_text()
    assert between(weights, readme.advice_block(results), "weights.md", (readme.ADVICE_BEGIN, readme.ADVICE_END)) == weights, (
        "run: make claims"
    )
    judged = json.loads((ROOT / "results" / "claims.json").read_text())["scales"]
    first = {claim["id"]: claim["verdict"] for claim in judged["desk-v1"]}
    rows = re.findall(r"^\| (\w+): [^|]+ \| ([^|]+) \| [^|]+ \| ([^|]+) \|$", text.split(readme.BEGIN)[1].split(readme.END)[0], re.M)
    assert rows == [(c["id"], c["verdict"], first.get(c["id"], "–")) for c in judged["desk"] if c["verdict"] is not None]


def test_a_page_without_its_markers_is_left_alone(tmp_path: Path) -> None:
    page, weights = tmp_path / "page.md", tmp_path / "weights.md"
    argv = ["--results", str(tmp_path), "--page", str(page), "--weights", str(weights)]
    empty = f"before\n{readme.ADVICE_BEGIN}\nold\n{readme.ADVICE_END}\nafter\n"
    for text in ("no markers", f"{readme.END} {readme.BEGIN}", f"{readme.BEGIN} {readme.BEGIN} {readme.END}"):
        page.write_text(text)
        weights.write_text(empty)
        with pytest.raises(UserError, match="must have <!-- claims:begin --> and after it"):
            readme.main(argv)
        assert page.read_text() == text and weights.read_text() == empty
    page.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    readme.main(argv)
    for path, begin in ((page, readme.BEGIN), (weights, readme.ADVICE_BEGIN)):
        written = path.read_text()
        assert "\nold\n" not in written and written.startswith(f"before\n{begin}\n") and written.endswith("\nafter\n")
        assert "The runs that would tell are not done yet." in written
    assert page.read_text().count("| not run yet |") == 13


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
