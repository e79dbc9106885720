"""The lab's tokenizer and corpus: any text comes back, one token a digit, the chat template's layout in pretraining, no token lost."""

import itertools
import json
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from paced_exp.data import prompts
from paced_exp.data.lab.families import RETENTION
from paced_exp.data.lab.splits import lab_problems
from paced_exp.lab.corpus import IGNORE, collate, pool_batches, pool_texts
from paced_exp.lab.recipes import CONCISE_MODE, CONTEXT, RECIPES
from paced_exp.lab.tokenizer import ASSISTANT, END, PAD, USER, VOCABULARY, build_tokenizer, frequent_words, save_tokenizer

KINDS: tuple[prompts.PromptKind, ...] = ("plain", "privileged", "concise")
RECIPE = replace(RECIPES["student"], pool_size=800)


Tokenizer = PreTrainedTokenizerFast


def encoded(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


# ---- the tokenizer


@given(st.text())
@example("  2 +  3 = 5 \n\n\t\\boxed{-7.50}")
@example("\x00\ufffd é 𝟙 👩‍🔬 \\boxed{\\boxed{")
@example("['cat', 'dog'] simplifyanswer")
def test_any_text_comes_back(lab_tokenizer: Tokenizer, text: str) -> None:
    for special in (PAD, USER, ASSISTANT, END):
        text = text.replace(special, "")
    assert lab_tokenizer.decode(encoded(lab_tokenizer, text)) == text


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=5), st.sampled_from([" + ", ", ", "", ".", " * ", "x"]))
def test_one_token_a_digit(lab_tokenizer: Tokenizer, numbers: list[int], between: str) -> None:
    text = between.join(map(str, numbers))
    tokens = [lab_tokenizer.decode([token]) for token in encoded(lab_tokenizer, text)]
    digits = [token for token in tokens if re.search(r"\d", token)]
    assert all(len(token) == 1 for token in digits) and len(digits) == sum(character.isdigit() for character in text)


def test_words_to_be_spelled_are_seen_letter_by_letter(lab_tokenizer: Tokenizer) -> None:
    for problem in itertools.islice((p for p in lab_problems("retention") if p.metadata["family"] == "spell_backward"), 50):
        assert len(encoded(lab_tokenizer, problem.answer)) == len(problem.answer)


def test_prompts_are_cheap(lab_tokenizer: Tokenizer) -> None:
    problems = list(itertools.islice(lab_problems("train"), 200))
    characters = sum(len(prompts.user_message(problem, kind)) for problem in problems for kind in KINDS)
    tokens = sum(len(prompts.prompt_ids(lab_tokenizer, problem, kind)) for problem in problems for kind in KINDS)
    assert characters / tokens > 2.0
    assert (
        len(encoded(lab_tokenizer, "Expert solution:")) <= 4
        and len(encoded(lab_tokenizer, "\\boxed{")) == 1
        and len(encoded(lab_tokenizer, " + ")) == 1
    )


def test_frequent_words_are_those_of_some_family() -> None:
    texts = {
        "one": ["State the answer to cat", "State the answer to dog"],
        "two": ["Solve for x", "Solve for y", "solve it", "no", "no", "zz"],
    }
    assert frequent_words(texts) == ["Solve", "State", "answer", "cat", "dog", "for", "no", "the", "to"]


def test_the_same_seed_builds_the_same_file(lab_tokenizer: Tokenizer) -> None:
    assert json.loads(build_tokenizer().backend_tokenizer.to_str()) == json.loads(lab_tokenizer.backend_tokenizer.to_str())


