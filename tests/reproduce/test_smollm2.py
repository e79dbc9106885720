"""The scale of a real pretrained model: its plan, what it says without its adapters, what it asks, and its place on the pages."""

import re
import shutil
from pathlib import Path

import pytest

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json
from paced_exp.data.sources import load_problems
from paced_exp.lab.finetune_recipes import FINETUNED
from paced_exp.reproduce import claims_page, readme, tables
from paced_exp.reproduce.__main__ import main
from paced_exp.reproduce.by_model import NOT_ASKED
from paced_exp.reproduce.cells import all_cells
from paced_exp.reproduce.grids import tables_at
from paced_exp.reproduce.learning_rates import scale_named, selected_rates
from paced_exp.reproduce.printed_table import signed
from paced_exp.reproduce.probes import ALIGNMENT, FIGURE, probes_of
from paced_exp.reproduce.protocols import claims_at, claims_of, not_asked
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import DESK, SMOLLM2
from paced_exp.reproduce.verdicts import outcomes
from paced_exp.training.config import DistillConfig
from tests.support.synthetic import write_base, write_row

FINE_TUNED = "most of its arithmetic ability comes from that fine-tuning"


def folders(path: Path) -> list[str]:
    return ["--results", str(path / "results"), "--work", str(path / "work")]


def test_the_plan_is_printed_without_the_adapters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--all", "--scale", "smollm2", "--dry-run", *folders(tmp_path)]) == 0
    text = capsys.readouterr().out
    cells = all_cells(scale_named("smollm2", tmp_path))
    assert all(re.search(rf"  {re.escape(cell.name)}$", text, re.MULTILINE) for cell in cells) and "probe aligned" in text
    assert {cell.name for cell in cells if cell.seed in (0, 100)} == {
        "one-pass/base", "one-pass/uniform-s100", "one-pass/paced-s100", "one-pass/paced-eb-s100", "kernels-one-pass/maxrl-s100",
        "self-one-pass/uniform-s100", "self-one-pass/paced-s100", "kernels-self-one-pass/maxrl-s100",
    }  # fmt: skip
    assert f"{len(cells)} cells and 1 probe to run" in text and "most arithmetic ability comes from that fine-tuning" in text
    hours = re.search(r"about ([\d.]+) h with --jobs", text)
    assert hours is not None and 2 < float(hours[1]) < 48
    assert not list(tmp_path.iterdir())


def test_without_the_adapters_one_line_says_what_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paced_exp.reproduce.models_made.is_there", lambda model: False)
    for argv in (["--all"], ["--table", "one-pass"], ["--table", "alignment"]):
        with pytest.raises(UserError) as caught:
            main([*argv, "--scale", "smollm2", *folders(tmp_path)])
        assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
        assert "smollm2-student, which is not there; make it first: python -m paced_exp.lab finetune smollm2-student (about" in str(
            caught.value
        )


def test_rows_weighed_by_the_probe_follow_once_it_is_there() -> None:
    from dataclasses import replace

    measured = replace(SMOLLM2, curves={"aligned": "0:0,0.5:2,1:0"})
    new = {cell.name for cell in all_cells(measured, 1)} - {cell.name for cell in all_cells(SMOLLM2, 1)}
    assert new == {"one-pass/aligned-s100", "self-one-pass/aligned-s100"}


def test_the_budget_is_the_issues() -> None:
    """60 to 100 updates of 32, three seeds, 500 problems x 4 and retention; 11 bins of 200 problems; nothing visited twice."""
    trained = [cell.config for cell in all_cells(SMOLLM2) if isinstance(cell.config, DistillConfig)]
    assert {cell.seed for cell in all_cells(SMOLLM2) if cell.trained} == {100, 101, 102}
    for config in trained:
        assert config.steps is not None and config.limit is not None and 60 <= config.steps <= 100 and config.batch == 32
        # A plug-in weight may drop half of the pool.
        assert config.regime == "one-pass" and config.steps * config.batch < config.limit / 2
        assert (config.samples, config.evaluate_limit, config.retention) == (4, 167, "lab:facts")
    (probe,) = probes_of(SMOLLM2, ALIGNMENT)
    assert (probe.config.bins, probe.config.per_bin, probe.config.against) == (11, 200, "accuracy") and not probes_of(SMOLLM2, FIGURE)
    assert sum(len(load_problems(source, limit=167)) for source in SMOLLM2.sources) == 3 * 167 + 120


