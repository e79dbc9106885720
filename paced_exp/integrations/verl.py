"""verl's on-policy distillation losses, each response's times its problem's weight: `export VERL_USE_EXTERNAL_MODULES=paced_exp.integrations.verl`.

Registers paced_k1, paced_k2, paced_k3 and paced_forward_kl_topk, for `distillation.distillation_loss.loss_mode`. The weight is the column
`paced_weight` of the training file (`paced export --format verl` writes it), which travels with a row to its responses' losses. It is a
response's, and not a token's, with `actor.loss_agg_mode=seq-mean-token-mean`. Needs numpy and scipy besides what verl needs.

verl reads no advantage estimator here: it backpropagates these losses, or takes their negatives as advantages, so this is where a weight goes.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from paced_exp.core.errors import UserError
from paced_exp.integrations.peers import require
from paced_exp.integrations.row_weight import WEIGHT

require("verl")

from verl.trainer.distillation.losses import (  # noqa: E402
    DistillationLossSettings,
    compute_distillation_loss_reverse_kl_estimator,
    compute_forward_kl_topk,
    register_distillation_loss,
)
from verl.utils import tensordict_utils  # noqa: E402

ESTIMATORS = ("k1", "k2", "k3")

Loss = Callable[[Any, Any, Any, Any], tuple[torch.Tensor, dict[str, Any]]]


def weighted(losses: torch.Tensor, data: Any) -> torch.Tensor:
    """losses (responses, tokens), each row times the `paced_weight` of its response in `data`. Raises `UserError` where there is none."""
    found = tensordict_utils.get(data, WEIGHT)
    if found is None:
        raise UserError(
            f"the training file has no column {WEIGHT!r}; write it with: paced export COUNTS --format verl --problems FILE --out FILE"
        )
    weights = torch.as_tensor(found, dtype=losses.dtype, device=losses.device)
    return losses * weights.reshape(-1, 1)


def _estimator(mode: str) -> Loss:
    # verl's own takes its formula by the loss mode's name, which must be one of its own.
    named = SimpleNamespace(distillation_loss=SimpleNamespace(loss_mode=mode))

    def loss(config: Any, distillation_config: Any, model_output: Any, data: Any) -> tuple[torch.Tensor, dict[str, Any]]:
        if mode == "k1" and not distillation_config.distillation_loss.use_policy_gradient:
            raise UserError(
                "`loss_mode` paced_k1 must not be backpropagated: its gradient does not depend on the teacher; set `use_policy_gradient` or take "
                "paced_k2, paced_k3 or paced_forward_kl_topk"
            )
        losses, metrics = compute_distillation_loss_reverse_kl_estimator(config, named, model_output, data)
        return weighted(losses, data), metrics

    return loss


def _topk(config: Any, distillation_config: Any, model_output: Any, data: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    losses, metrics = compute_forward_kl_topk(config, distillation_config, model_output, data)
    return weighted(losses, data), metrics


for _mode in ESTIMATORS:
    register_distillation_loss(DistillationLossSettings(names=[f"paced_{_mode}"], use_estimator=True))(_estimator(_mode))
register_distillation_loss(DistillationLossSettings(names=["paced_forward_kl_topk"], use_topk=True))(_topk)
