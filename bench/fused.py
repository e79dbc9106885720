"""The fused weighted divergence beside its four matrix products alone, the dense loss, checkpointed chunks of it, and TRL's chunked divergence.

    python -m bench.fused                                            # Qwen3's vocabulary, into results/bench/fused.json; TRL from the bench extra
    python -m bench.fused --tokens 128 --vocabulary 4096 --out /tmp/fused.json

Subject: forward KL of a student's hidden states and head against a teacher's, float32, weights a token, from the states to the gradients
of states and head. Time is processor time on one thread, the contenders in turn on every round, the order reversed from round to round
(`bench.timing`). Memory is every tensor allocated above the inputs, the gradients among them, at its peak (`bench.memory`).
"""

import argparse
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import linear

from bench.memory import peak_bytes
from bench.timing import interleaved, ratios
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.json_files import write_checked
from paced_exp.core.run_folder import provenance
from paced_exp.losses.chunked import CHUNK_ELEMENTS
from paced_exp.losses.divergences import divergence
from paced_exp.losses.fused import fused_divergence
from paced_exp.losses.heads import Head, States
from paced_exp.losses.problem_loss import Dense, ProblemLoss

OUT = Path(__file__).resolve().parent.parent / "results" / "bench" / "fused.json"
PRODUCTS = "four products alone"
# Contenders on a GPU, and why no row has them. They are in the record and in the table, so that nobody takes them for compared.
NOT_RUN = {
    "the fused function on CUDA": "no GPU was at hand",
    "Liger 0.8.5's FusedLinearKLDivLoss": "it is Triton alone, and no GPU was at hand",
    "a Triton kernel of ours": "not written: it has to beat the fused function on CUDA by 1.3, which was not measured",
}
PRODUCTS_CHUNK = 256  # tokens; the products' own memory is then about the fused function's


@dataclass(frozen=True)
class Subject:
    """Hidden states (N, H) and heads (V, H) of both models, weights (N,), the tokens that follow, and the divergence's name."""

    student: torch.Tensor
    head: torch.Tensor
    teacher: torch.Tensor
    teacher_head: torch.Tensor
    weights: torch.Tensor
    tokens: torch.Tensor
    divergence: str

    @classmethod
    def drawn(cls, tokens: int, hidden: int, vocabulary: int, name: str) -> "Subject":
        """Normal states, and heads that give logits of standard deviation 2."""
        generator = torch.Generator().manual_seed(0)

        def normal(rows: int) -> torch.Tensor:
            return torch.randn(rows, hidden, generator=generator)

        heads = [normal(vocabulary).mul_(2 * hidden**-0.5) for _ in range(2)]
        states = normal(tokens), normal(tokens)
        weights = torch.rand(tokens, generator=generator) / tokens
        return cls(states[0], heads[0], states[1], heads[1], weights, torch.arange(tokens) % vocabulary, name)


Contender = Callable[[Subject], tuple[torch.Tensor, torch.Tensor]]  # the gradients of states and head


def products(subject: Subject) -> tuple[torch.Tensor, torch.Tensor]:
    """What no function can do without: both models' logits, and with a gradient in the logits the products for states and head."""
    of_states, of_head = torch.empty_like(subject.student), torch.zeros_like(subject.head)
    room = torch.empty(min(PRODUCTS_CHUNK, len(subject.student)), len(subject.head))
    for start in range(0, len(subject.student), PRODUCTS_CHUNK):
        rows = slice(start, start + PRODUCTS_CHUNK)
        logits = room[: len(subject.student[rows])]
        torch.mm(subject.teacher[rows], subject.teacher_head.T, out=logits)
        torch.mm(subject.student[rows], subject.head.T, out=logits)
        torch.mm(logits, subject.head, out=of_states[rows])
        of_head.addmm_(logits.T, subject.student[rows])
    return of_states, of_head


