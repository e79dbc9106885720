"""The command line `python -m paced_theory.verify`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import paced_theory
from paced_theory import verify
from paced_theory.claims import Comparison, Evidence, ledger
from paced_theory.claims.ledger import Claim

ROOT = Path(paced_theory.__file__).parent.parent
QUICK = "convergence.paper-figures"


def fake(name, *, value=1.0, recorded="holds", error=False):
    def check():
        if error:
            raise RuntimeError("no convergence")
        return Evidence(Comparison(value, 1.0, 0.1))

    return Claim(name, "One is one.", "1 = 1", "ours", "none", "by hand", "file.py", recorded, check)


@pytest.fixture
def small_ledger(monkeypatch):
    def install(*claims):
        monkeypatch.setattr(verify, "ledger", lambda: list(claims))

    return install


def test_table_and_exit_0(small_ledger, capsys):
    small_ledger(fake("robustness.a"), fake("robustness.b", value=2.0, recorded="refuted"))
    assert verify.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[1/2] robustness.a ") and " holds " in lines[0]
    assert lines[1].startswith("[2/2] robustness.b ") and " refuted " in lines[1]
    assert lines[2].startswith("2 claims: 1 holds, 1 refuted (ours 2: 1 holds, 1 refuted); all as recorded; ") and len(lines) == 3


@pytest.mark.parametrize(
    "broken", [fake("robustness.a", value=2.0), fake("robustness.a", error=True), fake("robustness.a", recorded="refuted")]
)
@pytest.mark.parametrize("form", [[], ["--json"], ["--markdown"]])
def test_exit_1_if_a_verdict_is_not_as_recorded(small_ledger, capsys, broken, form):
    small_ledger(fake("robustness.b"), broken)
    assert verify.main(form) == 1
    if not form:
        assert "NOT AS RECORDED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--only", "robustness.slop"],
            "verify: --only: no claim or section 'robustness.slop'; did you mean robustness.slope or robustness",
        ),
        (["--only", "zzzzzzzz"], "verify: --only: no claim or section 'zzzzzzzz'; sections are collapse, snr, "),
        (["--only"], "verify: argument --only: expected one argument; see python -m paced_theory.verify --help"),
        (["--jsn"], "verify: unrecognized arguments: --jsn; see python -m paced_theory.verify --help"),
        (["--js"], "verify: unrecognized arguments: --js; see"),
        (["--json", "--markdown"], "verify: argument --markdown: not allowed with argument --json; see"),
    ],
)
def test_exit_2_and_one_line_for_bad_arguments(capsys, arguments, message):
    try:
        status = verify.main(arguments)
    except SystemExit as stop:
        status = stop.code
    output = capsys.readouterr()
    assert status == 2 and output.out == ""
    assert output.err.startswith(message) and output.err.count("\n") == 1


def test_json(capsys):
    assert verify.main(["--json", "--only", QUICK]) == 0
    output = capsys.readouterr()
    (entry,) = json.loads(output.out)
    assert output.out.startswith('[\n  {\n    "id": ')
    assert {"id", "statement", "source", "status", "value", "expected", "seconds"} <= set(entry)
    assert entry["id"] == QUICK and entry["status"] == "holds"
    assert abs(entry["value"] - entry["expected"]) < 1e-9 and entry["expected"] == 0.84375 and 0 <= entry["seconds"] < 60
    assert output.err == ""  # no progress where stderr is no terminal


def test_json_of_an_undefined_value_is_valid(small_ledger, capsys):
    small_ledger(fake("robustness.a", value=float("nan")))
    assert verify.main(["--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["value"] is None


def test_progress_goes_to_stderr_where_that_is_a_terminal(small_ledger, capsys, monkeypatch):
    small_ledger(fake("robustness.a"))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert verify.main(["--json"]) == 0
    output = capsys.readouterr()
    assert output.err.startswith("[1/1] robustness.a ") and json.loads(output.out)


def test_markdown(capsys):
    assert verify.main(["--markdown", "--only", QUICK]) == 0
    page = capsys.readouterr().out
    assert (
        page.startswith("# The theory, claim by claim\n") and f"### {QUICK}\n" in page and page.endswith("\n") and not page.endswith("\n\n")
    )


def test_suggestions_are_the_three_nearest():
    with pytest.raises(ValueError, match=r"did you mean [\w.-]+ or [\w.-]+ or [\w.-]+\?$"):
        verify.select(ledger(), ["convergence.ratio"])


def test_selection():
    claims = ledger()
    assert verify.select(claims, []) == claims
    assert [claim.id for claim in verify.select(claims, [QUICK])] == [QUICK]
    chosen = verify.select(claims, ["kernels", QUICK])
    assert [claim for claim in claims if claim in chosen] == chosen
    assert {claim.id.split(".")[0] for claim in chosen} == {"kernels", "convergence"}


def test_help_names_the_options(capsys):
    with pytest.raises(SystemExit) as stop:
        verify.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0
    assert text == (
        "usage: python -m paced_theory.verify [-h] [--json | --markdown] [--only ID] Check every claim of the theory, or some of them. "
        "options: -h, --help show this help message and exit --json print a JSON list instead of a table "
        "--markdown print the page docs/theory.md instead of a table --only ID a claim such as robustness.slope or a section; repeatable"
    )


def test_as_a_program():
    command = [sys.executable, "-W", "error", "-m", "paced_theory.verify", "--only", QUICK]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0 and done.stderr == "" and "1 claims: 1 holds (the paper's 1: 1 holds); all as recorded" in done.stdout
    done = subprocess.run([*command, "--only", "x y"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1


def test_a_closed_pipe_ends_quietly():
    code = f"{sys.executable} -m paced_theory.verify --only kernels --only convergence | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.count("\n") == 1 and done.stderr == ""


def test_a_broken_pipe_silences_standard_output(monkeypatch, tmp_path):
    def break_pipe():
        raise BrokenPipeError

    monkeypatch.setattr(verify, "main", break_pipe)
    with open(tmp_path / "out", "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        assert verify.run_as_script() == 1
        stdout.write("lost")
        stdout.flush()
    assert (tmp_path / "out").read_text() == ""


def test_rows_appear_as_they_are_found(small_ledger, monkeypatch):
    calls = []
    monkeypatch.setattr("builtins.print", lambda *texts, **options: calls.append((texts[0][:5], options.get("flush"))))
    small_ledger(fake("robustness.a"), fake("robustness.b"))
    verify.main([])
    assert calls[:2] == [("[1/2]", True), ("[2/2]", True)]


def test_an_interrupt_ends_quietly(monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "main", interrupt)
    assert verify.run_as_script() == 130
