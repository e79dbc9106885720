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
    whole, half = (WholeStudent(student, Processes(main, dist.barrier), half=half) for half in (False, True))
    assert whole.current() is student
    assert (half.current() is student) != main, "the main process alone samples, so it alone has a copy"
    mesh = init_device_mesh("cpu", (2,))
    for layer in student.model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(student.model, mesh=mesh)
    seen = []
    for _ in range(2):
        found, halved = whole.current(), half.current()
        seen.append([{name: value.clone() for name, value in one.model.state_dict().items()} if main else {} for one in (found, halved)])
        with torch.no_grad():
            for parameter in student.model.parameters():
                parameter.mul_(2)
    if main:
        assert found is not student is not halved
        torch.save(seen, sys.argv[1])
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_ranks(2, rank)
