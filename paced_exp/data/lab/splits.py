"""Disjoint splits of the lab's problems, as deterministic streams that depend on a seed.

The SHA-256 of a problem's prompt decides its hash bucket, and splits have different buckets. So no prompt can occur in two splits, whatever is
drawn. Buckets are shared in four cases only: by `train` and `pool`, in any form; by `retention` and splits with other families; by `pretrain` and
`rehearsal`; and by a split and its harder form for the models of the gpu scale (`harder-`), or its easier one for SmolLM2 (`easier-`).

The lab's models are pretrained on `pretrain` only, those of the gpu scale on `harder-pretrain` only.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from paced_exp.core.errors import UserError
from paced_exp.data.lab import facts, solutions
from paced_exp.data.lab.families import FAMILIES, MATHEMATICS, RETENTION, Family, generator
from paced_exp.data.problem import Problem

BUCKETS = 100


@dataclass(frozen=True)
class Split:
    """What a split draws from.

    families: of its problems. levels: drawn uniformly. buckets: the hash buckets of its prompts. size: the default number of problems. quotas: if
    the mix is fixed, the number of problems of each family at each level, from level 1. Such a split ends after `size` problems.
    """

    families: dict[str, Family]
    levels: tuple[int, ...]
    buckets: range
    size: int
    quotas: Mapping[str, tuple[int, ...]] | None = None


# Quotas of a pool for training that visits no problem twice. An easy level has few distinct prompts, and harder levels may draw the same ones.
# Its quota is at most half of the prompts that these leave, so that it does not run dry. All other levels have equal quotas.
_POOL = {
    "chain_sum": (45, 607, 912, 912, 912),
    "products": (20, 230, 912, 912, 912),
    "gcd": (0, 0, 60, 250, 500),
    "simple_equations": (912, 912, 912, 912, 912),
    "fraction_simplification": (0, 0, 0, 20, 60),
    "decimal_chain_sum": (912, 912, 912, 912, 912),
}
_HARDER_POOL = {
    "chain_sum": (45, 607, *[931] * 6),
    "products": (20, 230, *[931] * 6),
    "gcd": (0, 0, 60, 250, 500, *[931] * 3),
    "simple_equations": (931,) * 8,
    "fraction_simplification": (0, 0, 0, 0, 30, 303, 931, 931),
    "decimal_chain_sum": (931,) * 8,
}
# What a small pretrained model learns from worked solutions: four families at the three easiest levels (lab/finetune_recipes.py).
_LEARNED = {name: MATHEMATICS[name] for name in ("chain_sum", "products", "gcd", "simple_equations")}
_EASIER_POOL = {"chain_sum": (45, 560, 800), "products": (20, 230, 800), "gcd": (0, 20, 180), "simple_equations": (480, 480, 481)}
SPLITS: dict[str, Split] = {
    "pretrain": Split(FAMILIES, (1, 2, 3, 4, 5), range(0, 60), 100_000),  # what the lab's models were pretrained on
    "train": Split(MATHEMATICS, (1, 2, 3, 4, 5), range(60, 85), 2_000),  # distillation (the role of DAPO-Math-17k)
    "pool": Split(MATHEMATICS, (1, 2, 3, 4, 5), range(60, 85), 16_384, _POOL),  # distillation that visits no problem twice
    "mid": Split(MATHEMATICS, (2, 3), range(85, 90), 500),  # evaluation, medium (the role of MATH-500)
    "hard-a": Split(MATHEMATICS, (4,), range(90, 95), 300),  # evaluation, hard (the role of AIME 2024)
    "hard-b": Split(MATHEMATICS, (5,), range(95, 100), 300),  # evaluation, hardest (the role of AIME 2025)
    "retention": Split(RETENTION, (1, 2, 3), range(60, 100), 500),  # evaluation, forgetting: never distilled on (the role of MMLU)
    "rehearsal": Split(
        RETENTION, (1, 2, 3), range(0, 60), 500
    ),  # the retention families as pretrained on: what penalties on forgetting read
    "harder-pretrain": Split(FAMILIES, tuple(range(1, 9)), range(0, 60), 100_000),  # what the models of the gpu scale are pretrained on
    "harder-train": Split(MATHEMATICS, tuple(range(1, 9)), range(60, 85), 4_000),  # distillation at gpu scale
    "harder-pool": Split(MATHEMATICS, tuple(range(1, 9)), range(60, 85), 32_768, _HARDER_POOL),  # ... that visits no problem twice
    "harder-mid": Split(MATHEMATICS, (4, 5), range(85, 90), 500),  # evaluation at gpu scale, medium
    "harder-hard-a": Split(MATHEMATICS, (6, 7), range(90, 95), 300),  # evaluation at gpu scale, hard
    "harder-hard-b": Split(MATHEMATICS, (8,), range(95, 100), 300),  # evaluation at gpu scale, hardest
    "easier-train": Split(_LEARNED, (1, 2, 3), range(60, 85), 2_000),  # the probe of SmolLM2, whose rarest bins the pool cannot fill
    "easier-pool": Split(_LEARNED, (1, 2, 3), range(60, 85), 4_096, _EASIER_POOL),  # distillation of SmolLM2, that visits no problem twice
    "easier-mid": Split(_LEARNED, (1, 2), range(85, 90), 300),  # evaluation of SmolLM2, medium
    "easier-hard-a": Split(_LEARNED, (2, 3), range(90, 95), 300),  # evaluation of SmolLM2, hard
    "easier-hard-b": Split(_LEARNED, (3,), range(95, 100), 300),  # evaluation of SmolLM2, hardest
}
DEFAULT_SIZES: dict[str, int] = {name: split.size for name, split in SPLITS.items()} | {facts.SPLIT: facts.SIZE}

# reasoning-gym takes an item's index as its seed. Some generators use numpy, which only takes 32-bit seeds.
INDEX_BITS = 32


def bucket(prompt: str) -> int:
    """The hash bucket, 0 to 99, that decides which split may use a prompt."""
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8], "big") % BUCKETS


def draw(
    split: Split, rng: random.Random, families: dict[str, Family] | None = None, cell: tuple[str, int] | None = None
) -> tuple[str, int, solutions.Entry]:
    """One problem of `split` as (family, level, reasoning-gym entry). Its prompt lies in the split's buckets.

    families: to draw from in place of the split's. cell: the family and level; both are drawn uniformly when it is left out.
    """
    choices = split.families if families is None else families
    name = cell[0] if cell else rng.choice(list(choices))
    level = cell[1] if cell else rng.choice([level for level in split.levels if level <= len(choices[name].levels)])
    while True:
        entry = generator(name, level)[rng.getrandbits(INDEX_BITS)]
        # reasoning-gym sometimes cancels the unknown of an equation ("0 = 0"), which leaves nothing to solve. Another one is drawn.
        lost_unknown = name == "simple_equations" and entry["metadata"]["variable"] not in entry["metadata"]["equation"]
        if bucket(entry["question"]) in split.buckets and not lost_unknown:
            return name, level, entry


def lab_problems(split: str, seed: int = 0) -> Iterator[Problem]:
    """A split's problems in an order that depends on the seed, each prompt once. The stream is endless unless the split has quotas, or is `facts`.

    With quotas, the first problems are a random subset of all of the split, however many are taken. Raises `UserError` for an unknown split.
    """
    if split == facts.SPLIT:
        yield from facts.fact_problems(seed)
        return
    if split not in SPLITS:
        raise UserError(f"lab:{split} is not a lab split; known: {', '.join(f'lab:{name}' for name in DEFAULT_SIZES)}")
    rng = random.Random(f"{split}/{seed}")
    seen: set[str] = set()
    number = 0
    for cell in _cells(SPLITS[split], rng):
        name, level, entry = draw(SPLITS[split], rng, cell=cell)
        # With quotas a repeated prompt is drawn again. Without, it is dropped: easy levels run dry, and families with few prompts become rare.
        while cell is not None and entry["question"] in seen:
            name, level, entry = draw(SPLITS[split], rng, cell=cell)
        if entry["question"] in seen:
            continue
        seen.add(entry["question"])
        yield to_problem(f"{split}-{seed}-{number:07d}", split, name, level, entry)
        number += 1


def _cells(split: Split, rng: random.Random) -> Iterator[tuple[str, int] | None]:
    """The family and level of each problem, in random order. Without quotas, None without end."""
    if split.quotas is None:
        while True:
            yield None
    cells = [(name, level) for name, counts in split.quotas.items() for level, count in enumerate(counts, 1) for _ in range(count)]
    rng.shuffle(cells)
    yield from cells


def to_problem(identifier: str, split: str, name: str, level: int, entry: solutions.Entry) -> Problem:
    """A reasoning-gym entry with its worked solution, as a `Problem`."""
    return Problem(
        id=identifier,
        prompt=entry["question"],
        answer=entry["answer"],
        solution=solutions.worked(FAMILIES[name].steps, entry),
        source=f"lab:{name}",
        split=split,
        grader="lab",
        metadata={"family": name, "level": level, "entry": entry["metadata"]},
    )
