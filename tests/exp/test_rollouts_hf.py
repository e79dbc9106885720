"""The hf engine against transformers' own generate, the model's exact distribution, and itself under other batches."""

import doctest
import math
import os
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from transformers import Qwen3NextConfig

from paced_exp.core.errors import UserError
from paced_exp.rollouts import branches, engine, hf, kv_cache, sampling
from paced_exp.rollouts.branches import Branches
from paced_exp.rollouts.engine import Prompt, Rollout, Sampling, rollout_seed
from paced_exp.rollouts.hf import HFEngine
from paced_exp.rollouts.sampling import UniformStreams, sample_tokens
from tests.support.rollout_runs import by_key
from tests.support.tiny_models import EOS, OTHER_EOS, PAD, VOCABULARY, loaded, tiny_model

ENDS = (EOS, OTHER_EOS, 17, 29)


def some_prompts(count: int = 13, seed: int = 0) -> list[Prompt]:
    """Prompts of mixed lengths in which the padding id and the end ids occur as ordinary tokens."""
    rng = np.random.default_rng(seed)
    return [Prompt(f"p{index}", rng.integers(0, VOCABULARY, size=rng.integers(1, 12)).tolist()) for index in range(count)]


def run(rollouts: HFEngine, prompts: list[Prompt], **options: Any) -> dict[tuple[str, int], Rollout]:
    return by_key(rollouts, prompts, **{"samples": 5, "max_new_tokens": 20, "temperature": 1.0, "seed": 3, **options})


