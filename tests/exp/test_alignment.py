"""Response logits of a padded batch are those of each row alone, for prompts of any length."""

import pytest
import torch

from paced_exp.core.errors import UserError
from paced_exp.losses.alignment import check_fits, pad_responses, response_logits
from tests.support.tiny_models import tiny_model

PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14, 15], [0, 1, 2]]
RESPONSES = [[20, 21, 22, 23, 24, 25], [30, 1], [31], [0, 0, 1]]


@pytest.mark.parametrize("kind", ["qwen3", "qwen3-sliding", "llama", "gpt2"])
def test_each_row_is_the_unbatched_one(kind: str) -> None:
    model = tiny_model(kind, dtype=torch.float64)
    with torch.no_grad():
        batched = response_logits(model, PROMPTS, RESPONSES)
        assert batched.shape == (4, 6, model.config.vocab_size)
        for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
            alone = model(torch.tensor([[*prompt, *response]])).logits[0]
            # Position t predicts the token at t + 1, so the first response token is predicted by the last prompt token.
            expected = alone[len(prompt) - 1 : len(prompt) - 1 + len(response)]
            torch.testing.assert_close(batched[row, : len(response)], expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("kind", ["qwen3", "llama", "gpt2"])
def test_a_row_does_not_see_its_padding(kind: str) -> None:
    model = tiny_model(kind, dtype=torch.float64)
    embedding = model.get_input_embeddings()
    responses = [RESPONSES[1], [*RESPONSES[0], *RESPONSES[0]]]
    with torch.no_grad():
        before = response_logits(model, [PROMPTS[1], PROMPTS[0]], responses)[0, :2]
        hidden: list[torch.Tensor] = []

        def spoil(_: object, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            hidden.append(output)
            spoiled = output.clone()
            spoiled[0, 3:] = 1e6  # behind prompt (1) and response (2)
            return spoiled

        handle = embedding.register_forward_hook(spoil)
        after = response_logits(model, [PROMPTS[1], PROMPTS[0]], responses)[0, :2]
        handle.remove()
    assert hidden[0].shape[1] == 15
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_pad_responses_marks_real_tokens_also_where_they_are_zero() -> None:
    padded = pad_responses(RESPONSES, torch.device("cpu"))
    assert padded.tokens.tolist()[3] == [0, 0, 1, 0, 0, 0]
    assert padded.mask.sum(1).tolist() == [6, 2, 1, 3]
    assert padded.mask.tolist()[3] == [True, True, True, False, False, False]


def test_an_empty_response_is_refused() -> None:
    with pytest.raises(UserError, match="a response has no tokens"):
        pad_responses([[1], []], torch.device("cpu"))


def test_a_problem_that_exceeds_the_context_is_named() -> None:
    model = tiny_model(context=16)
    check_fits(model, [1] * 10, [1] * 6, "exact")
    with pytest.raises(UserError, match="problem 'long': prompt of 10 and response of 7 tokens exceed the model's context of 16"):
        check_fits(model, [1] * 10, [1] * 7, "long")
