"""`python -m paced_exp.snr_probe` on tiny random models: a finished record, the same for the same seed, after kills and a full disk too."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from paced_exp import snr_probe
from paced_exp.core.errors import UserError
from paced_exp.data.sources import load_problems
from paced_exp.losses.problem_loss import ProblemLoss
from paced_exp.models.loading import LoadedModel, load_model
from paced_exp.probe.config import ProbeConfig
from paced_exp.probe.measurement import load_sums, loss_of
from paced_exp.probe.verdict import words
from paced_exp.rollouts.pass_rates import read_pass_rates
from paced_exp.rollouts.references import read_references
from paced_exp.rollouts.store import ChunkStore
from tests.support import children
from tests.support.probe_setup import BINS, PER_BIN, K, NoEngine, arguments, comparable, record_of, refused

pytestmark = pytest.mark.usefixtures("hash_grader")

# ---- what a run leaves


def test_the_record_says_what_the_issue_asks_for(whole: Path) -> None:
    record = record_of(whole)
    wanted = {"pass_rate", "n", "snr", "snr_low", "snr_high", "snr_naive", "floor", "null_high"}
    assert len(record["bins"]) == BINS and all(wanted <= row.keys() for row in record["bins"])
    assert [row["pass_rate"] for row in record["bins"]] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert [row["posterior_pass_rate"] for row in record["bins"]] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert all(row["snr_low"] <= row["snr"] <= row["snr_high"] and row["floor"] == row["n"] ** -0.5 for row in record["bins"])
    assert {"law", "fit", "posterior_pass_rate", "problem"} == record["mixture"].keys()
    assert (record["mixture"]["fit"] is None) == record["mixture"]["problem"].startswith("no ")
    known = {"keeps at least half", "has less than half", "not decided"}
    assert {verdict["verdict"] for verdict in record["verdict"].values()} <= known
    assert record["kind"] == "snr_probe" and record["provenance"]["seed"] == 5 and record["config"]["per_bin"] == PER_BIN
    assert all(seconds > 0 for seconds in record["seconds"].values())
    assert {path.name for path in whole.iterdir()} >= {"snr_curve.pdf", "snr_curve.png", "gram.png", "config.yaml", "problems.parquet"}
    assert not [path for path in whole.rglob("*.tmp")]


def test_bins_hold_the_first_problems_of_their_pass_rate(whole: Path, problems: Path) -> None:
    record = record_of(whole)
    rollouts = ChunkStore(whole, "rollouts").rows()
    passes = rollouts.groupby("problem_id", sort=False)["correct"].sum()
    assert (rollouts.groupby("problem_id").size() == K).all()
    summary = record["rollouts"]
    assert summary["problems_drawn"] == len(passes) and summary["rollouts"] == K * len(passes)
    assert summary["offered"] == [int((passes == k).sum()) for k in range(K + 1)]
    assert summary["kept"] == [min(PER_BIN, count) for count in summary["offered"]] == [row["n"] for row in record["bins"]]
    assert summary["mean_pass_rate"] == pytest.approx(passes.mean() / K)
    rates = read_pass_rates(whole / "pass_rates.parquet", expected=None)
    assert dict(zip(rates["problem_id"], rates["k"], strict=True)) == passes.to_dict()
    assert len(pd.read_parquet(whole / "rollouts.parquet")) == len(rollouts)
    kept = load_problems(str(whole / "problems.parquet"))
    assert pd.read_parquet(whole / "references.parquet")["problem_id"].tolist() == [
        problem.id for _, problem in sorted(enumerate(kept), key=lambda pair: (passes[pair[1].id], pair[0]))
    ]
    assert len(kept) == sum(summary["kept"]) and {problem.id for problem in kept} <= {
        problem.id for problem in load_problems(str(problems))
    }
    assert record["references"]["teacher"] + record["references"]["solution"] == len(kept) and record["references"]["none"] == 0


def single_gradient(student: LoadedModel, teacher: LoadedModel, problem: Any, reference: list[int]) -> torch.Tensor:
    """One problem's gradient by the plainest means: its own forward passes, its own backward pass."""
    from paced_exp.data.prompts import prompt_ids

    plain, privileged = prompt_ids(student.tokenizer, problem), prompt_ids(teacher.tokenizer, problem, "privileged")
    rows_of = []
    for model, prompt in ((student.model, plain), (teacher.model, privileged)):
        rows_of.append(model(torch.tensor([prompt + reference])).logits[0, len(prompt) - 1 : -1].log_softmax(-1))
    log_s, log_t = rows_of[0], rows_of[1].detach()
    loss = (log_t.exp() * (log_t - log_s)).sum(-1).mean()
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, list(student.model.parameters()))])


def test_a_bins_estimate_is_that_of_gradients_taken_one_by_one(whole: Path, models: Path) -> None:
    student, teacher = (load_model(str(models / name), device="cpu", dtype="float64") for name in ("student", "teacher"))
    passes = ChunkStore(whole, "rollouts").rows().groupby("problem_id")["correct"].sum()
    references = read_references(ChunkStore(whole, "references"))
    members = [problem for problem in load_problems(str(whole / "problems.parquet")) if passes[problem.id] == 2]
    gradients = torch.stack([single_gradient(student, teacher, problem, references[problem.id].token_ids) for problem in members])
    row = record_of(whole)["bins"][2]
    n, total, squares = len(members), float(gradients.sum(0).square().sum()), float(gradients.square().sum())
    signal, noise = (total - squares) / (n * (n - 1)), (squares - total / n) / (n - 1)
    assert row["n"] == n and row["snr_squared"] == pytest.approx(signal / noise, rel=1e-6)
    assert row["snr_naive"] == pytest.approx(np.sqrt(total) / n / np.sqrt(noise), rel=1e-6)
    assert row["mean_squared_norm"] == pytest.approx(squares / n, rel=1e-6)


