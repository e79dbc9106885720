"""The README and the docs cannot rot: their Python runs, and what they name exists."""

import json
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from paced_exp.core.errors import UserError
from paced_exp.reproduce import concise_findings, readme
from paced_exp.reproduce.marked import between
from paced_exp.reproduce.neighbour_findings import QUESTIONS
from paced_exp.reproduce.records import Results
from tests.support import pages
from tests.support.pages import PAGES, ROOT

CODE = pages.blocks("python", [page for page in PAGES if page not in pages.SITE_PAGES])  # that of docs/: test_site.py


@pytest.mark.parametrize("code", [text for _, text in CODE], ids=[name for name, _ in CODE])
def test_python_examples_run(code: str, tmp_path: Path) -> None:
    pages.check_python(code, tmp_path)


QUICK = 300  # seconds; a command called quick takes half a minute at most, but not on a machine that others use
QUICK_COMMANDS = sorted(
    {line.split("#")[0].strip() for _, text in pages.blocks("console") for line in text.splitlines() if re.search(r"# quick\b", line)}
)


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


def test_the_first_screen_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_the_verdicts_are_those_of_the_records() -> None:
    """Whatever they are: the blocks are written by make claims, and a new result changes all."""
    text, results = (ROOT / "README.md").read_text(), Results(ROOT / "results")
    assert readme.replaced(text, readme.block(results), "README.md") == text, "run: make claims"
    weights = (ROOT / "docs" / "weights.md").read_text()
    assert between(weights, readme.advice_block(results), "weights.md", (readme.ADVICE_BEGIN, readme.ADVICE_END)) == weights, (
        "run: make claims"
    )
    neighbours = (ROOT / "docs" / "neighbours.md").read_text()
    for block, markers in readme.neighbour_blocks(results):
        assert between(neighbours, block, "neighbours.md", markers) == neighbours, "run: make claims"
    judged = json.loads((ROOT / "results" / "claims.json").read_text())["scales"]
    lines = re.findall(r"^\| (\w+: [^|]+) \| ([^|]+) \| ([^|]+) \|$", text.split(readme.BEGIN)[1].split(readme.END)[0], re.M)
    rows = {
        title.split(":")[0]: re.sub(", no gain seen$| at the range .*$", "", verdict)
        for titles, verdict, _ in lines
        for title in titles.split("; ")
    }
    # Those of the paper: our own are on the page of claims.
    assert rows == {claim["id"]: claim["verdict"] for claim in judged["desk"] if claim["id"].startswith("C")}
    waiting = [titles for titles, _, measured in lines if measured == "not run yet"]
    assert len(waiting) <= 1 and all(
        re.match(r"[+−][\d.]+ \[[+−]?[\d.]+, [+−]?[\d.]+\] ", measured) for _, _, measured in lines if measured != "not run yet"
    )


def test_a_page_without_its_markers_is_left_alone(tmp_path: Path) -> None:
    page, weights, neighbours = (tmp_path / name for name in ("page.md", "weights.md", "neighbours.md"))
    argv = ["--results", str(tmp_path), "--page", str(page), "--weights", str(weights), "--neighbours", str(neighbours)]
    argv += ["--badges", str(tmp_path / "badges.svg")]
    pairs = [markers for _, markers in readme.neighbour_blocks(Results(tmp_path))]
    neighbours.write_text("before\n" + "".join(f"{begin}\nold\n{end}\n" for begin, end in pairs) + "after\n")
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
    asked = len(QUESTIONS) + len(concise_findings.TRAINED)
    assert "\nold\n" not in neighbours.read_text() and neighbours.read_text().count("| not run | not decided |") == asked
    (waiting,) = re.findall(r"^\| (.+) \| not decided \| not run yet \|$", page.read_text(), re.M)
    assert len(waiting.split("; ")) == 11


def rates(record: str) -> dict[str, tuple[int, float]]:
    """Of each engine the rollouts a second of processor time, and what its start takes, in seconds."""
    rows = json.loads((ROOT / "results" / "bench" / record).read_text())["rows"]
    return {row["engine"]: (round(row["rollouts_per_processor_second"]), row["start_processor_seconds"]) for row in rows}


def test_the_engines_speeds_are_the_records() -> None:
    lab, smollm2 = rates("rollouts.json"), rates("rollouts_smollm2.json")
    page = " ".join((ROOT / "docs" / "engines.md").read_text().split())
    text = f"hf makes {lab['hf'][0]} rollouts, vllm {lab['vllm'][0]}, and transformers' own `generate` {lab['generate'][0]}. "
    assert text + f"- To start takes hf {lab['hf'][1]:.1f} s of processor time, and vllm {lab['vllm'][1]:.0f} s." in page
    assert f"hf makes {smollm2['hf'][0]} rollouts, and vllm {smollm2['vllm'][0]}. So the scale `smollm2` samples with hf." in page
    assert f"- To start takes hf {smollm2['hf'][1]:.0f} s of processor time, and vllm {smollm2['vllm'][1]:.0f} s." in page
    assert smollm2["hf"][0] > smollm2["vllm"][0]
