"""The head's weights are never copied for each row, and no logits are computed that nobody asks for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from paced_exp.losses.alignment import Row, collate, supervised_logits
from paced_exp.models.head_input import head_input
from paced_exp.rollouts.engine import Prompt, Sampling
from paced_exp.rollouts.hf import HFEngine
from tests.support.tiny_models import VOCABULARY, loaded, tiny_model

ROWS = [
    Row("a", [5, 6, 7], [8, 9, 5, 6, 7], [10, 11, 12, 1], [True, True, True, True], 1.0),
    Row("b", [5], [9, 9, 9, 9, 9, 9], [20, 21, 22, 23, 1], [False, True, False, True, False], 1.0),
]
MARKED = 6


class Products(TorchDispatchMode):
    """Shapes of all matrix products whose result is as wide as the vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm, torch.ops.aten.addmm) and found.shape[-1] == VOCABULARY:
            self.shapes.append(tuple(found.shape))
        return found


def head_products(work: Callable[[], Any]) -> list[tuple[int, ...]]:
    with Products() as seen:
        work()
    return seen.shapes


def test_pytorch_still_multiplies_a_strided_view_row_by_row() -> None:
    """If this fails, PyTorch has mended it, and `head_input` may only be needed for logits that nobody asks for."""
    states, weight = torch.ones(3, 4, 8)[:, 2:], torch.ones(VOCABULARY, 8)
    with torch.no_grad():
        assert head_products(lambda: torch.nn.functional.linear(states, weight)) == [(3, 2, VOCABULARY)]


@pytest.mark.parametrize("kind", ["qwen3", "llama", "gpt2"])
def test_a_batch_without_gradients_is_one_product_of_the_marked_positions(kind: str) -> None:
    model, read = tiny_model(kind), collate(ROWS, pad_id=0).teacher
    with torch.no_grad():
        assert head_products(lambda: supervised_logits(model, read))[-1] == (MARKED, VOCABULARY)
        found = supervised_logits(model, read)
    torch.testing.assert_close(found, supervised_logits(model, read).detach(), rtol=1e-5, atol=1e-6)


def test_rollouts_give_the_head_no_strided_view() -> None:
    model = tiny_model("qwen3")
    contiguous: list[bool] = []
    model.get_output_embeddings().register_forward_hook(lambda _, inputs, __: contiguous.append(inputs[0].is_contiguous()))
    prompts = [Prompt("a", [5, 6, 7]), Prompt("b", [8, 9, 10, 11])]
    list(HFEngine(loaded(model)).generate(prompts, Sampling(2, 4, 1.0, 0)))
    assert contiguous and all(contiguous)


def test_within_it_alone_and_after_an_error_too() -> None:
    model = tiny_model("qwen3")
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        before = model(input_ids=ids).logits
        with pytest.raises(ZeroDivisionError), head_input(model.get_output_embeddings(), lambda states: states * 0):
            assert not model(input_ids=ids).logits.any()
            raise ZeroDivisionError
        assert torch.equal(model(input_ids=ids).logits, before)


class Wrapped(torch.nn.Module):
    """As training wraps a model: it passes everything on, and shows no head."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, **given: Any) -> Any:
        return self.model(**given)


def test_a_wrapped_model_gives_the_same_logits() -> None:
    model, read = tiny_model("qwen3"), collate(ROWS, pad_id=0).teacher
    with torch.no_grad():
        torch.testing.assert_close(supervised_logits(Wrapped(model), read), supervised_logits(model, read), rtol=1e-5, atol=1e-6)
