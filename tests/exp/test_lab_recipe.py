"""Recipes and pretraining: seeded models, the rate schedule, losses against plain formulas, and runs that resume bit for bit."""

import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from paced_exp.core.checkpoints import last_whole
from paced_exp.core.errors import UserError
from paced_exp.data import prompts
from paced_exp.data.lab.splits import lab_problems
from paced_exp.lab import __main__ as command
from paced_exp.lab import pretrain
from paced_exp.lab.corpus import IGNORE, Batch, pool_texts
from paced_exp.lab.corpus import pool_batches as batches_of_texts
from paced_exp.lab.recipes import CONTEXT, GPU_SCALE, RECIPES, Recipe, build_model
from paced_exp.lab.tokenizer import END
from tests.support import children

TINY = Recipe(architecture="qwen3", hidden=32, layers=1, intermediate=32, heads=1, pools=3, seed=4, pool_size=32, tokens_per_step=512)
EVALUATED = 4


def pool_batches(recipe: Recipe, index: int, tokenizer: PreTrainedTokenizerFast) -> list[Batch]:
    return batches_of_texts(recipe, index, pool_texts(recipe, index), tokenizer)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Pretraining sets the number of threads; tests after it get theirs back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# ---- models


@pytest.mark.parametrize("architecture", ["qwen3", "llama"])
def test_models_come_from_the_recipes_seed_alone(architecture: Any, lab_tokenizer: PreTrainedTokenizerFast) -> None:
    recipe = replace(TINY, architecture=architecture)
    torch.manual_seed(1)
    expected_next = torch.rand(3)
    torch.manual_seed(1)
    one = build_model(recipe, lab_tokenizer)
    assert torch.equal(torch.rand(3), expected_next), "the caller's random state is left alone"
    other, reseeded = build_model(recipe, lab_tokenizer), build_model(replace(recipe, seed=5), lab_tokenizer)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not torch.equal(one.model.embed_tokens.weight, reseeded.model.embed_tokens.weight)
    assert one.config.model_type == architecture and one.lm_head.weight is one.model.embed_tokens.weight
    assert one.config.max_position_embeddings == CONTEXT and one.config.eos_token_id == lab_tokenizer.eos_token_id


@pytest.mark.parametrize(("recipes", "least", "most"), [(RECIPES, 500_000, 5_000_000), (GPU_SCALE, 20_000_000, 100_000_000)])
def test_models_have_their_scales_size_and_students_begin_as_their_teachers_run(
    recipes: dict[str, Recipe], least: int, most: int, lab_tokenizer: PreTrainedTokenizerFast
) -> None:
    for name, recipe in recipes.items():
        with torch.device("meta"):
            assert least < sum(parameter.numel() for parameter in build_model(recipe, lab_tokenizer).parameters()) < most
        if "student" in name:
            teacher = recipes[name.replace("student", "teacher")]
            assert replace(recipe, pools=teacher.pools, decay=teacher.decay, tail=0, tail_retention=teacher.tail_retention) == teacher
            shared = recipe.pools - recipe.tail
            assert 0 < shared < recipe.pools < (1 - teacher.decay) * teacher.pools, "the teacher's rate is still constant there"
            assert pretrain.rate(recipe, shared) == 1 and pretrain.rate(recipe, recipe.pools - recipe.tail / 2) == pytest.approx(0.5)
    seeds = {recipe.seed for name, recipe in recipes.items() if "teacher" in name}
    assert len(seeds) == 2


