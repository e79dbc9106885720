"""`python -m paced_exp.snr_probe --fresh-rollouts` on tiny random models: who is rolled out again, what is kept, the record, kills."""

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from paced_exp import snr_probe
from paced_exp.data.sources import load_problems, stream_problems
from paced_exp.probe.ranges import RANGES, range_index, side_of
from paced_exp.probe.verdict import words
from paced_exp.reproduce.checks import check_probe
from paced_exp.rollouts.engine import rollout_seed
from paced_exp.rollouts.pass_rates import read_pass_rates
from paced_exp.rollouts.store import ChunkStore
from tests.support import children
from tests.support.kill_screened import set_up
from tests.support.probe_setup import NoEngine, arguments, comparable, record_of, refused, rows, save, write_rows

PROBLEMS, PER_BIN, F, SHARE = 63, 4, 100, 0.5
# At a high temperature a random model ends its responses soon: an unfinished one has not passed, and none would pass always.
OPTIONS = {"per-bin": PER_BIN, "fresh-rollouts": F, "family-share": SHARE, "temperature": 6.0, "max-new-tokens": 130, "batch-tokens": 400}


def screened_arguments(models: Path, source: Path, out: Path, **changes: Any) -> list[str]:
    argv = arguments(models, source, out, **OPTIONS | changes)
    place = argv.index("--bins")
    return argv[:place] + argv[place + 2 :]


