"""Pretraining examples: prompts of all three kinds with their worked solutions, generated during training and batched by length."""

import random
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from paced_exp.data import prompts
from paced_exp.data.lab import solutions
from paced_exp.data.lab.families import FAMILIES, MATHEMATICS, RETENTION
from paced_exp.data.lab.splits import SPLITS, draw, to_problem
from paced_exp.lab.recipes import ConciseRecipe, Recipe
from paced_exp.lab.tokenizer import ASSISTANT, END, USER

IGNORE = -100
_SLOWEST = {name: RETENTION[name] for name in ("number_filtering",)}


@dataclass(frozen=True)
class Batch:
    """Token ids and labels, both (rows, tokens) and right-padded. A label is the next token if that is part of a response, else IGNORE."""

    ids: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`."""
        return Batch(self.ids.to(device), self.labels.to(device))


def pool_texts(recipe: Recipe, index: int) -> list[tuple[str, str]]:
    """The (prompt, response) texts of pool `index`, in the chat template's layout. They depend on the seed and the index alone."""
    rng = random.Random(f"corpus/{recipe.seed}/{index}")
    tail = index >= recipe.pools - recipe.tail
    texts = []
    for _ in range(recipe.pool_size):
        families = RETENTION if rng.random() < (recipe.tail_retention if tail else recipe.retention) else MATHEMATICS
        if tail and families is RETENTION and rng.random() < 0.5:
            families = _SLOWEST
        name, level, entry = draw(SPLITS[recipe.data], rng, families)
        problem = to_problem("", recipe.data, name, level, entry)
        kind_draw = rng.random()
        kind: prompts.PromptKind = "plain"
        response = problem.solution or ""
        if kind_draw < recipe.privileged:
            kind = "privileged"
        elif kind_draw < recipe.privileged + recipe.concise:
            shorten = solutions.results if isinstance(recipe, ConciseRecipe) else solutions.concise
            kind, response = "concise", shorten(FAMILIES[name].steps, entry)
        texts.append((f"{USER}{prompts.user_message(problem, kind)}{ASSISTANT}", f"{response}{END}"))
    return texts


def pool_batches(recipe: Recipe, index: int, texts: list[tuple[str, str]], tokenizer: PreTrainedTokenizerFast) -> list[Batch]:
    """The texts of pool `index`, sorted by length and cut into batches of at most `tokens_per_step` padded tokens; batches are shuffled."""
    prompt_ids = tokenizer([prompt for prompt, _ in texts], add_special_tokens=False)["input_ids"]
    response_ids = tokenizer([response for _, response in texts], add_special_tokens=False)["input_ids"]
    pairs = sorted(zip(prompt_ids, response_ids, strict=True), key=lambda pair: len(pair[0]) + len(pair[1]))
    groups: list[list[tuple[list[int], list[int]]]] = [[]]
    for pair in pairs:
        if (len(groups[-1]) + 1) * (len(pair[0]) + len(pair[1])) > recipe.tokens_per_step:
            groups.append([])
        groups[-1].append(pair)
    random.Random(f"order/{recipe.seed}/{index}").shuffle(groups)
    return [collate(group, tokenizer.pad_token_id) for group in groups]


def collate(pairs: list[tuple[list[int], list[int]]], pad_id: int) -> Batch:
    """The batch of (prompt, response) pairs of token ids. Only response tokens have labels."""
    width = max(len(prompt) + len(response) for prompt, response in pairs)
    ids = torch.full((len(pairs), width), pad_id)
    labels = torch.full((len(pairs), width), IGNORE)
    for row, (prompt, response) in enumerate(pairs):
        ids[row, : len(prompt) + len(response)] = torch.tensor(prompt + response)
        labels[row, len(prompt) - 1 : len(prompt) + len(response) - 1] = torch.tensor(response)
    return Batch(ids, labels)


class Pools(torch.utils.data.Dataset[list[tuple[str, str]]]):
    """The texts of a recipe's pools from pool `start` on. As a data set, worker processes can make them ahead of training."""

    def __init__(self, recipe: Recipe, start: int) -> None:
        self.recipe, self.start = recipe, start

    def __len__(self) -> int:
        return self.recipe.pools - self.start

    def __getitem__(self, index: int) -> list[tuple[str, str]]:
        return pool_texts(self.recipe, self.start + index)
