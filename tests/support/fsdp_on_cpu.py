"""FSDP2 over processes on gloo: accelerate shards a model over GPUs only, so a test tells it to shard over CPUs.

The model, its sharding by torch, the trainer and all that is written are as on GPUs; only accelerate's choice by device is replaced.
"""

from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from paced_exp.training import build

ARGUMENTS = {"fsdp": True}  # of transformers.TrainingArguments


def allow() -> None:
    """From here on, in this process, `ARGUMENTS` shard on CPUs too."""
    init = AcceleratorState.__init__

    def sharding(self: AcceleratorState, *arguments: Any, fsdp_plugin: Any = None, **options: Any) -> None:
        init(self, *arguments, fsdp_plugin=fsdp_plugin, **options)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.fsdp_plugin = fsdp_plugin
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = sharding
    build.check_fsdp_device = lambda *_: None
