"""Which response each problem's gradient is taken on: the teacher's reference, the worked solution, or a rollout of the student's own."""

from typing import Any

from paced_exp.grading import Grader
from paced_exp.models import LoadedModel
from paced_exp.probe.earlier import EarlierRun
from paced_exp.problems import Problem
from paced_exp.progress import progress
from paced_exp.references import Reference, make_references, solution_ids
from paced_exp.rollouts.collect import collect
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.store import ChunkStore
from paced_exp.run_folder import RunFolder


def responses_for(
    config: Any,
    run: RunFolder,
    kept: list[Problem],
    student: LoadedModel,
    teacher: LoadedModel,
    grader: Grader,
    engines: Engines,
    earlier: EarlierRun | None = None,
) -> dict[str, Reference]:
    """The response of every kept problem, by id, continuing from what the run's folder holds.

    A rollout is a fresh one: among those that made the pass rate, a problem of the bin 0/K has none that passed although some would.
    Raises `UserError` for a problem without the expert solution that is needed.
    """
    if config.response == "solution":
        return {problem.id: Reference(problem.id, solution_ids(problem, student), "solution", 0, 0) for problem in kept}
    if config.response == "rollout":
        return _own_rollouts(config, run, kept, student, grader, engines)
    store = ChunkStore(run.path, "references")
    if earlier is not None:
        earlier.give_references(kept, store)
    with _bar(kept, store) as bar:
        made = make_references(
            kept,
            teacher,
            engines.of(teacher),
            grader,
            store,
            candidates=config.candidates,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            fallback=config.fallback,
            prompt=config.teacher_prompt,
            # With the rollouts' own seed a model that teaches itself would reuse the very draws that made its pass rate.
            seed=config.seed + 1,
            on_problem=bar.update,
        )
    store.finalise(order=[problem.id for problem in kept])
    return made


def _own_rollouts(
    config: Any, run: RunFolder, kept: list[Problem], student: LoadedModel, grader: Grader, engines: Engines
) -> dict[str, Reference]:
    store = ChunkStore(run.path, "responses")
    with _bar(kept, store) as bar:
        for _ in collect(
            kept,
            student,
            engines.of(student),
            grader,
            store,
            samples=1,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seed=config.seed + 2,  # neither the rollouts' nor the references'
        ):
            bar.update()
    store.finalise(order=[problem.id for problem in kept])
    rows = store.rows()
    return {
        name: Reference(name, list(ids), "student", 1, int(correct))
        for name, ids, correct in zip(rows["problem_id"], rows["token_ids"], rows["correct"], strict=True)
    }


def _bar(kept: list[Problem], store: ChunkStore) -> Any:
    done = store.done_ids()
    return progress(len(kept), "responses", "responses", initial=sum(problem.id in done for problem in kept))