@pytest.fixture(autouse=True)
def ends_grader(monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random student and teacher with room for long responses."""
    folder = tmp_path_factory.mktemp("models")
    save(folder / "student", context=240)
    save(folder / "teacher", kind="llama", seed=1, context=240)
    return folder


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sums of three families, a column of the file."""
    content = [row | {"family": "abc"[number % 3]} for number, row in enumerate(rows()[:PROBLEMS])]
    return write_rows(tmp_path_factory.mktemp("problems") / "sums.jsonl", content)


@pytest.fixture(scope="module")
def screened(models: Path, families: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "screened"
    with pytest.MonkeyPatch.context() as patch:
        set_up(patch)
        snr_probe.main(screened_arguments(models, families, out))
    return out


def passes_of(folder: Path, journal: str, samples: int) -> dict[str, int]:
    frame = ChunkStore(folder, journal).rows()
    assert (frame.groupby("problem_id").size() == samples).all()
    return {str(name): int(count) for name, count in frame.groupby("problem_id")["correct"].sum().items()}


def test_ranges_hold_the_first_problems_of_their_fresh_pass_rates(screened: Path, families: Path) -> None:
    """By a loop over the problems in the source's order."""
    k, fresh = passes_of(screened, "rollouts", 4), passes_of(screened, "fresh_rollouts", F)
    order = [problem for problem in stream_problems(str(families), seed=5) if problem.id in k]
    assert len(order) == PROBLEMS and {side_of(k[name], 4) for name in fresh} == {"low", "high"}
    kept: list[list[str]] = [[] for _ in RANGES]
    of_family: Counter[tuple[int, str]] = Counter()
    dropped = Counter({"low": 0, "high": 0})
    for problem in order:
        side = side_of(k[problem.id], 4)
        if side != "middle" and problem.id not in fresh:
            continue
        index = range_index(side, k[problem.id] if side == "middle" else fresh[problem.id], 4 if side == "middle" else F)
        family = (index, problem.metadata["family"]) if index is not None else None
        if family is None:
            dropped[side] += 1
        elif len(kept[family[0]]) < PER_BIN and of_family[family] < SHARE * PER_BIN:
            of_family[family] += 1
            kept[family[0]].append(problem.id)
    summary = record_of(screened)["rollouts"]
    assert summary["kept"] == [len(names) for names in kept] and sum(summary["kept"]) >= 15
    assert {problem.id for problem in load_problems(str(screened / "problems.parquet"))} == {name for names in kept for name in names}
    assert {side: numbers["dropped"] for side, numbers in summary["fresh"].items()} == dict(dropped)
    assert sum(numbers["rolled_out"] for numbers in summary["fresh"].values()) == len(fresh)
    assert summary["rollouts"] == 4 * PROBLEMS + F * len(fresh) and summary["problems_drawn"] == PROBLEMS
    assert [row["range"]["families"] for row in record_of(screened)["bins"]] == [
        {family: of_family[index, family] for family in "abc" if of_family[index, family]} for index in range(10) if len(kept[index]) >= 3
    ]
    # Whoever was not rolled out again was not wanted: the ranges of that side are full, or closed to the family.
    for problem in order:
        side = side_of(k[problem.id], 4)
        if side != "middle" and problem.id not in fresh:
            assert all(
                len(kept[index]) == PER_BIN or of_family[index, problem.metadata["family"]] == SHARE * PER_BIN
                for index, one in enumerate(RANGES)
                if one.side == side
            )


def test_fresh_rollouts_have_streams_of_their_own(screened: Path) -> None:
    first, again = (ChunkStore(screened, name).rows() for name in ("rollouts", "fresh_rollouts"))
    assert not set(first["seed"]) & set(again["seed"])
    assert all(
        seed == rollout_seed(8, name, sample)
        for name, sample, seed in zip(again["problem_id"], again["sample"], again["seed"], strict=True)
    )
    rates = read_pass_rates(screened / "fresh_pass_rates.parquet", expected=None)
    assert dict(zip(rates["problem_id"], rates["k"], strict=True)) == passes_of(screened, "fresh_rollouts", F)
    assert (rates["K"] == F).all() and len(pd.read_parquet(screened / "fresh_rollouts.parquet")) == len(again)


def test_the_record_says_what_each_range_holds(screened: Path, capsys: pytest.CaptureFixture[str], models: Path, families: Path) -> None:
    record = record_of(screened)
    check_probe(screened / "record.json", record)
    fresh, k = passes_of(screened, "fresh_rollouts", F), passes_of(screened, "rollouts", 4)
    labels = {one.label: one for one in RANGES}
    for row in record["bins"]:
        one = labels[row["range"]["label"]]
        assert (row["range"]["low"], row["range"]["high"], row["range"]["side"]) == (one.low / 100, one.high / 100, one.side)
        outcomes = row["range"]["outcomes"]
        assert sum(count for *_, count in outcomes) == row["n"] == sum(row["range"]["families"].values())
        assert {total for _, _, total, _ in outcomes} == {4 if one.side == "middle" else 4 + F}
        if one.side != "middle":  # the screen's passes are of 4, the rest is the fresh p-hat of the row
            members = [
                name for name in fresh if range_index(one.side, fresh[name], F) == RANGES.index(one) and side_of(k[name], 4) == one.side
            ]
            assert min(fresh[name] for name in members) / F <= row["pass_rate"] <= max(fresh[name] for name in members) / F
    assert record["bins"][0]["range"]["label"] == "[0, 0.01)" and record["bins"][0]["pass_rate"] == 0
    assert record["artefact"] == [] and {row["range"] for row in record["ratios"]} <= set(labels)
    assert {"law", "fit", "posterior_pass_rate", "problem", "inside", "upper_bounds"} == record["mixture"].keys()
    assert len(record["mixture"]["inside"]) == len(record["bins"])
    assert sum(sum(counts) for counts in record["rollouts"]["screened"].values()) == PROBLEMS
    capsys.readouterr()
    snr_probe.main(screened_arguments(models, families, screened))
    lines = capsys.readouterr().out.splitlines()
    assert any(line.strip().startswith("[0, 0.01)") for line in lines) and words(record, "low").startswith("the range [0, 0.01)")
    assert any("beyond the ranges of that end and dropped" in line for line in lines)
    assert "of the 1,000 wanted" in words(record, "low") or "too few problems" in words(record, "low")
    caption = (screened / "snr_curve.txt").read_text()
    assert "from 100 fresh ones, which alone decide the outer ranges; at most 50% of a range are of one family" in caption


@pytest.mark.slow
def test_killed_between_screen_and_fresh_rollouts_the_run_ends_with_the_same_record(
    models: Path, families: Path, screened: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = screened_arguments(models, families, tmp_path / "killed")
    done = children.run("-m", "tests.support.kill_screened", *argv)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "killed" / "record.json").exists() and (tmp_path / "killed" / "fresh_rollouts.jsonl").exists()
    snr_probe.main(argv)
    assert comparable(tmp_path / "killed") == comparable(screened)
    for journal in ("rollouts", "fresh_rollouts"):
        one, other = (ChunkStore(folder, journal).rows() for folder in (tmp_path / "killed", screened))
        order = ["problem_id", "sample"]
        pd.testing.assert_frame_equal(one.sort_values(order, ignore_index=True), other.sort_values(order, ignore_index=True))
    # Another question of the same problems takes both journals over.
    monkeypatch.setattr("paced_exp.rollouts.engines.Engines.of", lambda *_, **__: NoEngine())
    snr_probe.main(screened_arguments(models, families, tmp_path / "after", **{"rollouts-from": screened}))
    after, alone = comparable(tmp_path / "after"), comparable(screened)
    assert after["config"].pop("rollouts_from") == str(screened) and alone["config"].pop("rollouts_from") is None
    assert after == alone


def test_problems_without_a_family_are_refused_before_any_work(
    models: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(lambda: snr_probe.main(screened_arguments(models, problems, tmp_path / "run")), capsys)
    assert "--family-share 0.5 needs the family of every problem" in line and "has none" in line
    assert not (tmp_path / "run").exists()


def test_other_questions_are_asked_of_ranges_too(models: Path, families: Path, screened: Path, tmp_path: Path) -> None:
    """The Gram matrix and the utilities of ranges stand at the fresh pass rates, and weigh ranges by all problems drawn."""
    record = record_of(screened)
    rates = [row["pass_rate"] for row in record["bins"]]
    assert record["gram"]["pass_rate"] == pytest.approx(rates)
    offered = [row["offered"] for row in record["bins"]]
    assert record["gram"]["share"] == pytest.approx([count / sum(offered) for count in offered])
    held = write_rows(tmp_path / "held.jsonl", [row | {"id": f"held{row['id']}", "prompt": f"1+{row['prompt']}"} for row in rows()[:12]])
    # Gradients of accuracy are of the distribution at temperature 1.
    options = {"against": "accuracy", "accuracy-problems": held, "accuracy-limit": 12, "accuracy-samples": 4, "temperature": 1.0}
    snr_probe.main(screened_arguments(models, families, tmp_path / "run", **options, **{"max-problems": 30, "max-new-tokens": 60}))
    found = record_of(tmp_path / "run")
    rows_of = found["accuracy"]["metrics"]["sgd"]["bins"]
    assert [row["pass_rate"] for row in rows_of] == [row["pass_rate"] for row in found["bins"]] and len(rows_of) >= 2
    assert [row["k"] for row in rows_of] == pytest.approx([4 * row["pass_rate"] for row in found["bins"]])
    assert [row["offered"] for row in rows_of] == [row["offered"] for row in found["bins"]]
