"""Student and teacher predict the same tokens, and logits of a padded batch are those of each row alone."""

import pytest
import torch

from paced_exp.core.errors import UserError
from paced_exp.losses.alignment import Row, check_fits, collate, make_row, supervised_logits
from tests.support.tiny_models import tiny_model

ROWS = [
    Row("a", [5, 6, 7], [8, 9, 5, 6, 7], [10, 11, 12, 1], [True, True, True, True], 1.5),
    Row("b", [5], [9, 9, 9, 9, 9, 9], [20, 21, 22, 23, 1], [False, True, False, True, False], 0.5),
    Row("c", [0, 1, 2], [3], [0, 0, 1, 0, 0, 1], [True] * 6),
]
KINDS = ["qwen3", "qwen3-sliding", "llama", "gpt2"]


def test_student_and_teacher_predict_the_supervised_tokens() -> None:
    batch = collate(ROWS[:2], pad_id=0)
    assert batch.tokens.tolist() == [10, 11, 12, 1, 21, 23]
    assert batch.layout.tolist() == [[True] * 4, [True, True, False, False]]
    assert batch.weights.tolist() == [1.5, 0.5]
    # What is behind the last supervised token of `b` is not read; nor is that token itself.
    assert batch.student.ids.tolist() == [[5, 6, 7, 10, 11, 12], [5, 20, 21, 22, 0, 0]]
    for read, prompts in ((batch.student, ["student_prompt"] * 2), (batch.teacher, ["teacher_prompt"] * 2)):
        skipped = read.ids.shape[1] - read.predicting.shape[1]
        for number, row in enumerate(ROWS[:2]):
            marked = (read.predicting[number].nonzero()[:, 0] + skipped).tolist()
            wanted = [index for index, flag in enumerate(row.supervised) if flag]
            assert marked == [len(getattr(row, prompts[number])) - 1 + index for index in wanted]


def test_tokens_read_are_those_before_the_last_supervised_one() -> None:
    assert [(row.student_tokens, row.teacher_tokens, row.response_tokens) for row in ROWS] == [(6, 8, 3), (4, 9, 3), (8, 6, 5)]


@pytest.mark.parametrize("positions", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_in_a_batch_are_those_of_each_row_alone(kind: str, positions: bool) -> None:
    model = tiny_model(kind, dtype=torch.float64)
    batch = collate(ROWS, pad_id=0, positions=positions)
    with torch.no_grad():
        for read, prompts in (
            (batch.student, [row.student_prompt for row in ROWS]),
            (batch.teacher, [row.teacher_prompt for row in ROWS]),
        ):
            found = supervised_logits(model, read).split([sum(row.supervised) for row in ROWS])
            for row, prompt, logits in zip(ROWS, prompts, found, strict=True):
                whole = model(input_ids=torch.tensor([prompt + row.response])).logits[0]
                # Position t predicts the token at t + 1, so the first response token is predicted by the last prompt token.
                wanted = [len(prompt) - 1 + index for index, flag in enumerate(row.supervised) if flag]
                torch.testing.assert_close(logits, whole[wanted], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["qwen3", "llama", "gpt2"])
def test_a_row_does_not_see_its_padding(kind: str) -> None:
    model = tiny_model(kind, dtype=torch.float64)
    batch = collate(ROWS, pad_id=0)
    with torch.no_grad():
        before = supervised_logits(model, batch.student)

        def spoil(_: object, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            spoiled = output.clone()
            for number, row in enumerate(ROWS):
                spoiled[number, row.student_tokens :] = 1e6
            return spoiled

        handle = model.get_input_embeddings().register_forward_hook(spoil)
        after = supervised_logits(model, batch.student)
        handle.remove()
        other = supervised_logits(model, collate(ROWS, pad_id=40).student)
    assert torch.equal(after, before) and torch.equal(other, before)


def test_with_positions_every_layers_output_is_one_a_problem() -> None:
    """What per-problem gradients need: GPT-2 looks its positions up once for the whole batch otherwise."""
    model = tiny_model("gpt2")
    sizes: list[int] = []
    model.transformer.wpe.register_forward_hook(lambda _module, _inputs, output: sizes.append(len(output)))
    for positions in (False, True):
        supervised_logits(model, collate(ROWS, pad_id=0, positions=positions).student)
    assert sizes == [1, 3]


def test_the_head_runs_on_no_position_before_the_first_that_predicts() -> None:
    model = tiny_model()
    widths: list[int] = []
    model.lm_head.register_forward_hook(lambda _module, _inputs, output: widths.append(output.shape[1]))
    supervised_logits(model, collate(ROWS[:1], pad_id=0).student)
    assert widths == [4]


@pytest.mark.parametrize("response", [[], [7, 8]])
def test_a_problem_without_a_supervised_token_is_refused_by_name(response: list[int]) -> None:
    with pytest.raises(UserError, match="problem 'x' has no supervised response token, so it has no loss; drop the problem"):
        Row("x", [5], [6], response, [False] * len(response))


def test_a_row_without_a_supervised_token_counts_for_nothing() -> None:
    row = make_row("c", [5], [6], [7, 8], [False, False], 2.0)
    assert (row.supervised, row.weight) == ([True, False], 0.0)


def test_a_problem_that_exceeds_the_context_is_named() -> None:
    model = tiny_model(context=16)
    check_fits(model, [1] * 10, [1] * 6, "exact")
    with pytest.raises(UserError, match="problem 'long': prompt of 10 and response of 7 tokens exceed the model's context of 16"):
        check_fits(model, [1] * 10, [1] * 7, "long")
