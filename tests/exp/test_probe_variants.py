"""Variants of the probe: other divergences, responses, reductions, parts of the model; rollouts taken over from an earlier run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paced_exp import snr_probe
from paced_exp.data.prompts import prompt_ids
from paced_exp.data.sources import load_problems
from paced_exp.grading import grader as grading
from paced_exp.models.loading import LoadedModel, load_model
from paced_exp.probe import measurement
from paced_exp.probe import run as probe_run
from paced_exp.rollouts.references import read_references, solution_ids
from paced_exp.rollouts.store import ChunkStore
from tests.support.graders import HashGrader
from tests.support.probe_setup import PER_BIN, K, NoEngine, arguments, comparable, config_of, record_of, refused, rows, write_rows

pytestmark = pytest.mark.usefixtures("hash_grader")


def test_fewer_problems_than_wanted_are_used_and_said(models: Path, tmp_path: Path) -> None:
    few = write_rows(tmp_path / "few.jsonl", rows()[:25])
    record = probe_run.run_probe(config_of(arguments(models, few, tmp_path / "run", **{"max-problems": 24})))
    assert record["rollouts"]["problems_drawn"] == 24 and record["rollouts"]["full"] is False
    assert sum(record["rollouts"]["offered"]) == 24
    assert [row["n"] for row in record["bins"]] == [count for count in record["rollouts"]["kept"] if count >= 3]


@pytest.mark.parametrize("divergence", ["reverse_kl", "cross_entropy"])
def test_other_divergences(divergence: str, models: Path, problems: Path, whole: Path, tmp_path: Path) -> None:
    record = probe_run.run_probe(config_of(arguments(models, problems, tmp_path / "run", divergence=divergence)))
    assert [row["n"] for row in record["bins"]] == [row["n"] for row in record_of(whole)["bins"]]
    assert [row["snr"] for row in record["bins"]] != [row["snr"] for row in record_of(whole)["bins"]]


def test_problems_without_a_reference_drop_out_of_their_bin(
    models: Path, problems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Never(HashGrader):
        """Passes no candidate of the teacher's for some problems: those that hold a 7."""

        def grade(self, problems: list[Any], responses: list[str]) -> list[bool]:
            student = len(responses) == K
            return [passed and (student or "7" not in problems[0].prompt) for passed in super().grade(problems, responses)]

    monkeypatch.setattr(grading, "Grader", Never)
    changes = {"fallback": "drop", "candidates": 9, "bins": 2, "per-bin": 15}
    record = probe_run.run_probe(config_of(arguments(models, problems, tmp_path / "run", **changes)))
    references = read_references(ChunkStore(tmp_path / "run", "references"))
    passes = ChunkStore(tmp_path / "run", "rollouts").rows().groupby("problem_id")["correct"].sum()
    assert record["references"]["none"] > 0 and record["references"]["solution"] == 0
    for low, row in zip((True, False), record["bins"], strict=True):
        used = [passes[name] for name, reference in references.items() if reference.token_ids and (passes[name] < K / 2) == low]
        assert row["n"] == len(used) and row["pass_rate"] == pytest.approx(np.mean(used) / K), "of the problems whose gradients were taken"


def members(folder: Path) -> dict[int, list[str]]:
    """Ids of the kept problems by their number of passes."""
    passes = ChunkStore(folder, "rollouts").rows().groupby("problem_id")["correct"].sum()
    kept = [problem.id for problem in load_problems(str(folder / "problems.parquet"))]
    return {k: [name for name in kept if passes[name] == k] for k in range(K + 1)}


def log_probabilities(model: LoadedModel, prompt: list[int], response: list[int]) -> torch.Tensor:
    """log pi (R, V) at each token of the response, from a forward pass of its own."""
    logits: torch.Tensor = model.model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)


