"""The coverage studies at a size of seconds, the judging of a row, and the committed record against what is declared."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import paced_theory
from paced_theory.coverage import __main__ as command
from paced_theory.coverage import record, snr
from paced_theory.coverage.study import Covered, Setting

ROOT = Path(paced_theory.__file__).parent.parent
QUICK = [setting for setting in record.settings() if setting.quick > 0]


@pytest.mark.parametrize("setting", QUICK, ids=[f"{setting.study}: {setting.name}" for setting in QUICK])
def test_no_coverage_is_significantly_below_what_is_required(setting: Setting) -> None:
    row = record.simulate(setting, setting.quick, command.SEED)
    assert (row.study, row.setting, row.replicates) == (setting.study, setting.name, setting.quick)
    assert record.judge(row).verdict != "missed", record.table([row])


def test_the_committed_record_has_the_declared_settings_at_full_size_and_keeps_every_promise() -> None:
    if not (ROOT / command.RECORD).exists():
        pytest.skip(f"{command.RECORD} has not been made yet; run: make coverage")
    committed = json.loads((ROOT / command.RECORD).read_text())
    declared = {(setting.study, setting.name): setting.full for setting in record.settings()}
    assert {(row["study"], row["setting"]): row["replicates"] for row in committed["settings"]} == declared, "run: make coverage"
    assert committed["kind"] == "coverage" and committed["seed"] == command.SEED
    for row in committed["settings"]:
        judged = record.judge(record.as_covered(row))
        assert (row["low"], row["high"], row["verdict"]) == (pytest.approx(judged.low), pytest.approx(judged.high), judged.verdict)
        assert row["verdict"] != "missed"


def covered(hits: int, replicates: int, required: float | None = 0.92, name: str = "one") -> Covered:
    return Covered("study", name, 0.95, hits, replicates, required, {})


@pytest.mark.parametrize(
    ("hits", "replicates", "required", "verdict"),
    [(92, 100, 0.92, "ok"), (91, 100, 0.92, "within error"), (80, 100, 0.92, "missed"), (0, 100, None, ""), (20, 20, 0.92, "ok")],
)
def test_a_row_is_missed_only_beyond_simulation_error(hits: int, replicates: int, required: float | None, verdict: str) -> None:
    judged = record.judge(covered(hits, replicates, required))
    exact = stats.binomtest(hits, replicates).proportion_ci(0.95, "exact")
    assert (judged.low, judged.high) == pytest.approx((exact.low, exact.high)) and judged.verdict == verdict


def test_the_edge_of_missed_is_that_of_the_binomial_law() -> None:
    verdicts = [record.judge(covered(hits, 1000)).verdict for hits in range(850, 920)]
    missed = [stats.binom.cdf(hits, 1000, 0.92) < 1e-3 for hits in range(850, 920)]
    assert [verdict == "missed" for verdict in verdicts] == missed and any(missed) and not all(missed)


def test_a_settings_numbers_do_not_depend_on_what_runs_beside_it_and_differ_from_others() -> None:
    first, second = QUICK[:2]
    draws = [record.generator(setting, 1).random() for setting in (first, second, first)]
    assert draws[0] == draws[2] != draws[1] and record.generator(first, 2).random() != draws[0]


# ---- the simulated laws


@pytest.mark.parametrize("norms", [snr.log_normal(0.6), snr.pareto(4.0), snr.rare(0.05, 5.0)], ids=lambda norms: norms.name)
@pytest.mark.parametrize("proportional", [True, False])
def test_simulated_gradients_have_the_stated_moments_and_snr(norms: snr.Norms, proportional: bool) -> None:
    rng, truth = np.random.default_rng(3), 0.05
    r = norms.draw(400_000, rng)
    assert r.mean() == pytest.approx(norms.mean, rel=0.01) and (r**2).mean() == pytest.approx(norms.mean_square, rel=0.02)
    g = snr.gradients(norms, 20_000, truth, proportional, rng)
    centre = g.mean(axis=0)
    assert (centre @ centre) / ((g - centre) ** 2).sum(axis=1).mean() == pytest.approx(truth, rel=0.1)


def test_the_truth_of_the_kin_without_a_tail_is_that_of_plain_formulas() -> None:
    trimmed, unit = snr.kin_truth(0.0, 0.01, True, 0.01)
    # 200 dimensions, unit noise: |g| hardly varies, so dropping 1 % of it, or dividing by it, changes SNR^2 by about 1/200 of itself.
    assert trimmed == pytest.approx(0.01, rel=0.02) and unit == pytest.approx(0.01, rel=0.02)


# ---- the command


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> list[Setting]:
    """Two settings instead of the declared ones, run in this process."""

    def run(replicates: int, rng: np.random.Generator) -> Covered:
        return Covered("study", "good", 0.95, replicates, replicates, 0.92, {"number": float(rng.random()), "not one": math.nan})

    settings = [
        Setting("study", "good", run, quick=3, full=30),
        Setting("other", "bad", lambda n, rng: Covered("other", "bad", 0.95, 0, n, 0.5, {}), quick=3, full=30),
    ]
    monkeypatch.setattr(record, "settings", lambda: settings)

    def here(todo, jobs, partial, source):  # type: ignore[no-untyped-def]
        rows = [record.simulate(setting, replicates, command.SEED) for setting, replicates in todo]
        for row in rows if partial is not None else []:
            record.append_row(partial, row, command.SEED, source)
        return rows

    monkeypatch.setattr(command, "simulate_all", here)
    return settings


def test_full_writes_the_record_and_exits_1_for_a_missed_promise(
    two: list[Setting], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "coverage.json"
    assert command.main(["--full", "--out", str(out)]) == 1
    written = json.loads(out.read_text())
    assert [(row["setting"], row["verdict"], row["replicates"]) for row in written["settings"]] == [
        ("good", "ok", 30),
        ("bad", "missed", 30),
    ]
    assert set(written["settings"][0]["extra"]) == {"number"} and set(written["versions"]) == {"python", "numpy", "scipy"}
    assert "2 settings, 1 below what is required" in capsys.readouterr().out
    assert [path.name for path in out.parent.iterdir()] == ["coverage.json"]
    assert command.main(["--full", "--study", "stud", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["settings"] == written["settings"]


def test_a_killed_run_goes_on_where_it_was(two: list[Setting], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, source = tmp_path / "coverage.json", record.source_hash()
    partial = tmp_path / "coverage.partial.jsonl"
    record.append_row(partial, Covered("study", "good", 0.95, 29, 30, 0.92, {}), command.SEED, source)  # not what a new run would give
    record.append_row(partial, covered(30, 30, name="gone"), command.SEED, source)
    record.append_row(partial, Covered("other", "bad", 0.95, 30, 30, 0.5, {}), command.SEED, "other code")
    with partial.open("a") as file:
        file.write('{"study": "other", "setting": "bad", "cov')
    assert command.main(["--full", "--out", str(out)]) == 1
    assert [row["covered"] for row in json.loads(out.read_text())["settings"]] == [29, 0]
    assert "1 of 2 settings were finished by an interrupted run" in capsys.readouterr().err and not partial.exists()


def test_wrong_use_exits_2_in_a_line(two: list[Setting], capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--study", "nothing"], "is in no study's name; studies: other, study"),
        (["--jobs", "0"], "--jobs must be at least 1"),
    ):
        with pytest.raises(SystemExit) as raised:
            command.main(arguments)
        assert raised.value.code == 2 and message in capsys.readouterr().err


def test_settings_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snr, "SETTINGS", snr.SETTINGS[:1] * 2)
    with pytest.raises(ValueError, match="two settings are called"):
        record.settings()


def test_worker_processes_give_the_rows_of_this_process() -> None:
    study = "unit-norm"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "paced_theory.coverage", "--study", study, "--jobs", "2"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    rows = [record.simulate(setting, setting.quick, command.SEED) for setting in QUICK if study in setting.study]
    assert done.stdout.startswith(record.table(rows) + "\n")