def generated(model: Any, prompt: Prompt, max_new_tokens: int) -> list[int]:
    """The oracle: transformers' generate on the one prompt, unbatched and unpadded."""
    ids = torch.tensor([prompt.token_ids])
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=list(ENDS),
        pad_token_id=PAD,
    )
    return output[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("kind", ["qwen3", "llama", "gpt2", "qwen3-sliding"])
def test_greedy_equals_transformers_generate(kind: str) -> None:
    prompts, lengths, ends = some_prompts(), set(), set()
    for seed in range(3):
        model = tiny_model(kind, seed=seed, dtype=torch.float64)
        found = run(HFEngine(loaded(model, eos_ids=ENDS)), prompts, samples=1, temperature=0.0)
        for prompt in prompts:
            rollout = found[prompt.problem_id, 0]
            assert rollout.token_ids == generated(model, prompt, 20)
            assert rollout.finished == (rollout.token_ids[-1] in ENDS)
            lengths.add(len(rollout.token_ids))
            ends.add(rollout.token_ids[-1] if rollout.finished else None)
    # The comparison covers rows that leave at different steps, several end ids, and rows cut at the limit.
    assert len(lengths) >= 4 and 20 in lengths and len(ends) >= 3 and None in ends


@pytest.mark.parametrize("kind", ["qwen3", "gpt2", "qwen3-sliding"])
def test_sampled_rollouts_do_not_depend_on_batch_order_or_neighbours_in_float64(kind: str) -> None:
    prompts = some_prompts()
    model = loaded(tiny_model(kind, dtype=torch.float64), eos_ids=ENDS)
    whole = run(HFEngine(model), prompts)
    assert len({len(rollout.token_ids) for rollout in whole.values()}) > 5
    assert run(HFEngine(model), prompts[::-1]) == whole
    # 40 tokens hold one row of an 11-token prompt and 20 new tokens: every rollout alone; 97 splits the K samples of a prompt.
    for budget in (40, 97, 500):
        assert run(HFEngine(model, max_batch_tokens=budget), prompts) == whole
    rest = prompts[4:]
    assert run(HFEngine(model), rest) == {key: whole[key] for key in whole if key[0] in {prompt.problem_id for prompt in rest}}
    # More samples keep the first ones: sample k's stream knows nothing of K.
    more = run(HFEngine(model), prompts, samples=7)
    assert all(more[key] == rollout for key, rollout in whole.items())


def test_float32_rollouts_agree_across_batches() -> None:
    """Observed: all of them, at any budget tried. Up to one in 200 may flip by rounding on another machine."""
    prompts = some_prompts(40)
    model = loaded(tiny_model("qwen3"), eos_ids=ENDS)
    whole, alone = run(HFEngine(model), prompts), run(HFEngine(model, max_batch_tokens=150), prompts)
    equal = np.mean([whole[key].token_ids == alone[key].token_ids for key in whole])
    assert equal >= 0.995


def test_same_seed_same_rollouts_another_seed_others() -> None:
    rollouts = HFEngine(loaded(tiny_model()))
    prompts = some_prompts(4)
    assert run(rollouts, prompts, seed=1) == run(rollouts, prompts, seed=1)
    first, second = run(rollouts, prompts, seed=1), run(rollouts, prompts, seed=2)
    assert all(first[key].token_ids != second[key].token_ids for key in first)
    assert all(rollout.seed == rollout_seed(1, *key) for key, rollout in first.items())


def chi_square_p(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """p-value of counts under probabilities, cells of expected count below 5 pooled."""
    expected = probabilities * counts.sum()
    small = expected < 5
    observed = np.append(counts[~small], counts[small].sum())
    wanted = np.append(expected[~small], expected[small].sum())
    return float(stats.chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7])
def test_sampled_tokens_follow_the_models_softmax(temperature: float) -> None:
    model = tiny_model("qwen3")
    # A second, longer prompt makes the first one padded; both are tested.
    prompts = [Prompt("short", [9, 4, 30]), Prompt("long", [5, 0, 1, 40, 12, 7, 7])]
    found = run(HFEngine(loaded(model, eos_ids=(EOS,))), prompts, samples=3000, max_new_tokens=2, temperature=temperature)

    def exact(ids: list[int]) -> np.ndarray:
        with torch.no_grad():
            return torch.softmax(model(torch.tensor([ids])).logits[0, -1].double() / temperature, dim=-1).numpy()

    for prompt in prompts:
        responses = [found[prompt.problem_id, sample].token_ids for sample in range(3000)]
        first = np.bincount([response[0] for response in responses], minlength=VOCABULARY)
        assert chi_square_p(first, exact(prompt.token_ids)) > 1e-3
        common = int(np.argmax(np.where(np.arange(VOCABULARY) == EOS, 0, first)))
        second = np.bincount([response[1] for response in responses if response[0] == common], minlength=VOCABULARY)
        assert chi_square_p(second, exact([*prompt.token_ids, common])) > 1e-3


def test_one_prefill_for_all_samples_and_one_row_for_all_that_drew_the_same() -> None:
    model = tiny_model("llama")
    shapes: list[tuple[int, int]] = []
    model.register_forward_pre_hook(lambda _, __, named: shapes.append(tuple(named["input_ids"].shape)), with_kwargs=True)
    rollouts = HFEngine(loaded(model, eos_ids=ENDS))
    shapes.clear()
    prompts = [Prompt(f"p{index}", [5 + index, 9, 4]) for index in range(4)]
    found = run(rollouts, prompts, samples=6)
    assert shapes[0] == (4, 3)
    assert len({len(rollout.token_ids) for rollout in found.values()}) > 3
    # Step t runs a row for each distinct beginning of t tokens of a response that goes on after them, and no others.
    begun = [{(name, *rollout.token_ids[:t]) for (name, _), rollout in found.items() if len(rollout.token_ids) > t} for t in range(1, 20)]
    assert shapes[1:] == [(len(rows), 1) for rows in begun if rows]
    assert len(begun[0]) < len([rollout for rollout in found.values() if len(rollout.token_ids) > 1])  # some did share a row


@pytest.mark.parametrize("kind", ["qwen3", "qwen3-sliding"])
def test_prompts_that_do_not_fit_together_are_rolled_out_again_and_counted_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = some_prompts()
    model = loaded(tiny_model(kind, dtype=torch.float64), eos_ids=ENDS)
    alone = {key: rollout for prompt in prompts for key, rollout in run(HFEngine(model), [prompt]).items()}
    # 31 tokens is the longest row, so that at first 23 rows hold all 13 prompts, which then need up to 65.
    monkeypatch.setattr("paced_exp.rollouts.hf._FIRST_SHARE", 0.0)
    seen: list[tuple[int, int]] = []
    parked: list[int] = []
    park = Branches._park
    monkeypatch.setattr(Branches, "_park", lambda *arguments: parked.append(0) or park(*arguments))
    found = run(HFEngine(model, max_batch_tokens=23 * 31), prompts, watch=lambda *counts: seen.append(counts))
    assert found == alone and parked
    assert np.sum(seen, axis=0).tolist() == [len(alone), sum(len(rollout.token_ids) for rollout in alone.values())]


@pytest.mark.parametrize("budget", [33, 70, 200, 1000])
def test_batches_stay_within_the_token_budget(budget: int) -> None:
    model = tiny_model("qwen3")
    rollouts = HFEngine(loaded(model), max_batch_tokens=budget)
    rows: list[int] = []
    expand = kv_cache.expand

    def watched(cache: Any, count: int, capacity: int) -> None:
        expand(cache, count, capacity)
        rows.append(cache.layers[0]._key_buffer.shape[0] * capacity)
        assert cache.layers[0]._key_buffer.shape[2] == capacity

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kv_cache, "expand", watched)
        run(rollouts, some_prompts())
    assert rows and max(rows) <= budget


