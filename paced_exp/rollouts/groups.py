"""Generation in fixed groups of problems. A group is stored whole or not at all, so that a resumed run decodes the same batches.

Through floating-point rounding a rollout depends on the rest of its batch, which can change a token. Evaluation can tolerate that. Training
cannot: a killed and resumed run must end with the same weights, bit for bit.
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
    """This process's part in a run of several. main: whether it generates and writes the rows that all read. wait: a barrier."""

    main: bool = True
    wait: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class RunContext:
    """A run's folder for generated rows, and its engines, grader and processes."""

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
    """The store `name` in the run's folder with the rows of all `items`, by id. The main process makes missing rows; the others wait.

    Groups of `size` are cut from `items` in order. `generate(group, watch)` makes the rows of a group, which are stored in one line once they
    are complete. A group is done if the store has its first item. description: of the progress bar, which counts `samples` rollouts for each
    item; None for no bar.
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
