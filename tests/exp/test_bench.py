"""The benchmark's clockwork: ratios by hand, peak memory of known tensors, and a record that its figure can draw."""

from functools import partial
from importlib.util import find_spec
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
from paced_exp.gradients.engine import PerProblemGradients
from paced_exp.losses.fused_loss import FusedLoss
from paced_exp.losses.heads import plain_head


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


DATTRI = find_spec("dattri_llm") is not None
WITHOUT = [] if DATTRI else ["--without-dattri"]
TINY = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 24,
}


@pytest.fixture
def small_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model of the large vocabulary in a few kilobytes."""
    monkeypatch.setattr(subjects, "_SMOL", {**subjects._SMOL, **TINY})


@pytest.mark.usefixtures("small_large")
def test_a_small_run_writes_a_record_that_the_figure_draws(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        gradients.main(["--problems", "6", "--sizes", "0.1", "135", *WITHOUT, "--out", str(tmp_path / "record.json")])
    finally:
        torch.set_num_threads(threads)
    record = read_json(tmp_path / "record.json")
    for size in ("0.1", "135"):
        for kind in ("time", "memory"):
            found = {row["contender"] for row in record[kind] if row["size"] == size}
            assert found == set(subjects.contenders_of(size, not DATTRI)) and len(found) >= 4
    assert all(row["seconds"] > 0 for row in record["time"])
    draw(["--record", str(tmp_path / "record.json"), "--out", str(tmp_path)])
    assert (tmp_path / "bench_gradients.pdf").exists()


@pytest.mark.usefixtures("small_large")
@pytest.mark.parametrize("size", ["0.1", "135"])
def test_engine_and_loop_measure_the_same_norms(size: str) -> None:
    vocabulary = subjects.tokenizer()
    (batch,) = subjects.batches_of(size, 4, vocabulary)
    norms = [value**0.5 for value in subjects.loop(subjects.model_of(size, vocabulary))(batch)]
    for dense in (False, True):
        engine = PerProblemGradients(model := subjects.model_of(size, vocabulary))
        fused = FusedLoss(subjects.LOSS, plain_head(model, "student"))
        loss = subjects.LOSS if dense else partial(fused, gradients=engine.head(model.lm_head))
        engine.accumulate(4, partial(loss, model, subjects.collated(model, batch), None))
        np.testing.assert_allclose(engine.sums().norms_squared ** 0.5, norms, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")  # its hook on the embedding, whose input is tokens
@pytest.mark.parametrize("tied", [False, True])
def test_dattri_measures_the_same_norms_of_untied_parameters_alone(tied: bool) -> None:
    dattri = pytest.importorskip("bench.dattri_norms", reason="dattri-llm is not installed; install the bench extra to compare with it")
    vocabulary = subjects.tokenizer()
    (batch,), model = subjects.batches_of("0.1", 5, vocabulary), subjects.model_of("0.1", vocabulary)
    if not tied:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    found = dattri.norms_by_dattri(model, subjects.losses)(batch).numpy()
    ratio = found / np.array(subjects.loop(model)(batch))
    assert (np.abs(ratio - 1).max() < 1e-4) != tied


@pytest.mark.skipif(DATTRI, reason="dattri-llm is installed")
def test_without_dattri_the_command_says_what_to_do() -> None:
    with pytest.raises(UserError, match=r"dattri-llm is not installed; install the bench extra .* or give --without-dattri"):
        gradients.main(["--problems", "6", "--sizes", "0.1"])


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
