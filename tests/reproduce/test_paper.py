"""The paper types no number by hand, inputs only what the commands generate, and names what exists."""

import re
from pathlib import Path

import pytest

from figures.command import modules
from paced_exp.core.json_files import write_json
from paced_exp.reproduce import figure_floats, macros
from paced_exp.reproduce.grids import tables_at
from paced_exp.reproduce.printing import filled
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.reported import Reported
from paced_exp.reproduce.scales import DESK
from tests.support.synthetic import write_base, write_row

ROOT = Path(__file__).resolve().parents[2]
SOURCE = (ROOT / "paper" / "paced.tex").read_text()
BODY = SOURCE.split(r"\begin{document}")[1]

# Numbers as words; "one" and "two" are also articles and are let through only as such phrases.
WORDS = ["three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "twenty", "hundred", "thousand", "million"]


@pytest.fixture(scope="module")
def defined(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    results = tmp_path_factory.mktemp("results")
    write_base(results, 0.3, DESK)
    for row in ("uniform", "paced"):
        write_row(results, "one-pass", row, 0.5, 10, DESK)
    write_json(results / "claims.json", {"theory": [{"verdict": verdict} for verdict in ("holds", "holds", "conditional", "refuted")]})
    return macros.macros(Results(results), DESK)


def prose() -> str:
    """The body without comments, references, inputs, and mathematics."""
    text = re.sub(r"(?<!\\)%.*", "", BODY)
    text = re.sub(r"\\(input|label|ref|includegraphics|usepackage|texttt)(\[[^]]*\])?\{[^}]*\}", "", text)
    return re.sub(r"\$[^$]*\$", lambda match: re.sub(r"\(1-p\)|\\sqrt|\^2", "", match[0]), text, flags=re.S)


def test_no_number_of_the_prose_is_typed_by_hand() -> None:
    digits = re.findall(r".{0,30}\d.{0,30}", prose())
    assert not digits, digits
    spelt = [word for word in WORDS if re.search(rf"\b{word}\b", prose(), re.I)]
    assert not spelt, spelt


def test_the_check_would_find_one() -> None:
    assert re.findall(r"\d", prose() + "gains 5 points")


def test_every_macro_is_generated_and_used(defined: dict[str, str]) -> None:
    used = set(re.findall(r"\\((?:Num|Verdict|Found)[A-Za-z]+)", BODY))
    assert used <= defined.keys(), used - defined.keys()
    assert all(name.isalpha() and name.isascii() for name in defined)
    assert {name for name in defined if name.startswith("Verdict")} == {name for name in used if name.startswith("Verdict")}, (
        "a claim's verdict is not in the text"
    )


def test_macros_are_what_was_measured(defined: dict[str, str]) -> None:
    assert defined["NumSPaced"] == "not run" and defined["NumPaperClaims"] == str(len(Reported().claims))
    assert float(defined["NumDPaced"]) == pytest.approx(50, abs=3) and "[" in defined["NumDDifference"]
    assert defined["NumUpdates"] == str(DESK.setups["distillation"].updates)
    assert int(defined["NumTheory"]) == 4 == sum(int(defined[f"NumTheory{name}"]) for name in ("Holds", "Conditional", "Refuted"))
    text = filled("numbers.tex", macros=defined)
    assert text.isascii() and text.count("\n") == len(defined) + 1


def test_every_input_is_one_that_the_commands_write() -> None:
    tables, may_be_left_out = (
        {
            f"desk-{table.name}{suffix}"
            for table in tables_at(DESK)
            if table.rows and table.exploratory is free
            for suffix in ("", "-differences")
        }
        for free in (False, True)
    )
    tables |= {"desk-hyper-parameters", "paper-hyper-parameters", "theory", "desk-v1-claims", "desk-v1-findings"}
    tables |= {f"desk-{name}" for name in ("in-short", "claims", "findings", "exploratory", "sizes")}
    figures = {f"figure-{module.NAME}" for module in modules()}
    inputs = set(re.findall(r"\\input\{tables/([^}]+)\}", BODY))
    assert inputs <= tables | may_be_left_out | figures and figures <= inputs
    assert tables <= inputs, "the paper shows what its claims rest on"
    labels = {f"fig:{name.removeprefix('figure-')}" for name in figures} | {f"tab:{name}" for name in tables}
    assert set(re.findall(r"\\ref\{([^}]+)\}", BODY)) <= labels


def test_a_figure_float_has_its_caption(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from paced_exp.core.errors import UserError

    with pytest.raises(UserError, match="holds no figures; draw them with: make figures"):
        figure_floats.main(["--figures", str(tmp_path / "none"), "--out", str(tmp_path)])
    (tmp_path / "x.txt").write_text("Half of 50 % & more.\n")
    figure_floats.main(["--figures", str(tmp_path), "--out", str(tmp_path / "tex")])
    text = (tmp_path / "tex" / "figure-x.tex").read_text()
    assert r"\caption{Half of 50 \% \& more.}\label{fig:x}" in text and r"\includegraphics[width=\textwidth]{x}" in text
