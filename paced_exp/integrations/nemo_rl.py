"""A data processor for NeMo-RL that writes each problem's weight into `loss_multiplier`.

    from paced_exp.integrations.nemo_rl import register
    register("paced_math")                        # then data.train.processor: paced_math, in your copy of examples/run_distillation.py

NeMo-RL's losses multiply a sample's tokens by its `loss_multiplier`, and divide by the sum of these over the global batch: sum_i w_i sum_t l_it /
sum_i w_i n_i. So weights are renormalised in every global batch, and count per token; docs/integrations/nemo-rl.md says what that does.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from paced_exp.core.errors import UserError
from paced_exp.integrations.peers import taken_from
from paced_exp.integrations.row_weight import weight_in

Processor = Callable[..., dict[str, Any]]


def weighted(processor: Processor) -> Processor:
    """`processor` with the datum's weight in its `loss_multiplier`; what it masks out, with a multiplier of 0, stays masked out.

    Raises `UserError` for a datum without a column `paced_weight`, or with one that is negative.
    """
    return partial(_process, processor)  # not a closure: the workers of a data loader may be sent it


def _process(processor: Processor, datum_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    fix = "write the file with: paced export --format nemo-rl, and give data without weights, such as a validation set, another processor"
    weight = weight_in(datum_dict, "a datum has the {}", fix)
    made = processor(datum_dict, *args, **kwargs)
    return {**made, "loss_multiplier": made["loss_multiplier"] * weight}


def register(name: str = "paced_math", processor: str = "math_hf_data_processor") -> None:
    """Register `processor` of NeMo-RL with weights, under `name`.

    Raises `UserError` for a processor that it does not know, and for a NeMo-RL without the registry that is expected.
    """
    known, register_processor = taken_from("nemo_rl.data.processors", "PROCESSOR_REGISTRY", "register_processor")
    if processor not in known:
        raise UserError(f"`processor` {processor} is not known to NeMo-RL; known: {', '.join(known)}")
    register_processor(name, weighted(known[processor]))