def test_on_the_worked_solution_and_on_rollouts_of_the_students_own(models: Path, problems: Path, whole: Path, tmp_path: Path) -> None:
    student, teacher = (load_model(str(models / name), device="cpu", dtype="float64") for name in ("student", "teacher"))
    by_id = {problem.id: problem for problem in load_problems(str(problems))}
    for kind, divergence in (("solution", "cross_entropy"), ("rollout", "reverse_kl")):
        out = tmp_path / kind
        record = probe_run.run_probe(config_of(arguments(models, problems, out, response=kind, divergence=divergence)))
        assert members(out) == members(whole) and not (out / "references.jsonl").exists()
        assert record["references"][{"solution": "solution", "rollout": "student"}[kind]] == sum(row["n"] for row in record["bins"])
        if kind == "rollout":
            fresh = ChunkStore(out, "responses").rows()
            first = ChunkStore(out, "rollouts").rows().drop_duplicates("problem_id").set_index("problem_id")["token_ids"]
            assert any(list(ids) != list(first[name]) for name, ids in zip(fresh["problem_id"], fresh["token_ids"], strict=True))
            answers = {name: list(ids) for name, ids in zip(fresh["problem_id"], fresh["token_ids"], strict=True)}
        else:
            answers = {name: solution_ids(by_id[name], student) for names in members(out).values() for name in names}
        # The squared norm of each problem's gradient, by one backward pass a problem.
        norms = []
        for name in members(out)[1]:
            log_s, log_t = (
                log_probabilities(model, prompt_ids(student.tokenizer, by_id[name], prompt), answers[name])
                for model, prompt in ((student, "plain"), (teacher, "privileged"))
            )
            if divergence == "cross_entropy":
                loss = torch.nn.functional.nll_loss(log_s, torch.tensor(answers[name]))
            else:
                loss = torch.nn.functional.kl_div(log_t, log_s, reduction="sum", log_target=True) / len(answers[name])
            norms.append(sum(float(g.square().sum()) for g in torch.autograd.grad(loss, list(student.model.parameters()))))
        assert sorted(norms) == pytest.approx(sorted(measurement.load_sums(out / "gradients" / "bin-001.npz").norms_squared), rel=1e-6)


def test_a_sum_over_tokens_is_the_mean_times_their_number(models: Path, problems: Path, whole: Path, tmp_path: Path) -> None:
    probe_run.run_probe(config_of(arguments(models, problems, tmp_path / "run", reduction="sum", **{"batch-tokens": 1})))
    probe_run.run_probe(config_of(arguments(models, problems, tmp_path / "mean", **{"batch-tokens": 1})))
    references = read_references(ChunkStore(whole, "references"))
    student = load_model(str(models / "student"), device="cpu", dtype="float64")
    by_id = {problem.id: problem for problem in load_problems(str(problems))}

    def total(name: str) -> int:
        return len(prompt_ids(student.tokenizer, by_id[name])) + len(references[name].token_ids)

    for k, names in members(whole).items():
        lengths = np.array([len(references[name].token_ids) for name in sorted(names, key=total)])
        summed, mean = (measurement.load_sums(tmp_path / folder / "gradients" / f"bin-{k:03d}.npz") for folder in ("run", "mean"))
        assert summed.norms_squared == pytest.approx(mean.norms_squared * lengths**2, rel=1e-6)


def test_restricted_to_one_layer_the_other_coordinates_are_gone(models: Path, problems: Path, whole: Path, tmp_path: Path) -> None:
    probe_run.run_probe(config_of(arguments(models, problems, tmp_path / "run", only="model.layers.1", **{"batch-tokens": 1})))
    layer, everything = (measurement.load_sums(folder / "gradients" / "bin-001.npz") for folder in (tmp_path / "run", whole))
    assert (sorted(layer.norms_squared) < np.sort(everything.norms_squared)).all() and (layer.norms_squared > 0).all()


def test_rollouts_of_an_earlier_run_are_taken_over(
    models: Path, problems: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"per-bin": PER_BIN - 1}
    probe_run.run_probe(config_of(arguments(models, problems, tmp_path / "alone", **few)))
    monkeypatch.setattr("paced_exp.rollouts.engines.Engines.of", lambda *_, **__: NoEngine())
    probe_run.run_probe(config_of(arguments(models, problems, tmp_path / "after", **few, **{"rollouts-from": whole})))
    alone, after = (comparable(tmp_path / name) for name in ("alone", "after"))
    assert after["config"].pop("rollouts_from") == str(whole) and alone["config"].pop("rollouts_from") is None
    assert after == alone


