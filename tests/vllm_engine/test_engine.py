"""The vllm engine's life: weights swapped in place, several replicas, death, errors in one line, nothing left behind."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paced_exp.core.errors import UserError
from paced_exp.grading.grader import Grader
from paced_exp.models.loading import load_model
from paced_exp.rollouts.collect import collect
from paced_exp.rollouts.engine import Prompt, Sampling
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.hf import HFEngine
from paced_exp.rollouts.options import EngineOptions
from paced_exp.rollouts.store import ChunkStore
from paced_exp.rollouts.vllm import VLLMEngine
from paced_exp.rollouts.vllm_install import installed_vllm
from tests.support.children import gone
from tests.support.rollout_runs import prompts_of, run


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_in_training_is_sampled_with_its_new_weights(tied: bool, problems: Any) -> None:
    model = load_model("lab:student", device="cpu")
    assert model.model.config.tie_word_embeddings
    if not tied:
        model.model.config.tie_word_embeddings = False
        model.model.lm_head.weight = torch.nn.Parameter(model.model.lm_head.weight.detach().clone())
    engines = Engines(EngineOptions(engine="vllm"))
    prompts = prompts_of(problems[:40], model)

    def agreement() -> float:
        hf, vllm = (run(each, prompts, temperature=0.0) for each in (HFEngine(model), engines.of(model, live=True)))
        outputs.append(vllm)
        return float(np.mean([hf[key].token_ids == vllm[key].token_ids for key in hf]))

    outputs: list[Any] = []
    assert agreement() >= 0.95
    engine: Any = engines.of(model, live=True)
    first = engine.pids
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter += 0.15 * parameter.std() * torch.randn(parameter.shape, generator=generator)
    assert agreement() >= 0.95
    assert (engine.pids == first) == (installed_vllm().device == "cuda" or not tied)  # swapped in place, or a new process
    assert np.mean([outputs[0][key].token_ids == outputs[1][key].token_ids for key in outputs[0]]) < 0.9
    engines.close()
    assert gone(first[0]) and engine.pids == []


@pytest.mark.parametrize("layout", [{"data_parallel_size": 2}, {"tensor_parallel_size": 2}])
def test_replicas_and_split_models_give_the_same_rollouts(layout: dict[str, int], engine: Any, student: Any, problems: Any) -> None:
    prompts = prompts_of(problems[:30], student)
    alone, parted = run(engine, prompts, samples=4), VLLMEngine(student, layout)
    found = run(parted, prompts, samples=4)
    assert len(parted.pids) == layout.get("data_parallel_size", 1)
    assert np.mean([rollout == alone[key] for key, rollout in found.items()]) >= 0.97
    parted.stop()


def test_an_engine_that_dies_is_one_line_and_loses_nothing(engine: Any, student: Any, problems: Any, tmp_path: Path) -> None:
    dying, some = VLLMEngine(student, {"max_num_seqs": 8}), problems[:60]
    store = ChunkStore(tmp_path, "rollouts")
    asked = Sampling(4, 64, temperature=1.0, seed=0)
    with Grader() as grader:
        rollouts = collect(some, student, dying, grader, store, asked)
        next(rollouts)
        os.kill(dying.pids[0], signal.SIGKILL)
        with pytest.raises(UserError, match=r"the vLLM engine was killed by signal 9; .* run the same command again to continue") as raised:
            list(rollouts)
        log = Path(str(raised.value).split("its log: ")[1].rstrip(")"))
        assert "\n" not in str(raised.value) and log.exists()
        log.unlink()
        finished = ChunkStore(tmp_path, "rollouts").done_ids()
        assert 1 <= len(finished) < len(some)
        before = store.path.read_bytes()
        store = ChunkStore(tmp_path, "rollouts")
        made = [rows[0]["problem_id"] for rows in collect(some, student, engine, grader, store, asked)]
    assert not finished & set(made) and finished | set(made) == {problem.id for problem in some}
    assert store.path.read_bytes().startswith(before)


def test_stopped_halfway_it_starts_anew_and_leaves_no_process_and_no_file(
    student: Any, problems: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    engine, prompts = VLLMEngine(student, {"max_num_seqs": 4}), prompts_of(problems[:40], student)
    rollouts: Any = engine.generate(prompts, Sampling(2, 64, temperature=1.0, seed=0))
    first = engine.pids[0]
    next(rollouts)
    rollouts.close()  # as when an error elsewhere ends the run
    assert gone(first) and engine.pids == []
    assert len(run(engine, prompts[:2])) == 2
    second = engine.pids[0]
    del engine
    deadline = time.monotonic() + 10
    while not gone(second) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(second) and list(tmp_path.iterdir()) == []


def refused(engine: Any, prompts: list[Prompt], **options: Any) -> str:
    with pytest.raises(UserError) as raised:
        engine.generate(prompts, Sampling(**{"samples": 1, "max_new_tokens": 8, "temperature": 1.0, "seed": 0, **options}))
    line = str(raised.value)
    assert "\n" not in line and len(line) < 700
    if "its log: " in line:
        Path(line.split("its log: ")[1].rstrip(")")).unlink()
    return line


def test_requests_without_sense_are_refused_at_once(engine: Any, student: Any) -> None:
    one = [Prompt("p", [5, 6])]
    assert "has 512 tokens, but the model's context is 512" in refused(engine, [Prompt("p", [5] * 512)])
    assert "at most 12 new tokens fit" in refused(engine, [Prompt("p", [5] * 500)], max_new_tokens=13)
    assert refused(engine, one, max_new_tokens=0) == "`max_new_tokens` 0 must be at least 1"
    assert "`K` 16385 is above vLLM's limit of 16384 samples a prompt" in refused(engine, one, samples=16385)
    assert "outside the model's 543 embeddings" in refused(engine, [Prompt("p", [543])])
    assert list(engine.generate([], Sampling(1, 8, temperature=1.0, seed=0))) == []


def test_an_engines_own_context_counts(student: Any) -> None:
    short = VLLMEngine(student, {"max_model_len": 32})
    assert "at most 30 new tokens fit" in refused(short, [Prompt("p", [5, 6])], max_new_tokens=31)


def test_a_model_that_vllm_does_not_know(student: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(student.model.name_or_path, folder)
    known = load_model(str(folder), device="cpu")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["NeverHeardOfForCausalLM"], "model_type": "never_heard_of"}))
    line = refused(VLLMEngine(known), [Prompt("p", [5, 6])])
    assert line.startswith("vLLM: ") and "never_heard_of" in line


def test_a_type_that_vllm_does_not_compute_in() -> None:
    engines = Engines(EngineOptions(engine="vllm", dtype="float64"))
    with pytest.raises(UserError, match="`dtype` float64 is not for `engine` vllm; take float32, float16, bfloat16"):
        engines.of(engines.load("lab:student"))
