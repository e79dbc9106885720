"""The card of an adapter: its gates, measured on a tiny adapter end to end, and of the shipped ones as their cards say."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json
from paced_exp.lab import __main__ as command
from paced_exp.lab import adapter_card as cards
from paced_exp.lab import finetune as training
from paced_exp.lab.finetune_recipes import FINETUNED, FinetuneRecipe
from paced_exp.models.lab_checkpoints import ADAPTERS, adapter_path
from paced_exp.models.loading import load_model

GOOD: dict[str, Any] = {
    "easier-pool": {"pass_rate": 0.45, "share_in_each_fifth": [0.3, 0.1, 0.04, 0.1, 0.46]},
    "easier-pool, privileged": {"pass_rate": 0.93},
}
KEPT: dict[str, Any] = {
    "capitals": {"adapter": 0.25, "base": 0.33},
    "opposites": {"adapter": 0.3, "base": 0.4},
    "loss_on_own_samples": {"adapter": 2.6, "base": 2.42},
}

# ---- gates


def failing(name: str, measured: dict[str, Any], retention: dict[str, Any]) -> list[str]:
    return [gate.what for gate in cards.gates(name, measured, retention) if not gate.passed]


def test_a_good_student_passes_all_gates_and_is_no_teacher() -> None:
    assert failing("smollm2-student", GOOD, KEPT) == [] and len(cards.gates("smollm2-student", GOOD, KEPT)) == 6
    assert failing("smollm2-teacher", GOOD, KEPT) == ["pass rate"]
    teacher = {**GOOD, "easier-pool": {"pass_rate": 0.85, "share_in_each_fifth": [0.0] * 5}}
    assert failing("smollm2-teacher", teacher, KEPT) == [] and len(cards.gates("smollm2-teacher", teacher, KEPT)) == 4


@pytest.mark.parametrize(
    ("where", "value", "what"),
    [
        (("easier-pool", "pass_rate"), 0.29, "pass rate"),
        (("easier-pool", "pass_rate"), 0.61, "pass rate"),
        (("easier-pool", "share_in_each_fifth"), [0.3, 0.1, 0.03, 0.1, 0.47], "smallest share"),
        (("easier-pool, privileged", "pass_rate"), 0.89, "pass rate with the solution"),
        (("capitals", "adapter"), 0.19, "pass rate on capitals"),
        (("opposites", "adapter"), 0.23, "pass rate on opposites"),
        (("loss_on_own_samples", "adapter"), 2.73, "loss on the base's own samples"),
    ],
)
def test_each_gate_fails_by_its_own_number(where: tuple[str, str], value: Any, what: str) -> None:
    measured, retention = copy.deepcopy(GOOD), copy.deepcopy(KEPT)
    (measured if where[0] in measured else retention)[where[0]][where[1]] = value
    (failed,) = failing("smollm2-student", measured, retention)
    assert failed.startswith(what)


# ---- a tiny adapter, end to end

RECIPE = FinetuneRecipe(
    base="lab:student",
    levels={"gcd": (1, 2), "chain_sum": (1,)},
    template=None,
    updates=2,
    rows=4,
    rank=2,
    alpha=4,
    warmup=1,
    replay_samples=4,
    replay_tokens=8,
    micro_tokens=128,
    save_every=2,
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an adapter with its card, from few problems."""
    pytest.importorskip("peft", reason="the package peft is not installed")
    folder = tmp_path_factory.mktemp("card")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACED_CACHE", str(folder / "cache"))
        patch.setitem(FINETUNED, "smollm2-student", RECIPE)
        patch.setattr(cards, "SIZES", dict.fromkeys(cards.SIZES, 5))
        adapter = training.finetune("smollm2-student", RECIPE, folder / "run", 1)
        before = load_model(str(adapter), device="cpu").fingerprint
        with pytest.raises(SystemExit) as left:
            command.main(["card", "smollm2-student", "--checkpoint", str(adapter)])
        assert left.value.code == 1, "an adapter of two updates passes no gates"
        # The card changes nothing of what the adapter is, and it is not merged anew.
        assert load_model(str(adapter), device="cpu").fingerprint == before and len(list((folder / "cache" / "adapters").iterdir())) == 1
    return adapter


def test_the_card_holds_what_was_measured(measured: Path) -> None:
    card = read_json(measured / "card.json")
    assert card["recipe"] == json.loads(json.dumps(card["recipe"])) and card["recipe"]["levels"] == {"gcd": [1, 2], "chain_sum": [1]}
    assert set(card["measured"]) == {"easier-pool", "easier-pool, privileged", "easier-mid", "easier-hard-a", "easier-hard-b"}
    for row in card["measured"].values():
        assert row["problems"] == 5 and 0 <= row["pass_rate"] <= 1 and row["response_tokens"] > 0
    assert sum(card["measured"]["easier-pool"]["share_in_each_fifth"]) == pytest.approx(1)
    assert [gate["passed"] for gate in card["gates"]] == [
        gate.passed for gate in cards.gates(card["name"], card["measured"], card["retention"])
    ]
    assert card["adapter_bytes"] == (measured / "adapter_model.safetensors").stat().st_size and card["training"]["seconds"] > 0
    assert (measured / "README.md").read_text() == cards.markdown(card) and "**not passed**" in cards.markdown(card)


