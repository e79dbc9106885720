"""Problems with their weights as the rows that the loaders of verl, NeMo-RL and slime read."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.data.problem import Problem
from paced_exp.data.problem_tables import Counts
from paced_exp.data.prompts import user_message
from paced_exp.integrations.row_weight import WEIGHT
from paced_exp.weighting import Weighting, weigh

DATA_SOURCE = "lighteval/MATH"  # the reward function of verl that compares what is in the last \boxed{}


def counts_of(problems: Sequence[Problem], counts: Counts) -> Counts:
    """The counts of these problems, in their order. Raises `UserError` for a problem that has none."""
    place = {name: at for at, name in enumerate(counts.problem_id)}
    missing = [problem.id for problem in problems if problem.id not in place]
    if missing:
        raise UserError(
            f"there are no counts of {len(missing)} of the {len(problems)} `problems`, {missing[0]!r} first; count all of them: "
            "paced rollout --problems with the same file"
        )
    order = [place[problem.id] for problem in problems]
    return Counts([problem.id for problem in problems], counts.k[order], counts.K[order])


def weighted_problems(problems: Sequence[Problem], counts: Counts, weighting: Weighting) -> Iterator[tuple[int, Problem, float]]:
    """(place, problem, weight) of each problem that is trained on, weights of mean one. Raises `UserError` where `counts_of` and `weigh` do."""
    own = counts_of(problems, counts)
    weights = weigh(weighting, own.k, own.K).in_training
    return ((place, problem, float(weights[place])) for place, problem in enumerate(problems) if weights[place] > 0)


def verl_rows(problems: Sequence[Problem], counts: Counts, weighting: Weighting, data_source: str = DATA_SOURCE) -> list[dict[str, Any]]:
    """Rows with verl's data_source, prompt, ability, reward_model and extra_info, and `WEIGHT`: a row's columns travel with its responses.

    The prompt is the message under which `paced rollout` counts. Raises as `weighted_problems` does.
    """
    return [
        {
            "data_source": data_source,
            "prompt": [{"role": "user", "content": user_message(problem)}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": problem.answer},
            "extra_info": {"split": problem.split, "index": place, "problem_id": problem.id},
            WEIGHT: weight,
        }
        for place, problem, weight in weighted_problems(problems, counts, weighting)
    ]


def nemo_rl_rows(problems: Sequence[Problem], counts: Counts, weighting: Weighting) -> list[dict[str, Any]]:
    """Rows with the messages of NeMo-RL's response data, the second of which is the answer, and `WEIGHT`.

    A file that has `messages` keeps its other columns on NeMo-RL's way to the processor; one with input and output does not. Raises as
    `weighted_problems` does.
    """
    return [
        {
            "messages": [{"role": "user", "content": user_message(problem)}, {"role": "assistant", "content": problem.answer}],
            "problem_id": problem.id,
            WEIGHT: weight,
        }
        for _, problem, weight in weighted_problems(problems, counts, weighting)
    ]


def slime_rows(problems: Sequence[Problem], counts: Counts, weighting: Weighting) -> list[dict[str, Any]]:
    """Rows with slime's prompt, label and metadata: the last travels with a row's samples, and has `WEIGHT`. Raises as `weighted_problems` does."""
    return [
        {
            "prompt": [{"role": "user", "content": user_message(problem)}],
            "label": problem.answer,
            "metadata": {"problem_id": problem.id, WEIGHT: weight},
        }
        for _, problem, weight in weighted_problems(problems, counts, weighting)
    ]


def weight_of(row: dict[str, Any]) -> float:
    """The weight in a row of any of these."""
    return float(row[WEIGHT] if WEIGHT in row else row["metadata"][WEIGHT])


def effective(weights: Sequence[float]) -> float:
    """Kish's effective number of rows, (sum w)^2 / sum w^2."""
    own = np.asarray(weights)
    return float(own.sum() ** 2 / (own**2).sum())
