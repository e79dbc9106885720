"""A divergence's values and gradients from hidden states, a chunk of tokens at a time: what `fused` computes in its forward pass.

The divergence itself runs over pieces of a chunk that stay in the processor's caches; the gradient takes the place of the student's logits.
Who needs the head's gradient of each problem (`HeadGradients`) is given it as factors while the chunk is at hand.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Protocol

import torch

from paced_exp.losses.alignment import ModelInput, supervised_logits
from paced_exp.losses.divergences import log_probabilities, wide
from paced_exp.losses.heads import Head, PlainHead, States
from paced_exp.losses.problem_loss import Buckets, Dense, ProblemLoss, Targets
from paced_exp.losses.products import add_outer, projected_back

# Logits (tokens x vocabulary) of a model that are held at a time, and of a piece of them: chosen by measurement (bench/README.md).
CHUNK_ELEMENTS = 192 * 151_936
PIECE_ELEMENTS = 151_936


def logits_in_chunks(model: Any, read: ModelInput, head: PlainHead | None) -> Iterator[tuple[slice, torch.Tensor]]:
    """A model's logits (n, V) at the marked positions with their place among these, about `CHUNK_ELEMENTS` at a time; without a graph.

    head: the model's, so that all logits are never held. Without a plain one they are, and the pieces of them are given.
    """
    with torch.no_grad():
        found = supervised_logits(model, read) if head is None else head.states(model, read)
        own = None if head is None else head.head()
        step = max(1, CHUNK_ELEMENTS // (found.shape[-1] if own is None else own.width))
        for start in range(0, len(found), step):
            place = slice(start, min(start + step, len(found)))
            yield place, found[place] if own is None else own.logits(found[place])


# A problem's tokens in a chunk: its number, their place in the chunk, and whether they are its last.
Part = tuple[int, slice, bool]


class HeadGradients(Protocol):
    """Takes the gradient of a head's weight (and bias) problem by problem, as factors: problem i's is sum_t slope[t] (x) states[t]."""

    @property
    def trained(self) -> bool:
        """Whether autograd is to give the head's gradient of the whole batch too."""
        ...

    def begin(self, problems: int) -> None:
        """Called once before the chunks of a batch of so many problems."""
        ...

    def take(self, parts: Sequence[Part], slope: torch.Tensor, states: torch.Tensor) -> None:
        """A chunk of n tokens: slope (n, V) is the gradient of the losses' sum in W h + b, and states (n, H) are h. Both are overwritten later.

        A chunk holds whole problems, or a part of one that exceeds a chunk.
        """
        ...

    def scaled(self, factors: torch.Tensor) -> None:
        """Called in a backward pass that scales the problems' losses by `factors` (B,), not all one. What was taken is not of that pass."""
        ...


