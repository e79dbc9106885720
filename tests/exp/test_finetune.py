"""Adapters: fine-tuned from a seed, resumed to the same bytes, merged into their base as W + (alpha / rank) B A; facts and mentions beside them."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from paced_exp.core.errors import UserError
from paced_exp.data.lab.facts import CAPITALS, OPPOSITES
from paced_exp.data.sources import load_problems
from paced_exp.grading.grader import MAX_MENTION_CHARS, Grader, mentions
from paced_exp.lab import finetune as ours
from paced_exp.lab.finetune_recipes import FINETUNED, SHORT_TEMPLATE, FinetuneRecipe
from paced_exp.models.adapters import CONFIG, WEIGHTS
from paced_exp.models.lab_checkpoints import checkpoint_path
from paced_exp.models.loading import LoadedModel, load_model

pytest.importorskip("peft", reason="the package peft is not installed")

RECIPE = FinetuneRecipe(
    base="lab:student",
    levels={"gcd": (1, 2), "chain_sum": (1,)},
    template=None,
    updates=4,
    rows=6,
    rank=2,
    alpha=4,
    learning_rate=5e-3,
    warmup=1,
    replay_samples=6,
    replay_tokens=8,
    micro_tokens=128,
    save_every=2,
)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetune") / "run"
    return ours.finetune("tiny", RECIPE, folder, 1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACED_CACHE", str(tmp_path / "cache"))


def test_an_interrupted_run_ends_in_the_same_bytes(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(recipe: FinetuneRecipe, update: int, *rest: object) -> list[ours.Pair]:
        if update == 3:
            raise KeyboardInterrupt
        return texts(recipe, update, *rest)  # type: ignore[arg-type]

    texts = ours.update_texts
    with monkeypatch.context() as patched:
        patched.setattr(ours, "update_texts", stopped)
        with pytest.raises(KeyboardInterrupt):
            ours.finetune("tiny", RECIPE, tmp_path / "run", 1)
    again = ours.finetune("tiny", RECIPE, tmp_path / "run", 1)
    assert (again / WEIGHTS).read_bytes() == (adapter / WEIGHTS).read_bytes()
    losses = [[json.loads(line)["loss"] for line in (folder.parent / ours.METRICS).read_text().splitlines()] for folder in (adapter, again)]
    assert losses[0] == losses[1] and len(losses[0]) == RECIPE.updates


def test_in_bfloat16_the_losses_are_near_those_in_float32_and_the_adapter_is_written_alike(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, replay=0.0)  # the base's own samples would differ
    folders = [
        ours.finetune("tiny", dataclasses.replace(recipe, precision=precision), tmp_path / precision, 1)
        for precision in ("float32", "bf16")
    ]
    whole, half = ([json.loads(line)["loss"] for line in (folder.parent / ours.METRICS).read_text().splitlines()] for folder in folders)
    assert half == pytest.approx(whole, rel=0.1) and half != whole
    states = [load_file(folder / WEIGHTS) for folder in folders]
    assert all({value.dtype for value in state.values()} == {torch.float16} for state in states) and states[0].keys() == states[1].keys()
    assert json.loads((folders[1].parent / "record.json").read_text())["precision"] == "bf16"


def test_the_merged_weights_are_the_base_s_plus_the_product(adapter: Path) -> None:
    base, model = load_model("lab:student", device="cpu").model, load_model(str(adapter), device="cpu").model
    state = load_file(adapter / WEIGHTS)
    assert {value.dtype for value in state.values()} == {torch.float16} and not any("embed" in name for name in state)
    name = "model.layers.1.self_attn.q_proj"
    down, up = (state[f"base_model.model.{name}.lora_{part}.weight"].float() for part in "AB")
    expected = base.get_submodule(name).weight + RECIPE.alpha / RECIPE.rank * up @ down
    torch.testing.assert_close(model.get_submodule(name).weight, expected, rtol=1e-5, atol=1e-6)
    assert up.abs().max() > 0 and torch.equal(model.get_input_embeddings().weight, base.get_input_embeddings().weight)


def test_training_lowers_the_loss_and_the_record_has_what_was_lost(adapter: Path) -> None:
    record = json.loads((adapter.parent / "record.json").read_text())
    assert record["kind"] == ours.KIND and record["recipe"]["rank"] == 2
    own = record["loss_on_own_samples"]
    assert 0 < own["before"] < 10 and own["after"] > 0 and own["after"] != own["before"]
    model = load_model(str(adapter), device="cpu")
    texts = [
        text
        for update in range(RECIPE.updates)
        for text in ours.update_texts(RECIPE, update, model.tokenizer, [([1], [2])])
        if text != ([1], [2])
    ]
    before, after = (ours.mean_loss(each.model, texts, model.pad_id, 512) for each in (load_model("lab:student", device="cpu"), model))
    assert after < before


def test_the_loss_is_the_mean_over_response_tokens(adapter: Path) -> None:
    """By one pass a text without padding, over all logits."""
    model = load_model("lab:student", device="cpu")
    texts = [([5, 6, 7], [8, 9]), ([10], [11, 12, 13]), ([4, 4, 4, 4], [5])]
    total = 0.0
    for prompt, response in texts:
        logits = model.model(torch.tensor([prompt + response])).logits[0].detach().log_softmax(-1)
        total -= sum(float(logits[len(prompt) - 1 + place, token]) for place, token in enumerate(response))
    for micro_tokens in (1, 12, 512):
        assert ours.mean_loss(model.model, texts, model.pad_id, micro_tokens) == pytest.approx(total / 6, rel=1e-5)


def test_the_shares_of_texts_are_the_recipe_s() -> None:
    tokenizer = load_model("lab:student", device="cpu").tokenizer
    recipe = dataclasses.replace(RECIPE, rows=300, replay=0.4, privileged=0.5, concise=0.0)
    texts = ours.update_texts(recipe, 0, tokenizer, [([1], [2])])
    replayed = sum(text == ([1], [2]) for text in texts)
    privileged = sum("Expert solution" in tokenizer.decode(prompt) for prompt, _ in texts)
    assert replayed / 300 == pytest.approx(0.4, abs=4 * np.sqrt(0.24 / 300)) and privileged / (300 - replayed) == pytest.approx(
        0.5, abs=0.15
    )
    assert texts == ours.update_texts(recipe, 0, tokenizer, [([1], [2])]) != ours.update_texts(recipe, 1, tokenizer, [([1], [2])])
    assert all(response[-1] == tokenizer.eos_token_id for _, response in texts if response != [2])


def test_shares_choose_the_problems_and_solutions_are_spelt_out() -> None:
    tokenizer = load_model("lab:student", device="cpu").tokenizer
    recipe = dataclasses.replace(
        RECIPE,
        rows=300,
        levels={"chain_sum": (1, 3), "gcd": (2,)},
        shares={"chain_sum": (1, 4), "gcd": (0,)},
        solutions="digitwise",
        replay=0.0,
        privileged=0.0,
        concise=0.0,
    )
    lines = [tokenizer.decode(response).split("\n")[0].split(" = ") for _, response in ours.update_texts(recipe, 0, tokenizer, [])]
    of_two_digits = [sides for sides in lines if len(sides[0].split()[0]) == 2]
    assert len(of_two_digits) / 300 == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / 300))
    assert all(sides[0].split()[1] in "+-" for sides in lines)  # no gcd, whose work begins `a = q * b + r`
    assert max(len(sides) for sides in of_two_digits) == 3 and {len(sides) for sides in lines if sides not in of_two_digits} == {2}


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    recipe = dataclasses.replace(RECIPE, updates=10, warmup=4)
    rates = [ours.rate(recipe, update) / recipe.learning_rate for update in range(10)]
    np.testing.assert_allclose(rates, [0.25, 0.5, 0.75, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


def test_the_shipped_recipes_name_families_and_levels_that_exist() -> None:
    from paced_exp.data.lab.families import MATHEMATICS

    for recipe in FINETUNED.values():
        assert recipe.template == SHORT_TEMPLATE
        assert all(level <= len(MATHEMATICS[family].levels) for family, levels in recipe.levels.items() for level in levels)
        if recipe.shares is not None:
            assert {family: len(shares) for family, shares in recipe.shares.items()} == {
                f: len(levels) for f, levels in recipe.levels.items()
            }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "is of type IA3 .*take a LORA adapter"),
        ({"base_model_name_or_path": None}, "take a LORA adapter that names its base"),
        ({"megatron_config": {"a": 1}}, "sets megatron_config, which makes peft import modules"),
        ({"auto_mapping": {"parent_library": "os"}}, "sets auto_mapping, which makes peft import modules"),
        ({"base_model_name_or_path": "lab:teacher-none"}, "lab:teacher-none is not a lab model"),
    ],
)
def test_an_adapter_that_is_not_to_be_trusted_is_refused(adapter: Path, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    (folder / CONFIG).write_text(json.dumps(json.loads((folder / CONFIG).read_text()) | changes))
    with pytest.raises(UserError, match=message):
        load_model(str(folder), device="cpu")


def change_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_base_that_changed_is_merged_anew(adapter: Path, tmp_path: Path) -> None:
    """Weights, configuration, tokenizer or template; not what is said of it."""
    folder, base = shutil.copytree(adapter, tmp_path / "adapter"), shutil.copytree(checkpoint_path("student"), tmp_path / "base")
    change_json(folder / CONFIG, base_model_name_or_path=str(base))
    (folder / "chat_template.jinja").unlink()  # it would win over the base's

    def merged() -> tuple[Path, LoadedModel]:
        found = load_model(str(folder), device="cpu")
        return Path(found.model.name_or_path), found

    seen = [merged()]
    (base / "README.md").write_text("said anew")
    (base / "card.json").unlink()
    assert merged()[0] == seen[0][0]
    change_json(base / "config.json", rope_parameters={"rope_type": "default", "rope_theta": 123.0})
    seen.append(merged())
    change_json(base / "tokenizer_config.json", eos_token="<|user|>")
    seen.append(merged())
    (base / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }}!{% endfor %}")
    seen.append(merged())
    assert len({path for path, _ in seen}) == 4
    models = [model for _, model in seen]
    assert [model.model.config.rope_parameters["rope_theta"] for model in models] == [10000.0, 123.0, 123.0, 123.0]
    assert [model.tokenizer.eos_token for model in models] == ["<|end|>", "<|end|>", "<|user|>", "<|user|>"]
    assert ["!" in model.tokenizer.chat_template for model in models] == [False, False, False, True]
    assert len({model.fingerprint for model in models[:3]}) == 3


def test_a_damaged_adapter_is_one_line(adapter: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:200])
    with pytest.raises(UserError, match="does not fit its base") as caught:
        load_model(str(folder), device="cpu")
    assert "\n" not in str(caught.value)
    (folder / WEIGHTS).unlink()
    with pytest.raises(UserError, match=r"adapter_model\.safetensors is missing"):
        load_model(str(folder), device="cpu")
    (folder / CONFIG).write_text("no json")
    with pytest.raises(UserError, match="is no configuration of an adapter"):
        load_model(str(folder), device="cpu")


def test_facts_are_all_asked_once_and_graded_by_mention() -> None:
    problems = load_problems("lab:facts", seed=3)
    assert len(problems) == len(CAPITALS) + len(OPPOSITES) == len({problem.prompt for problem in problems})
    assert [p.id for p in problems] != [p.id for p in load_problems("lab:facts", seed=4)]
    france = next(problem for problem in problems if "France" in problem.prompt)
    with Grader() as grader:
        assert grader.grade([france] * 4, ["The capital of France is Paris.", "PARIS", "Parisian life", "Rome"]) == [
            True,
            True,
            False,
            False,
        ]


@given(st.text(max_size=40), st.sampled_from(["Rome", "New Delhi", "up"]), st.text(max_size=40))
def test_a_word_of_its_own_is_found_wherever_it_stands(before: str, gold: str, after: str) -> None:
    assert mentions(gold, f"{before} {gold.upper()} {after}") and not mentions(gold, f"{gold}x")
    assert not mentions(gold, f"{gold} " + "y" * MAX_MENTION_CHARS)