def test_greedy_samples_are_copies() -> None:
    prompts = some_prompts(3)
    found = run(HFEngine(loaded(tiny_model())), prompts, samples=3, temperature=0.0)
    for prompt in prompts:
        assert found[prompt.problem_id, 0].token_ids == found[prompt.problem_id, 2].token_ids
        assert found[prompt.problem_id, 0].token_ids is not found[prompt.problem_id, 2].token_ids


def test_no_prompts_no_rollouts() -> None:
    assert list(HFEngine(loaded(tiny_model())).generate([], Sampling(1, 5, temperature=1.0, seed=0))) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "`K` 0"),
        ({"max_new_tokens": 0}, "`max_new_tokens` 0"),
        ({"temperature": -0.5}, "`temperature` -0.5"),
        ({"temperature": math.nan}, "`temperature` nan"),
        ({"temperature": math.inf}, "`temperature` inf"),
        ({"max_new_tokens": 62}, "'a' .3 tokens.*62.*context of 64; at most 61"),
        ({"prompts": [Prompt("b", [3] * 64)]}, "'b' has 64 tokens.*context is 64"),
        ({"prompts": [Prompt("b", [])]}, "'b' has no tokens"),
        ({"prompts": [Prompt("b", [3, VOCABULARY])]}, f"'b' holds token id {VOCABULARY}"),
        ({"prompts": [Prompt("b", [3]), Prompt("b", [4])]}, "'b' occurs more than once"),
    ],
)
def test_requests_without_sense_are_refused_before_any_work(options: dict[str, Any], message: str) -> None:
    arguments = {"prompts": [Prompt("a", [3, 4, 5])], "samples": 1, "max_new_tokens": 4, "temperature": 1.0, "seed": 0, **options}
    prompts = arguments.pop("prompts")
    with pytest.raises(UserError, match=message) as caught:
        HFEngine(loaded(tiny_model())).generate(prompts, Sampling(**arguments))
    assert "\n" not in str(caught.value)


def test_a_budget_below_one_rollout_is_refused() -> None:
    with pytest.raises(UserError, match=r"one rollout needs 13 tokens.*`max_batch_tokens` 12"):
        HFEngine(loaded(tiny_model()), max_batch_tokens=12).generate([Prompt("a", [3, 4, 5])], Sampling(1, 10, temperature=1.0, seed=0))
    with pytest.raises(UserError, match="`max_batch_tokens` 0"):
        HFEngine(loaded(tiny_model()), max_batch_tokens=0)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_weights_that_are_not_finite_are_named(temperature: float) -> None:
    model = tiny_model()
    rollouts = HFEngine(loaded(model))
    with torch.no_grad():
        model.model.norm.weight[0] = math.nan
    with pytest.raises(UserError, match="not finite"):
        run(rollouts, some_prompts(2), temperature=temperature)


def test_running_out_of_memory_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    rollouts = HFEngine(loaded(model), max_batch_tokens=100)

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(model, "forward", full)
    with pytest.raises(UserError, match="cpu is out of memory with `max_batch_tokens` 100"):
        run(rollouts, some_prompts(2))


def test_linear_attention_is_refused() -> None:
    with pytest.raises(UserError, match="linear-attention"):
        kv_cache.new_cache(Qwen3NextConfig(num_hidden_layers=4))


def test_default_budget_counts_the_bytes_of_keys_and_values() -> None:
    model = tiny_model("qwen3")
    cache = kv_cache.new_cache(model.config)
    with torch.no_grad():
        model(torch.tensor([[3, 4, 5]]), past_key_values=cache)
    assert kv_cache.bytes_per_token(cache, 3) == 2 * 2 * 2 * 8 * 4  # keys and values, layers, heads, width, bytes
    assert HFEngine(loaded(model)).max_batch_tokens * 256 <= 256 << 20