def test_its_problems_are_of_what_the_adapters_learned() -> None:
    for recipe in FINETUNED.values():
        problems = load_problems(SMOLLM2.problems, limit=400)
        assert {(one.metadata["family"], one.metadata["level"]) for one in problems} <= {
            (family, level) for family, levels in recipe.levels.items() for level in levels
        }


# ---- what it asks


def test_it_asks_the_claims_whose_rows_it_runs_and_says_which_it_does_not() -> None:
    asked = {claim.id: [one.name for one in claim.hypotheses] for claim in claims_at(SMOLLM2)}
    assert asked == {
        "C2": ["C2.one-pass", "C2.bayes", "C2.self"],
        "C4": ["C4.one-pass", "C4.bayes", "C4.self"],
        "A": ["A.aligned", "A.uniform", "A.self"],
        "E": ["E.bayes"],
    }
    assert not_asked(SMOLLM2) == ["C1", "C3", "C5", "C6", "C7", "C8", "C9", "C10", "C11", "R"]
    assert claims_at(DESK) == claims_of(2) and not_asked(DESK) == []


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """Records of the desk's and of SmolLM2's rows without weights and with PACED."""
    results = tmp_path / "results"
    for scale, seeds, gain in ((DESK, 10, 0.1), (SMOLLM2, 3, 0.3)):
        write_base(results, 0.3, scale)
        write_row(results, "one-pass", "uniform", 0.4, seeds, scale)
        write_row(results, "one-pass", "paced", 0.4 + gain, seeds, scale)
    return results


def test_holms_method_corrects_for_what_it_asks_alone(filled: Path) -> None:
    found = [finding for outcome in outcomes(Results(filled), SMOLLM2) for finding in outcome.primary]
    assert [finding.hypothesis for finding in found] == ["C2.one-pass", "C4.one-pass", "A.aligned"]
    (first, *_) = found
    assert first.p is not None and first.holm is not None and first.holm <= 3 * first.p + 1e-12 and first.verdict == "replicates"


@pytest.fixture
def no_theory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims_page, "theory_outcomes", list)


@pytest.mark.usefixtures("no_theory")
def test_the_claims_page_has_its_column_and_says_where_the_ability_comes_from(filled: Path, tmp_path: Path) -> None:
    claims_page.main(["--results", str(filled), "--out", str(tmp_path / "claims.md"), "--latex", str(tmp_path / "tex")])
    page = (tmp_path / "claims.md").read_text()
    first, *_ = page.split("## Desk scale")
    lines = {line.split(" | ")[0].strip("| "): line for line in first.splitlines() if line.startswith("| ")}
    assert f"{DESK.models} (desk)" in lines["claim"] and f"{SMOLLM2.models} (smollm2)" in lines["claim"]
    assert lines["C2: PACED beats no weighting"].count("replicates") == 2
    assert lines["C6: reverse KL first is worse than forward KL first"].rstrip(" |").endswith(NOT_ASKED) and FINE_TUNED in first
    own = page.split("\n## Smollm2 scale")[1].split("\n## ")[0]
    assert FINE_TUNED in own and "Not asked at this scale, which runs part of the tables: C1, C3" in own
    assert "C5.schedules" not in own and "C2.one-pass" in own


def test_the_results_page_says_so_too(filled: Path, tmp_path: Path) -> None:
    tables.main(["--results", str(filled), "--markdown", str(tmp_path / "page.md"), "--latex", str(tmp_path / "tex")])
    page = (tmp_path / "page.md").read_text()
    own = page.split("## Smollm2 scale")[1].split("\n## ")[0]
    assert own.lstrip().startswith(SMOLLM2.about) and FINE_TUNED in SMOLLM2.about
    for table in tables_at(SMOLLM2):
        assert f"Table {table.number}. {table.title}" in own
    assert "Table 27." not in own


