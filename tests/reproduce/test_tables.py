"""What is printed is what the records say: means, errors, intervals, bold, the paper's column; "not run" where nothing was."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paced_exp.core.errors import UserError
from paced_exp.reproduce import claims_page, macros, tables
from paced_exp.reproduce.grid_tables import grid_tables
from paced_exp.reproduce.grids import BY_NAME, tables_at, tables_of
from paced_exp.reproduce.hyperparameters import hyperparameter_table
from paced_exp.reproduce.measures import accuracies, combined, forgettings, measure_row, primaries
from paced_exp.reproduce.printed_table import NOT_RUN, PrintedTable, fixed, signed
from paced_exp.reproduce.printing import escape, latex, markdown
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.reported import Reported
from paced_exp.reproduce.scales import DESK, DESK_V1, SCALES
from paced_exp.training.config import DistillConfig
from tests.support.synthetic import write_base, write_row

TABLE = BY_NAME["distillation"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    write_base(results, 0.3)
    for row, accuracy in (("uniform", 0.5), ("hard-filter", 0.9), ("paced", 0.9)):
        write_row(results, "distillation", row, accuracy)
    write_row(results, "distillation", "akl", 0.6, seeds=1)
    return results


def texts(printed: PrintedTable, row: str) -> dict[str, str]:
    label = TABLE.row(row).label
    values = next(values for values in printed.rows if values[0].text == label)
    return {head: value.text for head, value in zip(printed.head, values, strict=True)}


def test_values_are_the_records_and_the_papers(filled: Path) -> None:
    results = Results(filled)
    values, differences = grid_tables(results, DESK_V1, TABLE, Reported())
    paced = measure_row(results, DESK_V1, TABLE, TABLE.row("paced"))
    expected = accuracies(paced, "lab:hard-a")
    row = texts(values, "paced")
    assert row["hard-a, %"] == f"{np.mean(expected):.1f} ± {np.std(expected, ddof=1) / np.sqrt(5):.2f}"
    by_hand = [np.mean([accuracies(paced, tier)[seed] for tier in DESK_V1.tiers]) for seed in range(5)]
    assert primaries(paced, DESK_V1) == pytest.approx(by_hand)
    assert row["mean of tiers, %"].startswith(f"{np.mean(by_hand):.1f} ±")
    assert (row["seeds"], row["TFLOPs"], row["paper: AIME 2024, %"]) == ("5", "3", "25.1 ± 1.0")
    assert texts(values, "akl")["mid, %"].count("±") == 0
    assert texts(values, "paced-posterior")["mid, %"] == NOT_RUN and texts(values, "paced-posterior")["paper: MATH-500, %"] == "–"
    uniform = measure_row(results, DESK_V1, TABLE, TABLE.row("uniform"))
    found = combined([(1.0, paced), (-1.0, uniform)], ["lab:mid"])
    assert found is not None
    assert texts(differences, "paced")["mid, points"] == f"+{found.value:.1f} [+{found.low:.1f}, +{found.high:.1f}]"
    assert texts(differences, "akl")["mid, points"] == "one seed" and "uniform" not in {value.text for value in differences.rows[0]}


def test_bold_is_the_best_and_what_is_not_told_from_it(filled: Path) -> None:
    printed = grid_tables(Results(filled), DESK_V1, BY_NAME["kernels"], Reported())[0]
    column = printed.head.index("mean of tiers, %")
    bold = {row[0].text: row[column].bold for row in printed.rows}
    assert bold == {"uniform": False, "hard filter on [0.2, 0.8]": True, "Gaussian": False, "GRPO, √(p(1−p))": False, "PACED, p(1−p)": True}


def test_a_single_seed_in_the_table_leaves_nothing_bold(filled: Path) -> None:
    printed = grid_tables(Results(filled), DESK_V1, TABLE, Reported())[0]
    assert not any(value.bold for row in printed.rows for value in row)


def test_forgetting_is_the_drop_from_the_base(filled: Path) -> None:
    results = Results(filled)
    table = BY_NAME["forgetting-distillation"]
    paced, base = (measure_row(results, DESK_V1, table, table.row(name)) for name in ("paced", "base"))
    drops = forgettings(paced, DESK_V1.retention)
    assert drops[2] == pytest.approx(accuracies(base, "lab:retention")[0] - accuracies(paced, "lab:retention")[2])
    row = next(row for row in grid_tables(results, DESK_V1, table, Reported())[0].rows if row[0].text == "PACED, forward KL")
    assert row[2].text.startswith(fixed(float(np.mean(drops)), 1)) and row[-1].text == "1.4"


def test_every_number_knows_its_records_and_their_command(filled: Path) -> None:
    printed = grid_tables(Results(filled), DESK_V1, TABLE, Reported())[0]
    for row in printed.rows:
        for head, value in zip(printed.head[1:-3], row[1:-3], strict=True):
            if value.number is not None and head != "seeds":
                assert value.records and all(path.exists() for path in value.records) and "--table distillation" in value.command


def test_hyper_parameters_are_the_configurations(filled: Path) -> None:
    for scale in SCALES.values():
        printed = hyperparameter_table(scale, Reported())
        rows = {row[0].text: [value.text for value in row[1:]] for row in printed.rows}
        setups = [name for name in ("distillation", "self-distillation", "llama") if name in scale.setups]
        assert rows["learning rate"][: len(setups)] == [f"{scale.setups[name].learning_rate:g}" for name in setups]
        assert rows["student"][0] == scale.setups["distillation"].student and rows["student"][len(setups)] == "Qwen3-1.7B"
        assert (
            rows["gradient norm clipped at"][0] == f"{DistillConfig().max_grad_norm:g}"
            and rows["rollouts a problem, K"][len(setups)] == "8"
        )


def test_nothing_run_is_printed_as_such_and_the_same_twice(tmp_path: Path) -> None:
    (tmp_path / "none" / "desk-v1" / "distillation").mkdir(parents=True)  # a folder without records
    for run in "ab":
        tables.main(["--results", str(tmp_path / "none"), "--markdown", str(tmp_path / f"{run}.md"), "--latex", str(tmp_path / run)])
    for page, label in (("", "no weighting"), ("-v1", "Forward KL (unweighted)")):
        text = (tmp_path / f"a{page}.md").read_text()
        assert text == (tmp_path / f"b{page}.md").read_text()
        rows = [line for line in text.splitlines() if line.startswith(f"| {label} |")]
        assert len(rows) >= 2 and all(set(row.split(" | ")[1:3]) == {NOT_RUN} for row in rows)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir()) and len(files) == 2 * (len(tables_at(DESK)) - 1) + 3
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


def test_a_folder_of_records_that_is_not_there_is_refused_and_nothing_is_overwritten(tmp_path: Path) -> None:
    for command in (tables.main, claims_page.main, macros.main):
        with pytest.raises(UserError, match=r"--results .*none is not a folder"):
            command(["--results", str(tmp_path / "none")])


def test_the_rows_of_a_table_have_equal_seeds(tmp_path: Path) -> None:
    """Three are planned for kernels; rows that table 1 has run five times show three there, and five once all have five."""
    for row, seeds in (("gaussian", 3), ("grpo", 3)):
        write_row(tmp_path, "kernels", row, lambda seed: 0.4 + 0.02 * seed, seeds)
    for row in ("uniform", "hard-filter", "paced"):
        write_row(tmp_path, "distillation", row, lambda seed: 0.4 + 0.1 * (seed > 2), 5)

    def seeds_of() -> list[str]:
        printed = grid_tables(Results(tmp_path), DESK_V1, BY_NAME["kernels"], Reported())[0]
        return [row[printed.head.index("seeds")].text for row in printed.rows]

    assert seeds_of() == ["3"] * 5
    for row in ("gaussian", "grpo"):
        write_row(tmp_path, "kernels", row, 0.4, 5)
    assert seeds_of() == ["5"] * 5


def test_markdown_tables_are_rectangular(filled: Path) -> None:
    for table in tables_of(1):
        for printed in grid_tables(Results(filled), DESK_V1, table, Reported()) if table.rows else []:
            lines = [line for line in markdown(printed).splitlines() if line.startswith("|")]
            assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(printed.head) + 1}


def test_latex_is_ascii_and_balanced(filled: Path) -> None:
    for table in tables_of(1):
        for printed in grid_tables(Results(filled), DESK_V1, table, Reported()) if table.rows else []:
            for text in (latex(printed), latex(replace(printed, widths=(0.1,) * len(printed.head)))):
                assert text.isascii(), [character for character in text if not character.isascii()]
                plain = text.replace(r"\{", "").replace(r"\}", "")
                assert plain.count("{") == plain.count("}")
                rows = [line for line in text.splitlines() if line.endswith(r" \\")]
                assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(printed.head) - 1}


def test_latex_escapes_what_is_special() -> None:
    assert escape(r"50 % of a_b & {c} \d") == r"50 \% of a\_b \& \{c\} \textbackslash{}d"
    with pytest.raises(ValueError, match=r"LaTeX has no .♥.; give it a command"):
        escape("♥")


def test_numbers_have_one_minus_and_no_negative_zero() -> None:
    assert fixed(-0.04, 1) == "0.0" and fixed(-1.26, 1) == "−1.3" and signed(0.04, 1) == "0.0" and signed(1.0, 1) == "+1.0"


def test_the_command_says_where(tmp_path: Path) -> None:
    import sys

    command = [sys.executable, "-m", "paced_exp.reproduce.tables", "--results", str(tmp_path), "--markdown", str(tmp_path / "r.md")]
    done = subprocess.run([*command, "--latex", str(tmp_path / "tex")], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.split() == [str(tmp_path / "r.md"), str(tmp_path / "tex")]