def test_the_tail_draws_more_retention_and_changes_nothing_before_it() -> None:
    recipe = replace(TINY, pools=10, tail=2, tail_retention=0.9, pool_size=400, retention=0.1)
    without = replace(recipe, tail=0)
    assert pool_texts(recipe, 7) == pool_texts(without, 7) and pool_texts(recipe, 8) != pool_texts(without, 8)

    def share(texts: list[tuple[str, str]], words: str) -> float:
        return sum(words in prompt for prompt, _ in texts) / len(texts)

    # number_filtering asks to keep or remove numbers "larger than" or "smaller than" one: 0.9 * (1/2 + 1/2 * 1/3), within 4 sigma.
    assert share(pool_texts(recipe, 8), "er than") == pytest.approx(0.6, abs=4 * (0.24 / 400) ** 0.5)
    assert share(pool_texts(recipe, 7), "er than") == pytest.approx(0.1 / 3, abs=4 * (0.0322 / 400) ** 0.5)


# ---- optimisation


def test_the_rate_warms_up_stays_and_falls_to_zero() -> None:
    recipe = replace(TINY, pools=100, decay=0.3)
    assert [pretrain.rate(recipe, done) for done in (0.0, 0.25, 1.0, 50.0, 70.0)] == pytest.approx([0, 0.25, 1, 1, 1])
    assert [pretrain.rate(recipe, done) for done in (85.0, 99.0, 100.0)] == pytest.approx([0.5, 1 / 30, 0.0])
    constant = replace(recipe, decay=0.0)
    assert [pretrain.rate(constant, done) for done in (0.5, 1.0, 99.5, 100.0)] == [0.5, 1.0, 1.0, 1.0]
    short = replace(TINY, pools=2, decay=1.0)  # warm-up and decay overlap: the lower of the two
    assert [pretrain.rate(short, done) for done in (0.5, 1.0, 1.5)] == pytest.approx([0.5, 0.5, 0.25])


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest(lab_tokenizer: PreTrainedTokenizerFast) -> None:
    model = build_model(TINY, lab_tokenizer)
    muon, adamw = pretrain.optimizers(model, TINY)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    taken = [sorted(names[id(p)] for group in optimizer.param_groups for p in group["params"]) for optimizer in (muon, adamw)]
    assert isinstance(muon, torch.optim.Muon) and isinstance(adamw, torch.optim.AdamW)
    assert sorted(taken[0] + taken[1]) == sorted(names.values()), "every parameter once"
    assert all("proj" in name for name in taken[0]) and all("norm" in name or "embed" in name for name in taken[1])
    assert [group["peak"] for optimizer in (muon, adamw) for group in optimizer.param_groups] == [TINY.muon_lr, TINY.adam_lr]


def test_the_loss_is_the_mean_over_response_tokens(lab_tokenizer: PreTrainedTokenizerFast) -> None:
    model, batch = build_model(TINY, lab_tokenizer), pool_batches(TINY, 0, lab_tokenizer)[0]
    with torch.no_grad():
        logits = model(input_ids=batch.ids).logits
    total, count = 0.0, 0
    for row, position in itertools.product(range(len(batch.ids)), range(batch.ids.shape[1])):
        if batch.labels[row, position] != IGNORE:
            total -= float(logits[row, position].log_softmax(-1)[batch.labels[row, position]])
            count += 1
    assert pretrain.response_loss(model, batch).item() == pytest.approx(total / count, rel=1e-5)