def test_the_table_shows_every_bin_and_the_words_of_the_verdict(
    models: Path, problems: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()}
    snr_probe.main(arguments(models, problems, whole))  # a finished run answers from its record
    captured = capsys.readouterr()
    assert {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()} == before and captured.err == ""
    record = record_of(whole)
    lines = captured.out.splitlines()
    for row, line in zip(record["bins"], lines[1:], strict=False):
        assert line.split()[:2] == [f"{row['pass_rate']:.3f}", str(row["n"])] and f"{row['snr']:.4f}" in line
    assert {words(record, end)[1:] for end in ("low", "high")} <= {line[1:] for line in lines}
    assert any(line.startswith("seconds: load ") and "total" in line for line in lines)
    figures = [f"{name}.{suffix}" for name in ("gram", "snr_curve") for suffix in ("pdf", "png", "svg", "txt")]
    assert [Path(line).name for line in lines[-8:]] == figures
    assert any(line.startswith("cosine of mean gradients: lowest bin with the middle") for line in lines)


# ---- the same again


def test_the_same_seed_gives_the_same_record_and_another_does_not(models: Path, problems: Path, whole: Path, tmp_path: Path) -> None:
    snr_probe.main(arguments(models, problems, tmp_path / "same"))
    assert comparable(tmp_path / "same") == comparable(whole)
    assert (tmp_path / "same" / "snr_curve.png").read_bytes() == (whole / "snr_curve.png").read_bytes()
    snr_probe.main(["--config", str(whole / "config.yaml"), "--out", str(tmp_path / "config")])
    assert comparable(tmp_path / "config") == comparable(whole)
    snr_probe.main(arguments(models, problems, tmp_path / "other", seed=6))
    assert [row["snr"] for row in record_of(tmp_path / "other")["bins"]] != [row["snr"] for row in record_of(whole)["bins"]]


def test_the_size_of_gradient_batches_does_not_matter(models: Path, problems: Path, whole: Path, tmp_path: Path) -> None:
    snr_probe.main(arguments(models, problems, tmp_path / "run", **{"batch-tokens": 1}))
    for one, other in zip(record_of(tmp_path / "run")["bins"], record_of(whole)["bins"], strict=True):
        assert one["snr_squared"] == pytest.approx(other["snr_squared"], rel=1e-8)


@pytest.mark.parametrize("options", [{"loss": "dense"}, {"checkpointing": "true"}], ids=str)
def test_the_dense_loss_and_recomputing_give_the_same_gradients(
    models: Path, problems: Path, whole: Path, tmp_path: Path, options: dict[str, str]
) -> None:
    """The default, which `whole` was made with, takes the fused loss."""
    assert record_of(whole)["config"]["loss"] == "fused"
    snr_probe.main(arguments(models, problems, tmp_path / "run", **{"rollouts-from": whole, **options}))
    for index in range(BINS):
        one, other = (load_sums(folder / "gradients" / f"bin-{index:03d}.npz") for folder in (tmp_path / "run", whole))
        np.testing.assert_allclose(one.norms_squared, other.norms_squared, rtol=1e-8)
        np.testing.assert_allclose(one.sketches, other.sketches, rtol=1e-4, atol=1e-6)
        assert one.sum_norm_squared == pytest.approx(other.sum_norm_squared, rel=1e-8)


def test_a_head_that_is_not_plain_needs_the_dense_loss(models: Path) -> None:
    student, teacher = (load_model(str(models / name), device="cpu", dtype="float64") for name in ("student", "teacher"))
    for whose, model in (("student", student.model), ("teacher", teacher.model)):
        model.lm_head.forward = model.lm_head.forward  # an instance's own, as what wraps a layer sets
        with pytest.raises(UserError, match=f"`loss` fused needs a plain linear head, and the {whose}'s .*; give `loss` dense"):
            loss_of(ProbeConfig(), student, teacher)
        assert isinstance(loss_of(ProbeConfig(loss="dense"), student, teacher)[0], ProblemLoss)
        del model.lm_head.forward


def test_killed_at_every_stage_the_run_ends_with_the_same_record(models: Path, problems: Path, whole: Path, tmp_path: Path) -> None:
    argv = arguments(models, problems, tmp_path / "killed")
    done = children.run("-m", "tests.support.kill_probe", *argv)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "killed" / "record.json").exists()
    snr_probe.main(argv)
    assert comparable(tmp_path / "killed") == comparable(whole)
    one, other = (ChunkStore(folder, "rollouts").rows() for folder in (tmp_path / "killed", whole))
    order = ["problem_id", "sample"]
    pd.testing.assert_frame_equal(one.sort_values(order, ignore_index=True), other.sort_values(order, ignore_index=True))


def test_a_full_disk_loses_nothing(
    models: Path, problems: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = arguments(models, problems, tmp_path / "run")
    save_bin = np.savez

    def full(file: Any, **arrays: Any) -> None:
        if "bin-002" in file.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "bin-002.npz")
        save_bin(file, **arrays)

    monkeypatch.setattr(np, "savez", full)
    line = refused(lambda: snr_probe.main(argv), capsys, bars=True)
    assert line.startswith("error: the disk is full while writing bin-002.npz; free some space and run the same command again")
    assert sorted(path.name for path in (tmp_path / "run" / "gradients").iterdir()) == ["bin-000.npz", "bin-001.npz"]
    monkeypatch.setattr(np, "savez", save_bin)
    monkeypatch.setattr("paced_exp.rollouts.engines.Engines.of", lambda *_, **__: NoEngine())
    snr_probe.main(argv)
    assert comparable(tmp_path / "run") == comparable(whole)
