"""The benchmark's clockwork: ratios by hand, peak memory of known tensors, and a record that its figure can draw."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench import early_stopping, gradients, store, subjects
from bench.memory import peak_bytes
from bench.timing import interleaved, ratios
from figures.bench_gradients import main as draw
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json


def test_ratios_by_hand() -> None:
    found = ratios({"a": [1.0, 2.0, 4.0], "b": [2.0, 2.0, 12.0]}, "a")["b"]
    assert found["total"] == pytest.approx(16 / 7)
    assert (found["quartile_low"], found["median"], found["quartile_high"]) == (1.5, 2.0, 2.5)


def test_contenders_take_turns_in_alternating_order() -> None:
    calls: list[str] = []
    seconds = interleaved({name: lambda piece, name=name: calls.append(f"{name}{piece}") for name in "ab"}, [0, 1])
    assert calls == ["a0", "b0", "b1", "a1"]
    assert [len(values) for values in seconds.values()] == [2, 2] and min(min(values) for values in seconds.values()) >= 0


def test_peak_is_what_was_held_at_once() -> None:
    def function() -> None:
        first = torch.empty(1 << 20)
        del first
        second, third = torch.empty(1 << 20), torch.empty(1 << 19)
        del second, third

    assert peak_bytes(function) == 4 * ((1 << 20) + (1 << 19))


def test_a_small_run_writes_a_record_that_the_figure_draws(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        gradients.main(["--problems", "6", "--sizes", "0.1", "--out", str(tmp_path / "record.json")])
    finally:
        torch.set_num_threads(threads)
    record = read_json(tmp_path / "record.json")
    assert {row["contender"] for row in record["time"]} == {row["contender"] for row in record["memory"]} == set(subjects.CONTENDERS)
    assert all(row["seconds"] > 0 for row in record["time"])
    draw(["--record", str(tmp_path / "record.json"), "--out", str(tmp_path)])
    assert (tmp_path / "bench_gradients.pdf").exists()


@pytest.mark.parametrize("arguments", [["--sizes", "7"], ["--problems", "1"]])
def test_what_cannot_be_measured_is_refused(arguments: list[str]) -> None:
    with pytest.raises(UserError, match=arguments[0]):
        gradients.main(arguments)


def test_a_missing_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--record .*python -m bench\.gradients"):
        draw(["--record", str(tmp_path / "none.json")])


def test_early_stopping_saves_what_a_walk_through_the_rollouts_counts() -> None:
    rng = np.random.default_rng(0)
    correct = rng.random((300, 4)) < rng.random((300, 1))
    expected, count = 0, [0] * 5
    for row in correct:  # rounds of one problem
        for r in range(1, 4):
            k = int(row[:r].sum())
            if all(count[end] >= 6 for end in range(k, k + 4 - r + 1)):
                expected += 4 - r
                break
        count[int(row.sum())] += 1
    assert expected > 0
    assert early_stopping.saved_share(correct, 5, 6, range(1, 4), round_size=1) == expected / 1200
    assert early_stopping.saved_share(correct, 5, 10**6, range(1, 4)) == 0


def test_early_stopping_needs_a_finished_probe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no rollouts"):
        early_stopping.main([str(tmp_path)])


def test_a_small_store_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.main(["--problems", "12", "--samples", "4", "--tokens", "50", "--out", str(tmp_path / "record.json")])
    record = read_json(tmp_path / "record.json")
    assert [row["stage"] for row in record["rows"]] == list(store.STAGES) and all(row["seconds"] > 0 for row in record["rows"])
    assert "12 problems x 4 x 50 tokens" in capsys.readouterr().out


def test_a_store_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="--tokens 0 must be at least 1"):
        store.main(["--tokens", "0"])


def test_the_committed_record_keeps_the_bounds_of_opening_and_counting() -> None:
    record = read_json(store.OUT)
    rows = {row["stage"]: row for row in record["rows"]}
    assert record["settings"] == {"problems": 5000, "samples": 8, "tokens": 3000}
    # By processor time: the clock of a busy machine is its other work's.
    assert rows["open"]["processor_seconds"] < 1 and rows["open and count"]["processor_seconds"] < 2
    assert rows["open and count"]["mib"] < 200 and rows["open and finish"]["mib"] < 300
