"""How the adapters of SmolLM2-135M-Instruct are made: the problems they learn, the mix of texts, and the schedule, all from one seed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# One user message and no system prompt: 22 tokens fewer a prompt than the model's own template.
SHORT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class FinetuneRecipe:
    """How one adapter is trained.

    base: the model. template: the chat template; None keeps the base's own. levels: of the problems, by family. shares: of the problems, by family
    for each of its levels, up to a common factor; None makes all families, and all levels of a family, equally likely. solutions: as the lab writes
    them, or spelt out digit by digit (data/lab/solutions.py). updates, rows: of texts an update. rank, alpha: of LoRA on every linear layer but the head. privileged,
    concise: shares of these prompts among the problems; the rest is plain. replay: share of texts that are the base's own samples, so that it
    keeps what it knew. replay_samples: how many of these are drawn; too few, read again and again, are learned by heart, and held-out ones are
    forgotten. micro_tokens: padded tokens of a forward pass. precision: float32, or bf16
    (base and products in bfloat16, the adapter in float32), which is faster where the processor multiplies in it and slower where not.
    """

    base: str = "smollm2"
    levels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    shares: Mapping[str, tuple[float, ...]] | None = None
    solutions: Literal["worked", "digitwise"] = "worked"
    template: str | None = SHORT_TEMPLATE
    updates: int = 300
    rows: int = 16
    rank: int = 16
    alpha: int = 32
    learning_rate: float = 5e-4
    warmup: int = 20
    privileged: float = 0.2
    concise: float = 0.05
    replay: float = 0.35
    replay_samples: int = 1600
    replay_tokens: int = 48
    micro_tokens: int = 1024
    save_every: int = 25
    seed: int = 11
    precision: Literal["float32", "bf16"] = "float32"


_LEVELS = {"gcd": (1, 2, 3), "simple_equations": (1, 2, 3), "products": (1, 2, 3), "chain_sum": (1, 2, 3)}
# What the student fails at comes most often: sums and products of two digits, which take a small model thousands of examples.
_HARD_FIRST = {"chain_sum": (2, 10, 25), "gcd": (0, 2, 8), "products": (1, 7, 30), "simple_equations": (5, 5, 5)}
FINETUNED: dict[str, FinetuneRecipe] = {
    "smollm2-student": FinetuneRecipe(levels=_LEVELS),
    # Nothing asks this teacher to read a solution, or for concise answers.
    "smollm2-teacher": FinetuneRecipe(
        levels=_LEVELS,
        shares=_HARD_FIRST,
        solutions="digitwise",
        updates=2000,
        privileged=0.0,
        concise=0.0,
        replay=0.25,
        replay_samples=3200,
        seed=12,
    ),
}