@pytest.mark.parametrize(("gain", "words"), [(0.3, r"gain \*\*\d+\.\d points\*\*"), (-0.3, r"lose \*\*\d+\.\d points\*\*")])
def test_the_readme_says_what_self_distillation_gave(filled: Path, gain: float, words: str) -> None:
    write_row(filled, "self-one-pass", "uniform", 0.4, 3, SMOLLM2)
    write_row(filled, "self-one-pass", "paced", 0.4 + gain, 2, SMOLLM2)
    assert "in self-distillation. PACED's weights" not in readme.block(Results(filled)), "a seed is missing"
    write_row(filled, "self-one-pass", "paced", 0.4 + gain, 3, SMOLLM2)
    said = " ".join(readme.block(Results(filled)).split())
    assert re.search(
        rf"Exploratory: {SMOLLM2.models}, in self-distillation. PACED's weights {words} \[.*?(over|to) no weighting \(3 seeds\)", said
    )


def test_the_readmes_table_says_for_which_models(filled: Path) -> None:
    block = readme.block(Results(filled))
    head = next(line for line in block.splitlines() if line.startswith("| claim"))
    assert head == f"| claim of the paper | verdict {readme.RULES}, {DESK.models} | {readme.MEASURED} | {SMOLLM2.models} |"
    (row,) = (line for line in block.splitlines() if line.startswith("| C2:"))
    assert row.count("replicates") == 2
    said = " ".join(block.split("## Should I use it?")[1].split())
    assert said.startswith(f"Measured with teachers that see the solution. Only that of {SMOLLM2.models} (a column of the next table)")
    assert [float(value) for value in re.findall(r"\+([\d.]+) \[", row)] == pytest.approx([10, 30], abs=3)  # what was drawn
    # What was run at neither scale shares a line.
    (rest,) = (line for line in block.splitlines() if "C11:" in line)
    assert rest.endswith("| not decided | not run yet | – |") and "C6:" in rest
    shutil.rmtree(filled / "smollm2")
    alone = readme.block(Results(filled))
    assert f"| claim of the paper | verdict {readme.RULES} | {readme.MEASURED} |\n" in alone and SMOLLM2.models not in alone
    # A scale with records of which no primary hypothesis can be tested yet has no column.
    write_base(filled, 0.3, SMOLLM2)
    write_row(filled, "self-one-pass", "uniform", 0.4, 1, SMOLLM2)
    assert readme.block(Results(filled)) == alone and "\nMeasured only with teachers that see the solution. All" in alone


def test_the_protocol_says_which_rates_were_selected_and_what_they_gave() -> None:
    root = Path(__file__).resolve().parents[2]
    page = " ".join((root / "docs" / "protocol-v2.md").read_text().split())
    chosen = {setting: f"{rate:.0e}".replace("e-0", "e-") for setting, rate in selected_rates(SMOLLM2, root / "results").items()}
    assert (
        f"{chosen['distillation']} in distillation, of 1e-5 to 1e-4; {chosen['self-distillation']} in self-distillation, of 3e-6 to 1e-4"
        in page
    )
    changes = {}
    for path in (root / "results" / "smollm2" / "selection").glob("distillation-*.json"):
        record = read_json(path)
        cost = record["difference_to_base"]
        accuracy = sum(cost[tier]["value"] for tier in SMOLLM2.tiers) / len(SMOLLM2.tiers)
        changes[record["learning_rate"]] = (signed(100 * accuracy, 1), signed(-100 * cost[SMOLLM2.retention]["value"], 1).lstrip("+"))
    assert sorted(changes) == [1e-5, 3e-5, 1e-4]
    assert f"by {changes[3e-5][0]} points at 3e-5, by {changes[1e-5][0]} at 1e-5, and by" in page
    assert f"and by {changes[1e-4][0]} at 1e-4, which costs {changes[1e-4][1]} points of retention where the rule allows 2" in page
