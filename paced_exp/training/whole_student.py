"""The student as one whole model, to sample from. If FSDP has sharded it over the processes, this is a copy on the main process.

A sharded model only computes with all processes together. Rollouts are made by the main process alone, which would wait for the others forever.
"""

from dataclasses import replace

from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM

from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.groups import Processes


class WholeStudent:
    """Gives the student with its current weights, for the main process to sample from.

    student: the model in training. It may become sharded (FSDP2) between two calls.
    """

    def __init__(self, student: LoadedModel, processes: Processes) -> None:
        self._student = student
        self._processes = processes
        self._copy: LoadedModel | None = None

    def current(self) -> LoadedModel:
        """The student, or a whole copy with its current weights. All processes must call this, since they gather the weights together."""
        model = self._student.model
        if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
            return self._student
        weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        if not self._processes.main:  # the gathered weights are on the main process only
            return self._student
        if self._copy is None:
            whole = AutoModelForCausalLM.from_config(model.config, dtype=model.dtype, trust_remote_code=False)
            self._copy = replace(self._student, model=whole.to(self._student.device).eval())
        self._copy.model.load_state_dict(weights)
        return self._copy
