"""The shipped checkpoints are what their model cards say, and what the experiments need them to be."""

import itertools
import math
from dataclasses import asdict
from functools import cache
from typing import Any

import pytest

from paced_exp.core.json_files import read_json
from paced_exp.data.lab.splits import lab_problems
from paced_exp.grading.grader import Grader
from paced_exp.lab import card as cards
from paced_exp.lab.recipes import RECIPES
from paced_exp.models.lab_checkpoints import CHECKPOINTS, checkpoint_path
from paced_exp.models.loading import LoadedModel, check_same_vocabulary, load_model

STUDENTS, TEACHERS = ("student", "student-llama"), ("teacher", "teacher-llama")


@cache
def card(name: str) -> dict[str, Any]:
    return read_json(checkpoint_path(name) / "card.json")


@cache
def model(name: str) -> LoadedModel:
    return load_model(f"lab:{name}", device="cpu", dtype="float32")


def rate(name: str, split: str) -> float:
    return card(name)["measured"][split]["pass_rate"]


def test_all_of_them_are_small_safetensors() -> None:
    assert set(CHECKPOINTS) == {*STUDENTS, *TEACHERS} == set(RECIPES)
    files = [path for name in CHECKPOINTS for path in checkpoint_path(name).iterdir()]
    assert sum(path.stat().st_size for path in files) <= 20e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jinja", ".md"}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_card_is_of_these_weights_and_of_todays_recipe(name: str) -> None:
    assert card(name)["weights"] == model(name).fingerprint
    assert card(name)["recipe"] == asdict(RECIPES[name])
    assert card(name)["parameters"] == sum(p.numel() for p in model(name).model.parameters())
    assert model(name).model.config.model_type == RECIPES[name].architecture
    assert (checkpoint_path(name) / "README.md").read_text() == cards._markdown(card(name))


@pytest.mark.parametrize("name", TEACHERS)
def test_teachers_solve_what_they_teach(name: str) -> None:
    assert rate(name, "train") >= 0.90
    assert rate(name, "train, privileged") >= 0.97


@pytest.mark.parametrize("name", STUDENTS)
def test_students_have_problems_at_every_pass_rate_can_teach_themselves_and_have_something_to_forget(name: str) -> None:
    assert 0.30 <= rate(name, "train") <= 0.60
    assert min(card(name)["measured"]["train"]["share_in_each_fifth"]) >= 0.06
    assert rate(name, "train, privileged") >= 0.90
    assert 0.80 <= rate(name, "retention") <= 0.98


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_rounding_to_bfloat16_changes_nothing_measurable(name: str) -> None:
    exact, rounded = (card(name)["training"]["solution_probability"][dtype] for dtype in ("float32", "bfloat16"))
    for what, probability in exact.items():
        # 200 problems: a difference below the standard error of a mean of so many passes cannot be measured on them.
        assert abs(rounded[what] - probability) < math.sqrt(max(probability * (1 - probability), 0.01) / 200), what


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize(("split", "kind"), [("train", "plain"), ("train", "privileged"), ("retention", "plain")])
def test_measured_again_on_other_problems_the_figures_hold(name: str, split: str, kind: Any) -> None:
    """A fresh sample of 80 problems agrees with the card within five standard errors of the difference."""
    problems = list(itertools.islice(lab_problems(split, cards.SEED + 1), 80))
    with Grader() as grader:
        passes, _ = cards.pass_counts(model(name), grader, problems, kind)
    again = passes / cards.SAMPLES
    row = card(name)["measured"][split if kind == "plain" else f"{split}, {kind}"]
    # Near a pass rate of 1 the sample's own spread can be zero; the card's, rescaled to this sample's size, cannot.
    spread = row["standard_error"] * math.sqrt(row["problems"])
    assert abs(again.mean() - row["pass_rate"]) <= 5 * max(spread, 0.05) * math.sqrt(1 / 80 + 1 / row["problems"])


@pytest.mark.parametrize(("student", "teacher"), [("student", "teacher"), ("student-llama", "teacher-llama"), ("student", "teacher-llama")])
def test_a_pair_reads_the_same_tokens(student: str, teacher: str) -> None:
    check_same_vocabulary(model(student), model(teacher))