def test_special_tokens_and_size(lab_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert [encoded(lab_tokenizer, token) for token in (PAD, USER, ASSISTANT, END)] == [[0], [1], [2], [3]]
    assert (lab_tokenizer.pad_token_id, lab_tokenizer.eos_token_id) == (0, 3) and len(lab_tokenizer) <= VOCABULARY
    assert lab_tokenizer.decode([1, *encoded(lab_tokenizer, "2"), 2, *encoded(lab_tokenizer, "4"), 3], skip_special_tokens=True) == "24"
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    loaded = PreTrainedTokenizerFast.from_pretrained(folder)
    assert loaded.get_vocab() == lab_tokenizer.get_vocab() and loaded.chat_template == lab_tokenizer.chat_template
    assert loaded.decode(encoded(lab_tokenizer, " a , b 's")) == " a , b 's", "no clean-up of spaces after loading"


# ---- the layout in pretraining is the chat template's


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", ["train", "retention"])
def test_the_chat_template_is_the_corpus_layout(lab_tokenizer: Tokenizer, kind: prompts.PromptKind, split: str) -> None:
    for problem in itertools.islice(lab_problems(split, 5), 40):
        text = f"{USER}{prompts.user_message(problem, kind)}{ASSISTANT}"
        assert encoded(lab_tokenizer, text) == prompts.prompt_ids(lab_tokenizer, problem, kind)
        # Tokens of prompt and response are those of the two put together: nothing merges across the border.
        assert encoded(lab_tokenizer, text) + encoded(lab_tokenizer, f"{problem.solution}{END}") == encoded(
            lab_tokenizer, f"{text}{problem.solution}{END}"
        )
        messages = [{"role": "user", "content": prompts.user_message(problem, kind)}, {"role": "assistant", "content": problem.solution}]
        whole = lab_tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
        assert whole == encoded(lab_tokenizer, f"{text}{problem.solution}{END}")


# ---- the corpus


@pytest.fixture(scope="module")
def texts() -> list[tuple[str, str]]:
    return pool_texts(RECIPE, 0)


def test_a_pool_is_a_function_of_seed_and_index(texts: list[tuple[str, str]]) -> None:
    assert pool_texts(RECIPE, 0) == texts
    assert pool_texts(RECIPE, 1)[:50] != texts[:50] and pool_texts(replace(RECIPE, seed=9, pool_size=50), 0) != texts[:50]


def test_a_pool_holds_the_recipes_shares(texts: list[tuple[str, str]]) -> None:
    assert len(texts) == 800
    privileged = [prompt for prompt, _ in texts if "Expert solution:" in prompt]
    concise = [prompt for prompt, _ in texts if prompt.endswith(f"{prompts.CONCISE}{ASSISTANT}")]
    assert len(privileged) / 800 == pytest.approx(RECIPE.privileged, abs=0.06)  # 4 standard errors
    assert len(concise) / 800 == pytest.approx(RECIPE.concise, abs=0.035)
    direct = [response for _, response in texts if re.fullmatch(r"\\boxed\{.*\}<\|end\|>", response)]
    assert len(direct) / 800 >= RECIPE.retention - 0.06
    for prompt, response in texts:
        assert prompt.startswith(USER) and prompt.endswith(ASSISTANT) and response.endswith(f"}}{END}")
        assert "Expert solution" not in prompt or response.removesuffix(END) in prompt


def test_the_concise_mode_shows_the_result_of_every_step() -> None:
    """The same problems without the concise mode: as many lines, none of them shorter."""
    recipe = replace(CONCISE_MODE["student-concise"], pool_size=800)
    ending = f"{prompts.CONCISE}{ASSISTANT}"
    pairs = list(zip(pool_texts(recipe, 0), pool_texts(replace(recipe, concise=0.0), 0), strict=True))
    both = [(short, long) for (prompt, short), (_, long) in pairs if prompt.endswith(ending)]
    assert len(both) / 800 == pytest.approx(recipe.concise, abs=0.07)  # 4 standard errors
    for short, long in both:
        assert short.count("\n") == long.count("\n") and len(short) <= len(long)
    assert sum(map(len, next(zip(*both, strict=True)))) < 0.8 * sum(len(long) for _, long in both)
    assert all(first == second for first, second in pairs if not first[0].endswith(ending))


def test_pretraining_never_sees_a_prompt_of_another_split(texts: list[tuple[str, str]]) -> None:
    questions = {re.split(r"\n(?:Expert solution:|Answer concisely)", prompt)[0].removeprefix(USER) for prompt, _ in texts}
    questions = {question.removesuffix(ASSISTANT) for question in questions}
    for split in ("train", "mid", "hard-a", "hard-b", "retention"):
        assert not questions & {problem.prompt for problem in itertools.islice(lab_problems(split), 300)}
    pretrain = {problem.prompt for problem in itertools.islice(lab_problems("pretrain"), 12_000)}
    assert len(questions & pretrain) > 30, "the questions were cut out of the prompts as they should be"


def test_batches_hold_every_example_once_within_the_budget(texts: list[tuple[str, str]], lab_tokenizer: Tokenizer) -> None:
    batches = pool_batches(RECIPE, 0, texts, lab_tokenizer)
    rows: Counter[tuple[tuple[int, ...], tuple[int, ...]]] = Counter()
    padding = tokens = 0
    for batch in batches:
        assert batch.ids.shape == batch.labels.shape and batch.ids.numel() <= RECIPE.tokens_per_step and batch.ids.shape[1] <= CONTEXT
        for ids, labels in zip(batch.ids.tolist(), batch.labels.tolist(), strict=True):
            response = tuple(label for label in labels if label != IGNORE)
            real = len(ids) - ids[::-1].index(lab_tokenizer.eos_token_id)
            assert set(ids[real:]) <= {lab_tokenizer.pad_token_id}
            # A label is the token after it: shifted by one, the labels are the response, up to its end.
            assert [label for label in labels[:-1] if label != IGNORE] == ids[real - len(response) : real]
            rows[tuple(ids[: real - len(response)]), response] += 1
            padding, tokens = padding + len(ids) - real, tokens + len(ids)
    expected = Counter((tuple(encoded(lab_tokenizer, prompt)), tuple(encoded(lab_tokenizer, response))) for prompt, response in texts)
    assert rows == expected
    assert padding / tokens < 0.1, "sorted by length"
    again = pool_batches(RECIPE, 0, texts, lab_tokenizer)
    assert all((one.ids == other.ids).all() for one, other in zip(batches, again, strict=True))
    widths = [batch.ids.shape[1] for batch in batches]
    assert widths != sorted(widths), "the batches are shuffled"


def test_collate_by_hand() -> None:
    batch = collate([([5, 6], [7, 3]), ([8], [3])], pad_id=0)
    assert batch.ids.tolist() == [[5, 6, 7, 3], [8, 3, 0, 0]]
    assert batch.labels.tolist() == [[IGNORE, 7, 3, IGNORE], [3, IGNORE, IGNORE, IGNORE]]


def test_retention_answers_carry_no_work() -> None:
    for problem in itertools.islice(lab_problems("retention"), 30):
        assert problem.metadata["family"] in RETENTION and problem.solution == f"\\boxed{{{problem.answer}}}"