def test_a_larger_model_may_take_more_memory_for_more_rows() -> None:
    small, large = (hf._memory_budget(torch.device("cpu"), weights) for weights in (1 << 20, 128 << 20))
    assert small <= 256 << 20 and large <= 512 << 20
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert large == min(512 << 20, physical // 16) >= small


class TestSampling:
    def test_uniforms_are_numpys_philox_stream(self) -> None:
        seeds = [0, 1, 2**63 - 1]
        streams = UniformStreams(seeds)
        drawn = np.concatenate([streams.draw([0, 1, 2], 5), streams.draw([0, 1, 2], 7)], axis=1)
        expected = [np.random.Generator(np.random.Philox(key=seed)).random(12) for seed in seeds]
        np.testing.assert_array_equal(drawn, expected)

    def test_streams_of_neighbouring_rollouts_are_uniform_and_uncorrelated(self) -> None:
        seeds = [rollout_seed(0, f"p{problem}", sample) for problem in range(250) for sample in range(4)]
        numbers = UniformStreams(seeds).draw(range(len(seeds)), 20)
        assert stats.kstest(numbers.ravel(), "uniform").pvalue > 1e-3
        assert abs(stats.pearsonr(numbers[:-1].ravel(), numbers[1:].ravel()).statistic) < 4 / math.sqrt(numbers.size)

    @given(st.integers(0, 2**32 - 1), st.floats(0.05, 20), st.floats(0, 1, exclude_max=True))
    def test_is_the_inverse_cdf(self, seed: int, temperature: float, uniform: float) -> None:
        logits = np.random.default_rng(seed).normal(size=30) * 5
        probabilities = np.exp((logits - logits.max()) / temperature)
        cumulative = np.cumsum(probabilities / probabilities.sum())
        token = int(sample_tokens(torch.tensor(logits)[None], torch.tensor([uniform], dtype=torch.float64), temperature))
        before = cumulative[token - 1] if token else 0.0
        assert before - 1e-12 <= uniform <= cumulative[token] + 1e-12

    def test_ends_of_the_interval_and_impossible_tokens(self) -> None:
        logits = torch.tensor([[-math.inf, 1.0, 1.0, -math.inf]]).repeat(3, 1)
        tokens = sample_tokens(logits, torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64), 1.0)
        assert tokens.tolist() == [1, 2, 2]

    @pytest.mark.parametrize("temperature", [1e-300, 1e-6])
    def test_the_smallest_temperatures_take_the_largest_logit(self, temperature: float) -> None:
        logits = torch.tensor([[1.0, 3.0, 2.999]])
        assert sample_tokens(logits, torch.tensor([0.999], dtype=torch.float64), temperature).tolist() == [1]

    def test_several_numbers_a_row_are_as_rows_of_their_own(self) -> None:
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(7, 11, generator=generator)
        uniforms = torch.rand(7, 4, generator=generator, dtype=torch.float64)
        repeated = sample_tokens(logits.repeat_interleave(4, dim=0), uniforms.flatten(), 0.8)
        assert torch.equal(sample_tokens(logits, uniforms, 0.8), repeated.view(7, 4))

    def test_blocks_of_rows_change_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(50, 11, generator=generator)
        uniforms = torch.rand(50, generator=generator, dtype=torch.float64)
        whole = sample_tokens(logits, uniforms, 0.8)
        monkeypatch.setattr(sampling, "_CELLS", 40)
        assert torch.equal(sample_tokens(logits, uniforms, 0.8), whole)


def test_rollout_seeds_are_pinned_and_distinct() -> None:
    # Computed once with: printf '[0, "a", 1]' | sha256sum, the first 8 bytes shifted right by one bit.
    assert rollout_seed(0, "a", 1) == 5352727647617221297
    seeds = {rollout_seed(seed, f"p{problem}", sample) for seed in range(4) for problem in range(500) for sample in range(8)}
    assert len(seeds) == 4 * 500 * 8 and max(seeds) < 2**63


@pytest.mark.parametrize("module", [engine, branches])
def test_docstring_examples(module: Any) -> None:
    assert doctest.testmod(module).failed == 0
