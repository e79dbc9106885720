"""The weight in NeMo-RL's `loss_multiplier`, and what its normalisation by global batches makes of it."""

import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import betabinom

from paced_exp.core.errors import UserError
from paced_exp.integrations.nemo_rl import register, weighted
from paced_theory import posterior_weight

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "integrations" / "nemo-rl.md").read_text()


def processor(datum: dict[str, Any], task: Any, tokenizer: Any, most: int, idx: int) -> dict[str, Any]:
    """As NeMo-RL's: what is too long gets the multiplier 0."""
    return {
        "message_log": datum["messages"],
        "length": len(datum["messages"]),
        "loss_multiplier": float(len(datum["messages"]) < most),
        "idx": idx,
    }


def test_the_weight_multiplies_and_masked_samples_stay_masked() -> None:
    own = pickle.loads(pickle.dumps(weighted(processor)))  # to a loader's worker
    made = [own({"messages": ["x"] * n, "paced_weight": w}, None, None, 4, idx=n) for n, w in ((1, 0.5), (3, 2.0), (4, 2.0))]
    assert [row["loss_multiplier"] for row in made] == [0.5, 2.0, 0.0] and [row["idx"] for row in made] == [1, 3, 4]
    for bad in (
        {},
        {"paced_weight": None},
        {"paced_weight": -1.0},
        {"paced_weight": float("nan")},
        {"paced_weight": float("inf")},
        {"paced_weight": "1.0"},
    ):
        with pytest.raises(UserError, match="must be a finite number of at least 0; write the file with: paced export --format nemo-rl"):
            own({"messages": [], **bad}, None, None, 4, 0)


def test_it_is_registered_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    registry: dict[str, Any] = {"math_hf_data_processor": processor}
    module: Any = types.ModuleType("nemo_rl.data.processors")
    module.PROCESSOR_REGISTRY, module.register_processor = registry, registry.__setitem__
    for name in ("nemo_rl", "nemo_rl.data"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "nemo_rl.data.processors", module)
    register()
    assert registry["paced_math"]({"messages": ["x"], "paced_weight": 0.25}, None, None, 4, 0)["loss_multiplier"] == 0.25
    with pytest.raises(UserError, match="`processor` mine is not known to NeMo-RL; known: math_hf_data_processor, paced_math"):
        register("other", "mine")


def test_another_nemo_rl_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    line = (
        "NeMo-RL should have PROCESSOR_REGISTRY and register_processor in nemo_rl.data.processors, and has not .* tried with commit 7ea279a"
    )
    monkeypatch.setitem(sys.modules, "nemo_rl", None)  # not installed
    with pytest.raises(UserError, match=line):
        register()
    for name in ("nemo_rl", "nemo_rl.data", "nemo_rl.data.processors"):  # without the registry
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    with pytest.raises(UserError, match=line):
        register()
    assert "commit 7ea279a" in PAGE


def test_what_small_global_batches_do_to_the_weights_is_the_page_s() -> None:
    """Effective weights E[w_i / W] of problems drawn with others under the lab's law, by simulation."""
    K, law = 8, (0.35, 0.43)
    k = np.arange(K + 1)
    mass, w = betabinom.pmf(k, K, *law), posterior_weight(k, K, prior=law)
    w = w / (mass @ w)
    assert f"{w[4] / w[0]:.1f} times" in PAGE
    rng = np.random.default_rng(0)
    rows = []
    for n in (1, 2, 8, 64):
        others = rng.choice(w, p=mass, size=(200_000, n - 1)).sum(1)
        middle, never = ((own * n / (own + others)).mean() for own in (w[4], w[0]))
        rows.append((n, f"{middle / never:.1f}"))
        spread = np.sqrt((mass @ w**2 - 1) / n)
        assert f"| {n} | {middle / never:.1f} | {100 * spread:.0f} % |" in PAGE, (n, middle / never, spread)
    assert rows[0][1] == "1.0"


@pytest.mark.skipif("PACED_NEMO_RL" not in os.environ, reason="PACED_NEMO_RL names no checkout of NeMo-RL")
def test_nemo_rl_s_own_loss_is_the_renormalised_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(os.environ["PACED_NEMO_RL"])
    from nemo_rl.algorithms.loss.loss_functions import DistillationLossConfig, DistillationLossFn
    from nemo_rl.data.collate_fn import rl_collate_fn
    from nemo_rl.data.processors import PROCESSOR_REGISTRY

    register("paced_sft", "sft_processor")
    assert "paced_sft" in PROCESSOR_REGISTRY
    weights, lengths = [0.5, 2.0, 1.25], [2, 4, 1]
    own = weighted(processor)
    data = [
        {**own({"messages": ["x"] * n, "paced_weight": w}, None, None, 9, 0), "extra_env_info": None}
        for n, w in zip(lengths, weights, strict=True)
    ]
    collated = rl_collate_fn(data)
    assert collated["loss_multiplier"].tolist() == weights
    mask = torch.tensor([[0.0] + [float(t < n) for t in range(4)] for n in lengths])
    rng = np.random.default_rng(0)
    student, teacher = (torch.tensor(rng.normal(size=(3, 4, 5))).log_softmax(-1) for _ in range(2))
    # As its policy worker counts: the tokens of the global batch, each times its sample's multiplier.
    tokens = (mask[:, 1:] * collated["loss_multiplier"][:, None]).sum()
    inputs = {"input_ids": torch.zeros(3, 5), "token_mask": mask, "sample_mask": collated["loss_multiplier"]}
    loss, _ = DistillationLossFn(DistillationLossConfig(kl_type="forward", mixed_kl_weight=0.5, zero_outside_topk=False))(
        student, teacher, None, inputs, collated["loss_multiplier"].sum(), tokens
    )
    kl = (teacher.exp() * (teacher - student)).sum(-1)
    expected = sum(w * kl[i, :n].sum() for i, (w, n) in enumerate(zip(weights, lengths, strict=True))) / np.dot(weights, lengths)
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
