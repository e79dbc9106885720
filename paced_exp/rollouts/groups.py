"""Generation in fixed groups of problems, each stored whole or not at all, so that a resumed run decodes the very same batches.

A rollout depends on the batch around it through floating-point rounding, which can flip a token. Evaluation can bear that; training cannot
if a killed and resumed run is to end with the same weights, bit for bit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from paced_exp.core.progress import progress
from paced_exp.rollouts.engine import Watch
from paced_exp.rollouts.store import ChunkStore

GROUP = 256

Item = TypeVar("Item")


class Buffer(ChunkStore):
    """A store in memory: takes what a group's generation would write, to be stored in one line once the group is complete.

    watch: to be told of the group's rollouts as they finish (`RolloutEngine.generate`).
    """

    def __init__(self, watch: Watch | None = None) -> None:
        self.buffered: list[dict[str, Any]] = []
        self.watch = watch

    def done_ids(self) -> set[str]:
        return set()

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.buffered += [dict(row) for row in rows]

    def chunks(self) -> Iterator[list[dict[str, Any]]]:
        yield self.buffered


def in_groups(
    items: Sequence[Item],
    name: Callable[[Item], str],
    store: ChunkStore,
    generate: Callable[[list[Item], Buffer], object],
    size: int = GROUP,
    watch: Watch | None = None,
) -> Iterator[int]:
    """Have `generate(group, buffer)` make the rows of every group that `store` lacks, and store them; yields each group's length.

    Groups are cut from `items` in order; a group counts as done when the store has its first item.
    """
    done = store.done_ids()
    for start in range(0, len(items), size):
        group = list(items[start : start + size])
        if name(group[0]) not in done:
            buffer = Buffer(watch)
            generate(group, buffer)
            store.append(buffer.buffered)
        yield len(group)


@dataclass(frozen=True)
class Processes:
    """This process's part in a run of several: the main one makes what all need and writes it; `wait` is a barrier."""

    main: bool = True
    wait: Callable[[], None] = lambda: None


def made_once(
    folder: Path,
    name: str,
    items: Sequence[Item],
    key: Callable[[Item], str],
    generate: Callable[[list[Item], Buffer], object],
    processes: Processes,
    *,
    description: str | None = None,
    samples: int = 1,
    size: int = GROUP,
) -> ChunkStore:
    """The store `name` in `folder` with rows of all `items`: the main process makes what is missing (see `in_groups`) while others wait.

    description: of the progress bar, in rollouts, of which each item has `samples`; without one there is no bar.
    """
    if processes.main:
        store = ChunkStore(folder, name)
        if description is None:
            for _ in in_groups(items, key, store, generate, size):
                pass
        else:
            done = store.done_ids()
            stored = samples * sum(key(item) in done for item in items)
            with progress(samples * len(items), "rollouts", description, initial=stored) as bar:
                for _ in in_groups(items, key, store, generate, size, bar.watch):
                    pass
    processes.wait()
    return ChunkStore(folder, name)
