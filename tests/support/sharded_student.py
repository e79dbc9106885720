"""A student sharded by FSDP2 over two processes on gloo, gathered, changed, gathered again; the main process writes what it saw."""

import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from paced_exp.rollouts.groups import Processes
from paced_exp.training.whole_student import WholeStudent
from tests.support.forked_ranks import run_ranks
from tests.support.tiny_models import loaded, tiny_model


def rank() -> None:
    """One process's part."""
    dist.init_process_group("gloo")
    main = dist.get_rank() == 0
    student = loaded(tiny_model("qwen3", seed=0))
    whole = WholeStudent(student, Processes(main, dist.barrier))
    assert whole.current() is student
    mesh = init_device_mesh("cpu", (2,))
    for layer in student.model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(student.model, mesh=mesh)
    seen = []
    for _ in range(2):
        found = whole.current()
        seen.append({name: value.clone() for name, value in found.model.state_dict().items()} if main else {})
        with torch.no_grad():
            for parameter in student.model.parameters():
                parameter.mul_(2)
    if main:
        assert found is not student
        torch.save(seen, sys.argv[1])
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_ranks(2, rank)