def test_a_card_says_how_often_levels_come_and_how_solutions_are_written(measured: Path) -> None:
    card = read_json(measured / "card.json")
    assert "Per cent" not in cards.markdown(card) and "digit by digit" not in cards.markdown(card)
    card["recipe"] |= {"solutions": "digitwise", "shares": {"gcd": [0, 3], "chain_sum": [1]}}
    text = cards.markdown(card)
    assert "- Per cent of its problems, by family and level: gcd 0, 75; chain_sum 25\n" in text and "digit by digit" in text


def test_the_loss_on_own_samples_is_that_of_the_training_record(measured: Path) -> None:
    """Drawn again in another run, the held-out samples are the same: so is the base's loss on them, and the adapter's up to float16."""
    own, trained = (
        read_json(measured / "card.json")["retention"]["loss_on_own_samples"],
        read_json(measured.parent / "record.json")["loss_on_own_samples"],
    )
    assert own["base"] == pytest.approx(trained["before"], abs=1e-3) and own["adapter"] == pytest.approx(trained["after"], abs=5e-3)


def test_capitals_and_opposites_are_counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a grader's counts made up: the base knows all capitals, the adapter half of the opposites."""

    def counts(model: str, grader: object, problems: list[Any], kind: str, **_: Any) -> tuple[np.ndarray, float]:
        knows = {"base": {"capital": 10, "opposite": 0}, "adapter": {"capital": 0, "opposite": 5}}[model]
        return np.array([knows[problem.metadata["family"]] for problem in problems]), 3.0

    class Named(str):
        model, pad_id = None, 0

    monkeypatch.setattr(cards, "pass_counts", counts)
    monkeypatch.setattr(cards, "own_samples", lambda base, recipe: [([1], [2])])
    monkeypatch.setattr(cards, "mean_loss", lambda *_: 1.0)
    found = cards.measure_retention(Named("adapter"), Named("base"), RECIPE)  # type: ignore[arg-type]
    assert found["capitals"] == {"problems": 60, "adapter": 0.0, "base": 1.0} and found["opposites"]["adapter"] == 0.5


def test_a_folder_without_an_adapter_or_without_its_record_is_refused(measured: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no adapter; give the folder `adapter` inside the run"):
        cards.write_adapter_card("smollm2-student", tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes((measured / "adapter_model.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"has no card\.json, and there is no record.json of its fine-tuning beside it"):
        cards.write_adapter_card("smollm2-student", tmp_path)


# ---- the shipped adapters


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_shipped_adapter_is_of_its_card_and_passes_its_gates(name: str) -> None:
    folder = adapter_path(name)
    card = read_json(folder / "card.json")
    recipe = replace(FINETUNED[name], precision=card["training"]["precision"])  # how it was computed there; the rest is the recipe
    assert card["recipe"] == json.loads(json.dumps(cards.asdict(recipe)))
    assert card["adapter_bytes"] == (folder / cards.WEIGHTS).stat().st_size and (folder / "README.md").read_text() == cards.markdown(card)
    found = cards.gates(name, card["measured"], card["retention"])
    assert all(gate.passed for gate in found), [gate.what for gate in found if not gate.passed]


def test_the_shipped_adapters_are_small() -> None:
    files = [path for name in ADAPTERS for path in adapter_path(name).iterdir()]
    assert sum(path.stat().st_size for path in files) <= 25e6


def said_of(card: dict[str, Any]) -> list[str]:
    """What docs/protocol-v2.md says of an adapter's training and loss."""
    loss = card["retention"]["loss_on_own_samples"]
    return [f"{card['training']['seconds'] / 60:.0f} minutes of a thread", f"has lost {loss['adapter'] - loss['base']:.3f} nats a token"]


def test_what_the_protocol_says_of_the_adapters_is_their_cards() -> None:
    text = " ".join((Path(__file__).parents[2] / "docs" / "protocol-v2.md").read_text().split())
    for name, says in (
        ("smollm2-student", "It solves {plain:.0f} % of the problems, {told:.1f} % with the solution in its prompt"),
        ("smollm2-teacher", "updates, {minutes:.0f} minutes of a thread) solves {plain:.1f} % of the problems"),
        ("smollm2-teacher", "and with one it solves {told:.1f} %"),
    ):
        card = read_json(adapter_path(name) / "card.json")
        plain, told = (100 * card["measured"][problems]["pass_rate"] for problems in ("easier-pool", "easier-pool, privileged"))
        for sentence in (says.format(plain=plain, told=told, minutes=card["training"]["seconds"] / 60), *said_of(card)):
            assert sentence in text, sentence
