"""References: the first candidate graded correct, a recorded stand-in otherwise, continued from what is stored."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import prompt_ids
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.engine import Prompt, Rollout, Sampling, Watch
from paced_exp.rollouts.references import Reference, ReferenceRecipe, make_references, read_references
from paced_exp.rollouts.store import ChunkStore
from tests.support.tiny_models import EOS, PAD, tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def encoded(text: str) -> list[int]:
    return list(TOKENIZER(text, add_special_tokens=False)["input_ids"])


def problem(name: str, solution: str | None = "so 4\n\\boxed{4}") -> Problem:
    return Problem(name, f"{name}+2=", "4", solution, "file", "", "exact")


class Script:
    """An engine that answers from a script, {problem: [(text, finished)]}, and remembers what it was asked."""

    def __init__(self, answers: dict[str, list[tuple[str, bool]]]) -> None:
        self.answers = answers
        self.prompts: list[Prompt] = []
        self.requests: list[Sampling] = []

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, *, watch: Watch | None = None) -> Iterator[list[Rollout]]:
        self.prompts, self.requests = [*self.prompts, *prompts], [*self.requests, sampling]
        for prompt in reversed(prompts):  # engines yield prompts as they finish, in any order
            yield [
                Rollout(prompt.problem_id, sample, encoded(text) + ([EOS] if finished else []), finished, 0)
                for sample, (text, finished) in enumerate(self.answers[prompt.problem_id])
            ]


class FourIsRight:
    """Passes what ends in 4."""

    def grade(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[bool]:
        assert len(problems) == len(responses)
        return [response.endswith("4") for response in responses]


@pytest.fixture(scope="module")
def teacher() -> LoadedModel:
    return LoadedModel(tiny_model(), TOKENIZER, "tiny", (EOS, 2), PAD, torch.device("cpu"), "sha256:tiny")


def run(problems: list[Problem], engine: Script, store: ChunkStore, teacher: LoadedModel, **changes: Any) -> dict[str, Reference]:
    recipe = replace(ReferenceRecipe(3, "solution", "privileged", temperature=0.7, max_new_tokens=9, seed=5), **changes)
    return make_references(problems, teacher, engine, FourIsRight(), store, recipe)  # type: ignore[arg-type]


def test_the_first_correct_candidate_is_kept_as_it_was_sampled(tmp_path: Path, teacher: LoadedModel) -> None:
    answers = {
        "a": [("is 5", True), ("is 4", False), ("thus 4", True)],  # the second was cut: not correct, whatever it says
        "b": [("4", True), ("or 4", True), ("5", True)],
    }
    engine = Script(answers)
    found = run([problem("a"), problem("b")], engine, ChunkStore(tmp_path, "references"), teacher)
    assert found == {
        "a": Reference("a", [*encoded("thus 4"), EOS], "teacher", 3, 1),
        "b": Reference("b", [*encoded("4"), EOS], "teacher", 3, 2),
    }
    # Not with the run's own seed, whose draws made the pass rates.
    assert engine.requests == [Sampling(3, 9, 0.7, seed=6)]
    # The teacher reads the expert solution.
    assert [prompt.token_ids for prompt in engine.prompts] == [prompt_ids(TOKENIZER, problem(name), "privileged") for name in "ab"]


def test_without_a_correct_candidate_the_solution_stands_in_or_the_problem_drops_out(tmp_path: Path, teacher: LoadedModel) -> None:
    answers = {"a": [("is 5", True), ("is 4", False), ("6", True)]}
    kept = run([problem("a")], Script(answers), ChunkStore(tmp_path, "kept"), teacher)
    assert kept == {"a": Reference("a", [*encoded("so 4\n\\boxed{4}"), EOS], "solution", 3, 0)}
    dropped = run([problem("a")], Script(answers), ChunkStore(tmp_path, "dropped"), teacher, fallback="drop")
    assert dropped == {"a": Reference("a", [], "none", 3, 0)}
    assert read_references(ChunkStore(tmp_path, "dropped")) == dropped


def test_what_is_stored_is_not_asked_for_again(tmp_path: Path, teacher: LoadedModel) -> None:
    answers = {name: [(f"{name} 4", True)] * 3 for name in "abc"}
    whole = run([problem(name) for name in "abc"], Script(answers), ChunkStore(tmp_path / "whole", "references"), teacher)
    first = Script(answers)
    run([problem("b")], first, ChunkStore(tmp_path / "parts", "references"), teacher)
    second = Script(answers)
    found = run([problem(name) for name in "abc"], second, ChunkStore(tmp_path / "parts", "references"), teacher)
    assert [prompt.problem_id for prompt in second.prompts] == ["a", "c"]
    assert found == whole


def test_a_store_without_references_gives_none(tmp_path: Path) -> None:
    assert read_references(ChunkStore(tmp_path, "references")) == {}


def test_refusals(tmp_path: Path, teacher: LoadedModel) -> None:
    store = ChunkStore(tmp_path, "references")
    with pytest.raises(UserError, match="`candidates` 0 must be at least 1"):
        run([problem("a")], Script({}), store, teacher, candidates=0)
    with pytest.raises(UserError, match="problem 'b' has no expert solution"):
        run([problem("a"), problem("b", solution=None)], Script({}), store, teacher)
    assert store.done_ids() == set()
