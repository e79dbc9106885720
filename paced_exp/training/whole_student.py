"""The student as one whole model, to sample from: a copy on the main process where FSDP has sharded the student, or where it is to sample in half precision.

A sharded model only computes with all processes together. Rollouts are made by the main process alone, which would wait for the others forever.
Under autocast every token would read float32 keys and values, which takes twice as long as sampling from a copy in bfloat16.
"""

import copy
from dataclasses import replace

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM

from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.groups import Processes


class WholeStudent:
    """Gives the student with its current weights, for the main process to sample from.

    student: the model in training. It may become sharded (FSDP2) between two calls. half: in bfloat16, whatever the student trains in.
    """

    def __init__(self, student: LoadedModel, processes: Processes, *, half: bool = False) -> None:
        self._student = student
        self._processes = processes
        self._half = half
        self._copy: LoadedModel | None = None

    def current(self) -> LoadedModel:
        """The student, or a whole copy with its current weights. All processes must call this, since they gather the weights together."""
        model = self._student.model
        sharded = any(isinstance(parameter, DTensor) for parameter in model.parameters())
        if not sharded and not self._half:
            return self._student
        gathered = StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights = get_model_state_dict(model, options=gathered) if sharded else model.state_dict()
        if not self._processes.main:  # the gathered weights are on the main process only
            return self._student
        if self._copy is None:
            dtype = torch.bfloat16 if self._half else model.dtype
            with torch.random.fork_rng(devices=[]):  # weights are drawn only to be overwritten, and must not move the training's generator
                # Of a copy of the configuration, whose dtype this sets.
                whole = AutoModelForCausalLM.from_config(copy.deepcopy(model.config), dtype=dtype, trust_remote_code=False)
            self._copy = replace(self._student, model=whole.to(self._student.device).eval())
        self._copy.model.load_state_dict(weights)
        return self._copy