def test_rollouts_in_another_precision_are_those_of_models_loaded_in_it_and_gradients_are_not(
    models: Path, problems: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a probe samples is what a probe with `dtype` bfloat16 samples; what it differentiates are the models in `dtype`."""
    differentiated: list[torch.dtype] = []

    def spy(config: Any, run: Any, bins: Any, found: Any, references: Any, student: LoadedModel, teacher: LoadedModel) -> Any:
        differentiated.extend((student.model.dtype, teacher.model.dtype))
        return measurement.bin_gradients(config, run, bins, found, references, student, teacher)

    monkeypatch.setattr(probe_run, "bin_gradients", spy)
    mixed = arguments(models, problems, tmp_path / "mixed", **{"rollout-dtype": "bfloat16"})
    half = arguments(models, problems, tmp_path / "half", dtype="bfloat16")
    for argv in (mixed, half):
        probe_run.run_probe(config_of(argv))
    assert differentiated == [torch.float64, torch.float64, torch.bfloat16, torch.bfloat16]
    for name in ("rollouts", "references"):
        one, other = (ChunkStore(tmp_path / folder, name).rows() for folder in ("mixed", "half"))
        assert len(one) > 0 and list(map(list, one["token_ids"])) == list(map(list, other["token_ids"]))
    wide = {tuple(ids) for ids in ChunkStore(whole, "rollouts").rows()["token_ids"]}
    assert {tuple(ids) for ids in ChunkStore(tmp_path / "mixed", "rollouts").rows()["token_ids"]} != wide, "rounding changes some responses"
    monkeypatch.setattr("paced_exp.rollouts.engines.Engines.of", lambda *_, **__: NoEngine())
    again = {"rollout-dtype": "bfloat16", "rollouts-from": tmp_path / "half"}
    probe_run.run_probe(config_of(arguments(models, problems, tmp_path / "again", **again)))
    mine, theirs = (comparable(tmp_path / name) for name in ("again", "mixed"))
    assert mine["bins"] == theirs["bins"], "rollouts in the same precision are taken over, whichever option named it"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"response": "dream"}, "--response dream is not known; known: reference, solution, rollout"),
        ({"reduction": "max"}, "--reduction max is not known; known: mean, sum"),
        ({"rollouts-from": "nowhere"}, "--rollouts-from nowhere is no folder of a probe"),
        ({"rollouts-from": "WHOLE", "K": 3, "bins": 4}, "rolled out with another K; name a run that agrees"),
        ({"rollouts-from": "WHOLE", "seed": 9, "student": "TEACHER"}, "rolled out with another seed, student; name a run that agrees"),
        ({"rollouts-from": "WHOLE", "rollout-dtype": "float32"}, "rolled out with another rollout_dtype; name a run that agrees"),
        ({"rollout-dtype": "float16"}, "--rollout-dtype float16 is not known; known: auto, float32, bfloat16, float64"),
        ({"rollout-dtype": "bfloat16", "engine": "vllm"}, "--rollout-dtype bfloat16 applies to --engine hf alone; vllm samples in --dtype"),
    ],
)
def test_bad_options(
    changes: dict[str, Any], message: str, models: Path, problems: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"WHOLE": str(whole), "TEACHER": str(models / "teacher")}
    changes = {key: names.get(str(value), value) for key, value in changes.items()}
    assert message in refused(lambda: snr_probe.main(arguments(models, problems, tmp_path / "run", **changes)), capsys)
    assert not (tmp_path / "run").exists()


def test_a_layer_that_is_not_there(models: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = arguments(models, problems, tmp_path / "run", only="model.layers.9")
    assert "'model.layers.9' is no parameter or module of the model" in refused(lambda: snr_probe.main(argv), capsys, bars=True)