def test_solution_probability_is_the_product_over_its_tokens(
    lab_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain, "EVALUATION_PROBLEMS", 5)
    model = build_model(TINY, lab_tokenizer)
    expected = 0.0
    for problem in itertools.islice(lab_problems("retention", pretrain.EVALUATION_SEED), 5):
        prompt = prompts.prompt_ids(lab_tokenizer, problem, "plain")
        response = lab_tokenizer(f"{problem.solution}{END}", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            log_p = F.log_softmax(model(torch.tensor([prompt + response])).logits[0], -1)
        expected += float(sum(log_p[len(prompt) - 1 + i, token] for i, token in enumerate(response)).exp()) / 5
    found = pretrain.solution_probability(model, lab_tokenizer, "retention", "plain")
    assert 0 < found == pytest.approx(expected, rel=1e-3)


# ---- runs


def run_tiny(folder: Path) -> Path:
    return pretrain.pretrain("student", TINY, folder, threads=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("pretrain") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain, "EVALUATION_PROBLEMS", EVALUATED)
        assert run_tiny(folder) == folder / "checkpoint"
    return folder


def lines_without_time(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(folder: Path, other: Path) -> None:
    one, two = (load_file(path / "checkpoint" / "model.safetensors") for path in (folder, other))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert lines_without_time(folder) == lines_without_time(other)
    states = [torch.load(last_whole(path / "training") / pretrain.STATE, weights_only=True) for path in (folder, other)]
    assert states[0]["pools"] == states[1]["pools"] == TINY.pools
    assert all(torch.equal(states[0]["model"][name], states[1]["model"][name]) for name in states[0]["model"])
    assert (folder / "record.json").exists()


def test_a_run_learns_logs_and_writes_a_checkpoint_and_a_record(whole: Path, lab_tokenizer: PreTrainedTokenizerFast) -> None:
    lines = lines_without_time(whole)
    assert [line["pool"] for line in lines] == [1, 2, 3]
    assert lines[-1]["loss"] < lines[0]["loss"] and all(
        0 <= line[key] <= 1 for line in lines for key in ("plain", "privileged", "retention")
    )
    weights = load_file(whole / "checkpoint" / "model.safetensors")
    assert all(tensor.dtype == torch.bfloat16 for tensor in weights.values())
    assert PreTrainedTokenizerFast.from_pretrained(whole / "checkpoint").get_vocab() == lab_tokenizer.get_vocab()
    record = json.loads((whole / "record.json").read_text())
    assert record["recipe"]["seed"] == 4 and record["seconds"] > 0 and record["versions"]["torch"].startswith("2.")


@pytest.mark.parametrize("pool", [1, 3])
def test_stopped_between_a_pools_line_and_its_state_it_resumes_bit_for_bit(
    pool: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain, "EVALUATION_PROBLEMS", EVALUATED)
    save, folder = pretrain._save_state, tmp_path / "run"

    def stop(path: Path, model: Any, made: Any, pools: int) -> None:
        if pools == pool:
            with (folder / "metrics.jsonl").open("a") as file:
                file.write('{"pool": ')  # and a line cut in two besides
            raise KeyboardInterrupt
        save(path, model, made, pools)

    monkeypatch.setattr(pretrain, "_save_state", stop)
    with pytest.raises(KeyboardInterrupt):
        run_tiny(folder)
    monkeypatch.setattr(pretrain, "_save_state", save)
    run_tiny(folder)
    assert_same_run(folder, whole)


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from tests.exp.test_lab_recipe import EVALUATED, TINY, pretrain

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def in_a_step(folder):  # the second pool's second step
    loss, calls = pretrain.response_loss, []
    def counted(*arguments):
        calls.append((folder / "training" / "checkpoint-1").exists())
        return kill() if sum(calls) == 2 else loss(*arguments)
    pretrain.response_loss = counted

def while_saving(folder):  # the second pool's state, half written
    save = torch.save
    def half(value, file):
        save(value, file)
        if value["pools"] == 2:
            file.truncate(file.tell() // 2)
            file.flush()
            kill()
    torch.save = half

pretrain.EVALUATION_PROBLEMS = EVALUATED
for point in (in_a_step, while_saving):
    folder = Path(sys.argv[1]) / point.__name__
    pid = os.fork()
    if pid == 0:
        point(folder)
        pretrain.pretrain("student", TINY, folder, threads=1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL, point
"""


def test_killed_with_sigkill_it_resumes_bit_for_bit(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "EVALUATION_PROBLEMS", EVALUATED)
    done = children.run("-c", KILLED, tmp_path)
    assert done.returncode == 0, done.stderr
    for folder in sorted(tmp_path.iterdir()):
        assert len(lines_without_time(folder)) == {"in_a_step": 1, "while_saving": 2}[folder.name] and not (folder / "record.json").exists()
        run_tiny(folder)
        assert_same_run(folder, whole)


def test_a_finished_run_is_not_trained_again(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paced_exp.lab.corpus.pool_texts", None)
    before = load_file(whole / "checkpoint" / "model.safetensors")
    run_tiny(whole)
    after = load_file(whole / "checkpoint" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_processes_that_make_the_examples_change_no_number(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "EVALUATION_PROBLEMS", EVALUATED)
    pretrain.pretrain("student", TINY, tmp_path / "run", threads=1, workers=2)
    assert_same_run(tmp_path / "run", whole)


def test_harder_recipes_draw_every_level_of_their_own_splits() -> None:
    recipe = replace(GPU_SCALE["gpu-teacher"], pool_size=400, retention=0.0)
    longest = max(len(response) for _, response in pool_texts(recipe, 0))
    assert longest > 1.3 * max(len(response) for _, response in pool_texts(replace(recipe, harder=False), 0))
    assert (recipe.data, recipe.problems) == ("harder-pretrain", "harder-train")


def test_the_folder_of_another_recipe_is_refused(whole: Path) -> None:
    with pytest.raises(UserError, match=r"differing: muon_lr \(0.006 there, 0.001 now\)"):
        pretrain.pretrain("student", replace(TINY, muon_lr=1e-3), whole, threads=1)


# ---- the command


def test_the_command_runs_the_named_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []

    def remember(*arguments: Any, **options: Any) -> Path:
        asked.append((*arguments, options))
        return tmp_path / "checkpoint"

    monkeypatch.setattr(pretrain, "pretrain", remember)
    command.main(["pretrain", "student-llama", "--threads", "1"])
    command.main(["pretrain", "teacher", "--out", str(tmp_path)])
    command.main(["pretrain", "gpu-teacher", "--out", str(tmp_path), "--workers", "3"])
    assert asked == [
        ("student-llama", RECIPES["student-llama"], Path("runs/lab/student-llama"), 1, {"device": "cpu", "workers": 0}),
        ("teacher", RECIPES["teacher"], tmp_path, 2, {"device": "cpu", "workers": 0}),
        ("gpu-teacher", GPU_SCALE["gpu-teacher"], tmp_path, 2, {"device": "cpu", "workers": 3}),
    ]
    assert capsys.readouterr().out == f"{tmp_path / 'checkpoint'}\n" * 3
    with pytest.raises(UserError, match="--workers -1 must be at least 0"):
        command.main(["pretrain", "teacher", "--workers", "-1"])
    with pytest.raises(UserError, match="--device tpu is not known; known: auto, cpu, cuda, cuda:N"):
        command.main(["pretrain", "teacher", "--device", "tpu"])
    with pytest.raises(UserError, match="--threads 0 must be at least 1"):
        command.main(["pretrain", "teacher", "--threads", "0"])
    with pytest.raises(UserError, match=r"`name` professor is not known; known: teacher, student, .*gpu-student-llama"):
        command.main(["pretrain", "professor"])
    with pytest.raises(UserError, match="the following arguments are required: name"):
        command.main(["card"])


def test_a_damaged_state_is_named_and_the_one_before_it_is_taken(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pretrain, "EVALUATION_PROBLEMS", EVALUATED)
    shutil.copytree(whole, tmp_path / "run")
    path = tmp_path / "run" / "training" / "checkpoint-3" / pretrain.STATE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)
    (tmp_path / "run" / pretrain.STATE).write_bytes(b"of an older version")
    (tmp_path / "run" / "record.json").unlink()
    run_tiny(tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)
    said = capsys.readouterr().err
    assert f"checkpoint-3 is damaged: {pretrain.STATE} is not as it was written" in said and "the run goes on from checkpoint-2" in said
    assert f"{pretrain.STATE} was written by an older version without a checksum; it is not read" in said