@dataclass(frozen=True)
class Job:
    """What is not differentiated. counts, layout, gradients: of `fused_losses`; counts (B,) are the tokens of each problem."""

    head: Head
    targets: Targets
    tokens: torch.Tensor
    loss: ProblemLoss
    chunk_tokens: int | None
    graph: bool  # whether anybody can ask for gradients
    counts: tuple[int, ...] | None = None
    layout: torch.Tensor | None = None
    gradients: HeadGradients | None = None

    @property
    def width(self) -> int:
        """Tokens of the vocabulary that both heads have; of heads padded to different widths the rest is cut."""
        if not self.loss.divergence.needs_teacher:
            return self.head.width
        if isinstance(self.targets, Buckets):
            return min(self.head.width, self.targets.width or self.head.width)
        assert self.targets is not None, f"{self.loss.divergence.name} needs a teacher"
        return min(self.head.width, self.targets.head.width if isinstance(self.targets, States) else int(self.targets.logits.shape[-1]))

    @property
    def chunk(self) -> int:
        """Tokens whose logits are held at a time, at most."""
        return max(1, min(len(self.tokens), self.chunk_tokens or CHUNK_ELEMENTS // self.width))

    def chunks(self) -> Iterator[tuple[slice, list[Part]]]:
        """The tokens, a chunk at a time, with the parts of problems where problems matter."""
        if self.gradients is not None and self.counts is not None:
            yield from whole_problems(self.counts, self.chunk)
            return
        for start in range(0, len(self.tokens), self.chunk):
            yield slice(start, min(start + self.chunk, len(self.tokens))), []

    def logits_buffer(self, states: torch.Tensor) -> torch.Tensor:
        """Room for a chunk's logits. Made once: memory that is new to every chunk costs the system's time to map."""
        return torch.empty(self.chunk, self.width, dtype=wide(states[:0]).dtype, device=states.device)

    def teacher_logits(self, chunk: slice, buffer: torch.Tensor | None) -> torch.Tensor | None:
        """Of a chunk's tokens, where the divergence reads them."""
        if not self.loss.divergence.needs_teacher or isinstance(self.targets, Buckets):
            return None
        if isinstance(self.targets, States):
            assert buffer is not None
            return self.targets.head.shaped(self.targets.head.products(self.targets.states[chunk], buffer))
        assert isinstance(self.targets, Dense)
        return self.targets.logits[chunk, : self.width]

    def differentiate(
        self,
        products: torch.Tensor,
        teacher: torch.Tensor | None,
        chunk: slice,
        weights: torch.Tensor,
        values: torch.Tensor,
        gradient: bool,
    ) -> None:
        """Write a chunk's values into `values`, and into `products` (n, V) the gradient of sum_t weights_t D_t in them if asked for."""
        size = max(1, PIECE_ELEMENTS // products.shape[1])
        for start in range(0, len(products), size):
            piece = slice(start, start + size)
            place = slice(chunk.start + start, chunk.start + min(start + size, len(products)))
            logits = self.head.shaped(products[piece])
            given = None if teacher is None else teacher[piece]
            if not gradient:
                values[place] = self.loss.per_token(logits, self._targets_at(given, place), self.tokens[place])
                continue
            found, slope, temperature = self._value_and_gradient(logits, given, place)
            values[place] = found
            if self.head.softcap is not None:
                slope *= 1 - (logits / self.head.softcap).square_()
            factors = weights[place].to(slope.dtype) * (self.head.scale / temperature)
            torch.mul(slope, factors[:, None], out=products[piece])

    def _targets_at(self, teacher: torch.Tensor | None, place: slice) -> Targets:
        if isinstance(self.targets, Buckets):
            return Buckets(self.targets.tokens[place], self.targets.log_probabilities[place], self.targets.temperature, self.targets.width)
        return None if teacher is None else Dense(teacher)

    def _value_and_gradient(
        self, logits: torch.Tensor, teacher: torch.Tensor | None, place: slice
    ) -> tuple[torch.Tensor, torch.Tensor, float]:
        """A piece's values, their gradient in the logits over the temperature, and that temperature."""
        divergence, temperature, tokens = self.loss.divergence, self.loss.temperature, self.tokens[place]
        if not divergence.needs_teacher:
            return *divergence.value_and_gradient(logits, logits, tokens), 1.0
        if temperature != 1:
            logits = logits / temperature
        if isinstance(self.targets, Buckets):
            assert self.targets.temperature == temperature, "the teacher's statistics were taken at another temperature"
            chosen, log_t = self.targets.tokens[place], self.targets.log_probabilities[place]
            log_p = log_probabilities(logits)
            rest = log_p.scatter(-1, chosen, -torch.inf)
            log_q = torch.cat([log_p.gather(-1, chosen), rest.logsumexp(-1, keepdim=True)], dim=-1)
            values, gradient = divergence.value_and_gradient(log_q, log_t, tokens)
            # A logit moves its own bucket, or its share of the rest's; the softmax takes the sum from all.
            inner = (rest - log_q[:, -1:]).exp_().mul_(gradient[:, -1:]).scatter_(-1, chosen, gradient[:, :-1])
            return values, inner.sub_(log_p.exp_().mul_(gradient.sum(-1, keepdim=True))), temperature
        assert teacher is not None
        teacher = wide(teacher) if temperature == 1 else wide(teacher) / temperature
        return *divergence.value_and_gradient(logits, teacher, tokens), temperature


def whole_problems(counts: Sequence[int], most: int) -> Iterator[tuple[slice, list[Part]]]:
    """Chunks of at most `most` tokens of problems with so many tokens each: as many whole problems as fit, or equal parts of one that does not."""
    start, parts, held = 0, list[Part](), 0
    for problem, count in enumerate(counts):
        if parts and held + count > most:
            yield slice(start, start + held), parts
            start, parts, held = start + held, [], 0
        if count <= most:
            parts.append((problem, slice(held, held + count), True))
            held += count
            continue
        pieces = -(-count // most)
        edges = [count * piece // pieces for piece in range(pieces + 1)]
        for low, high in pairwise(edges):
            yield slice(start + low, start + high), [(problem, slice(0, high - low), high == count)]
        start += count
    if parts:
        yield slice(start, start + held), parts


def computed(
    states: torch.Tensor, weights: torch.Tensor, job: Job, needed: tuple[bool, ...]
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """The values, and the gradients of states, weight and bias, each where it is needed."""
    _keep_freed_memory(states.device)
    head, width = job.head.to(states.dtype), job.width
    dtype = wide(states[:0]).dtype
    values = torch.empty(len(states), dtype=dtype, device=states.device)
    of_states = torch.empty_like(states) if needed[0] else None
    of_weight = torch.zeros(head.weight.shape, dtype=dtype, device=states.device) if needed[1] else None
    of_bias = None if head.bias is None or not needed[2] else torch.zeros(head.bias.shape, dtype=dtype, device=states.device)
    buffer = job.logits_buffer(states)
    of_teacher = job.logits_buffer(job.targets.states) if isinstance(job.targets, States) else None
    for chunk, parts in job.chunks():
        products = head.products(states[chunk], buffer)
        slope = any(needed[:3]) or job.gradients is not None
        job.differentiate(products, job.teacher_logits(chunk, of_teacher), chunk, weights, values, slope)
        if job.gradients is not None:
            job.gradients.take(parts, products, wide(states[chunk]))
        if of_states is not None:
            of_states[chunk] = projected_back(products, head.weight[:width])
        if of_weight is not None:
            add_outer(of_weight[:width], products, states[chunk])
        if of_bias is not None:
            of_bias[:width] += products.sum(0)
    if of_weight is not None:
        of_weight = of_weight.to(job.head.weight.dtype)
    if of_bias is not None and head.bias is not None:
        of_bias = of_bias.to(head.bias.dtype)
    return values, of_states, of_weight, of_bias


@cache
def _keep_freed_memory(device: torch.device) -> None:
    """Let the C library keep what a piece frees for the next piece, rather than give it back to the system and map it again.

    glibc keeps freed memory of up to twice the largest block that was mapped and freed so far, counting blocks of at most 32 MiB. Without
    this the pieces take twice as long. Once a process is enough.
    """
    if device.type == "cpu":
        torch.empty(2**25 - 2**13, dtype=torch.uint8)