def _gradients(subject: Subject, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    states, head = (tensor.detach().requires_grad_() for tensor in (subject.student, subject.head))
    # As a training step does: into .grad.
    loss(states, head).backward()
    assert states.grad is not None and head.grad is not None
    return states.grad, head.grad


def fused(chunk: int | None) -> Contender:
    """Ours, with `chunk` tokens at a time."""

    def run(subject: Subject) -> tuple[torch.Tensor, torch.Tensor]:
        loss = ProblemLoss(divergence(subject.divergence), chunk=chunk)
        teacher = States(subject.teacher, Head(subject.teacher_head))
        return _gradients(
            subject, lambda states, head: fused_divergence(states, Head(head), teacher, subject.tokens, subject.weights, loss)[0]
        )

    return run


def dense(chunk: int | None) -> Contender:
    """The dense loss: all logits of both models, then `ProblemLoss`, whole or in checkpointed chunks of tokens."""

    def run(subject: Subject) -> tuple[torch.Tensor, torch.Tensor]:
        loss = ProblemLoss(divergence(subject.divergence), chunk=chunk)
        with torch.no_grad():
            teacher = Dense(subject.teacher @ subject.teacher_head.T)
        return _gradients(
            subject, lambda states, head: (loss.per_token(linear(states, head), teacher, subject.tokens) * subject.weights).sum()
        )

    return run


def checkpointed(chunk: int) -> Contender:
    """Chunks of tokens from the hidden states, each with the head's product recomputed in the backward pass: six products."""
    from torch.utils.checkpoint import checkpoint

    def run(subject: Subject) -> tuple[torch.Tensor, torch.Tensor]:
        loss = ProblemLoss(divergence(subject.divergence))

        def values(states: torch.Tensor, head: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
            return loss.per_token(linear(states, head), Dense(teacher @ subject.teacher_head.T), tokens)

        def total(states: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
            parts = zip(*(tensor.split(chunk) for tensor in (states, subject.teacher, subject.tokens)), strict=True)
            found = [checkpoint(values, part, head, *others, use_reentrant=False) for part, *others in parts]
            return (torch.cat(found) * subject.weights).sum()

        return _gradients(subject, total)

    return run


def trl(subject: Subject) -> tuple[torch.Tensor, torch.Tensor]:
    """TRL's chunked divergence, which has no weights: the mean over all tokens."""
    from trl.trainer.distillation_trainer import _chunked_divergence_loss

    beta = {"forward_kl": 0.0, "reverse_kl": 1.0, "jsd": 0.5}[subject.divergence]
    mask = torch.ones(1, len(subject.tokens), dtype=torch.long)

    def total(states: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = _chunked_divergence_loss(states[None], subject.teacher[None], head, subject.teacher_head, mask, beta)[0]
        return found

    return _gradients(subject, total)


def contenders(chunks: Sequence[int | None], without_trl: bool) -> dict[str, Contender]:
    """All of them, by name."""
    found: dict[str, Contender] = {PRODUCTS: products}
    found |= {"fused" if chunk is None else f"fused, chunks of {chunk}": fused(chunk) for chunk in chunks}
    found |= {"dense": dense(None), "softmaxes in chunks of 128": dense(128), "checkpointed chunks of 128": checkpointed(128)}
    return found if without_trl else found | {"TRL chunked": trl}


def measured(subject: Subject, ways: dict[str, Contender], rounds: int) -> list[dict[str, Any]]:
    """Seconds, memory and ratios of every way."""
    small = Subject.drawn(8, 64, 512, subject.divergence)
    for way in ways.values():  # kernels are chosen outside of the clock
        way(small)
    seconds = interleaved(ways, [subject] * rounds)
    memory = {name: peak_bytes(partial(way, subject)) for name, way in ways.items()}
    by_dense = ratios(seconds, "dense") if "dense" in ways else {}
    return [
        {
            "contender": name,
            "seconds": sum(seconds[name]) / rounds,
            "to_products": row,
            "to_dense": by_dense.get(name),
            "bytes": memory[name],
            "memory_to_dense": memory[name] / memory["dense"] if "dense" in ways else None,
        }
        for name, row in ratios(seconds, PRODUCTS).items()
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the record."""
    parser = argparse.ArgumentParser(prog="bench.fused", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--divergence", choices=("forward_kl", "reverse_kl", "jsd"), default="forward_kl")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--chunks", type=int, nargs="+", default=None, help="tokens a chunk of the fused function; the default alone if not given"
    )
    parser.add_argument("--only", nargs="+", default=None, help="contenders whose name begins so, beside the products")
    parser.add_argument("--without-trl", action="store_true", help="leave TRL's row out, where TRL is not installed")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    for name in ("tokens", "hidden", "vocabulary", "rounds", "chunks"):
        given = getattr(arguments, name)
        if any(value < 1 for value in (given if isinstance(given, list) else [] if given is None else [given])):
            raise UserError(f"--{name} must be at least 1")
    warnings.filterwarnings("ignore", category=FutureWarning, module="trl")
    if not arguments.without_trl:
        try:
            import trl as _  # noqa: F401
        except ModuleNotFoundError as error:
            raise UserError("TRL is not installed; install the bench extra (pip install -e '.[bench]') or give --without-trl") from error
    torch.set_num_threads(1)
    ways = contenders([None] if arguments.chunks is None else arguments.chunks, arguments.without_trl)
    if arguments.only is not None:
        ways = {name: way for name, way in ways.items() if name == PRODUCTS or name.startswith(tuple(arguments.only))}
    subject = Subject.drawn(arguments.tokens, arguments.hidden, arguments.vocabulary, arguments.divergence)
    rows = measured(subject, ways, arguments.rounds)
    print(f"{'contender':<34} {'seconds':>8} {'GB':>6} {'/ products':>10} {'quartiles':>13} {'/ dense':>8} {'memory':>7}")
    for row in rows:
        spread, beside = row["to_products"], row["to_dense"]
        print(
            f"{row['contender']:<34} {row['seconds']:>8.2f} {row['bytes'] / 1e9:>6.2f} {spread['total']:>10.3f} "
            f"{spread['quartile_low']:>6.3f} {spread['quartile_high']:>6.3f} "
            + ("" if beside is None else f"{beside['total']:>8.3f} {row['memory_to_dense']:>7.3f}")
        )
    for name, why in NOT_RUN.items():
        print(f"{name:<34} not run: {why}")
    settings = {name: getattr(arguments, name) for name in ("tokens", "hidden", "vocabulary", "divergence", "rounds", "chunks")}
    settings |= {"default_chunk": max(1, CHUNK_ELEMENTS // arguments.vocabulary), "products_chunk": PRODUCTS_CHUNK, "dtype": "float32"}
    write_checked(
        arguments.out, {"kind": "bench_fused", "threads": 1, **settings, "rows": rows, "not_run": NOT_RUN, "provenance": provenance(0)}
    )
    print(arguments.out)


if __name__ == "__main__":
    exit_cleanly(main)
