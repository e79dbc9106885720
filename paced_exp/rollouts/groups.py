"""Generation in fixed groups of problems, each stored whole or not at all, so that a resumed run decodes the very same batches.

A rollout depends on the batch around it through floating-point rounding, which can flip a token. Evaluation can bear that; training cannot
if a killed and resumed run is to end with the same weights, bit for bit.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from paced_exp.core.progress import progress
from paced_exp.grading.grader import Grader
from paced_exp.rollouts.engine import Watch
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.store import ChunkStore

GROUP = 256

Item = TypeVar("Item")
Generate = Callable[[list[Item], Watch | None], Iterable[list[dict[str, Any]]]]


@dataclass(frozen=True)
class Processes:
    """This process's part in a run of several: the main one makes what all need and writes it; `wait` is a barrier."""

    main: bool = True
    wait: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class RunContext:
    """Where a run stores what it generates, and with what it generates and grades."""

    folder: Path
    engines: Engines
    grader: Grader
    processes: Processes = Processes()


def made_once(
    context: RunContext,
    name: str,
    items: Mapping[str, Item],
    generate: Generate[Item],
    *,
    description: str | None = None,
    samples: int = 1,
    size: int = GROUP,
) -> ChunkStore:
    """The store `name` in the run's folder with the rows of all `items`, by id; the main process makes what is missing, others wait.

    Groups of `size` are cut from `items` in order. `generate(group, watch)` gives the rows of a group, which are stored in one line once
    they are complete; a group counts as done when the store has its first item. description: of the progress bar, which counts `samples`
    rollouts an item; without one there is no bar.
    """
    if context.processes.main:
        store = ChunkStore(context.folder, name)
        done = store.done_ids()
        stored = samples * len(done & items.keys())
        shown = nullcontext() if description is None else progress(samples * len(items), "rollouts", description, initial=stored)
        names = list(items)
        with shown as bar:
            for start in range(0, len(names), size):
                group = names[start : start + size]
                if group[0] not in done:
                    made = generate([items[each] for each in group], None if bar is None else bar.watch)
                    store.append([row for rows in made for row in rows])
    context.processes.wait()
    return ChunkStore(context.folder, name)
