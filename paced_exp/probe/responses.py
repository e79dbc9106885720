"""The response for each problem's gradient: the teacher's reference, the worked solution, or a rollout of the student."""

from paced_exp.core.errors import UserError
from paced_exp.core.progress import Bar, progress
from paced_exp.core.run_folder import RunFolder
from paced_exp.data.problem import Problem
from paced_exp.grading.grader import Grader
from paced_exp.models.loading import LoadedModel
from paced_exp.probe.config import ProbeConfig
from paced_exp.probe.earlier import EarlierRun
from paced_exp.rollouts.collect import collect
from paced_exp.rollouts.engine import Sampling
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.references import Reference, ReferenceRecipe, make_references, solution_ids, vocabulary_of
from paced_exp.rollouts.rows import outside
from paced_exp.rollouts.store import ChunkStore


def responses_for(
    config: ProbeConfig,
    run: RunFolder,
    kept: list[Problem],
    student: LoadedModel,
    teacher: LoadedModel,
    grader: Grader,
    engines: Engines,
    earlier: EarlierRun | None = None,
) -> dict[str, Reference]:
    """The response of every kept problem, by id. Responses in the run's folder are used again.

    A rollout is a new one, since those behind the pass rate are selected: a problem in the bin 0/K has none that passed, although some would.
    Raises `UserError` for a problem without the expert solution that it needs.
    """
    if config.response == "solution":
        return {problem.id: Reference(problem.id, solution_ids(problem, student), "solution", 0, 0) for problem in kept}
    if config.response == "rollout":
        return _own_rollouts(config, run, kept, student, grader, engines)
    store = ChunkStore(run.path, "references")
    if earlier is not None:
        earlier.give_references(kept, store)
    with _bar(kept, store, config.candidates) as bar:
        made = make_references(
            kept,
            teacher,
            engines.of(teacher),
            grader,
            store,
            ReferenceRecipe(
                config.candidates, config.fallback, config.teacher_prompt, config.temperature, config.max_new_tokens, config.seed
            ),
            watch=bar.watch,
        )
    store.finalise(order=[problem.id for problem in kept])
    return made


def _own_rollouts(
    config: ProbeConfig, run: RunFolder, kept: list[Problem], student: LoadedModel, grader: Grader, engines: Engines
) -> dict[str, Reference]:
    store = ChunkStore(run.path, "responses")
    with _bar(kept, store, 1) as bar:
        for _ in collect(
            kept,
            student,
            engines.of(student),
            grader,
            store,
            # Neither rollouts nor references use this seed.
            Sampling(1, config.max_new_tokens, config.temperature, config.seed + 2),
            watch=bar.watch,
        ):
            pass
    store.finalise(order=[problem.id for problem in kept])
    return {problem.id: _own_rollout(store, problem.id, vocabulary_of(student)) for problem in kept}


def _own_rollout(store: ChunkStore, name: str, vocabulary: int) -> Reference:
    row = store.rows_of(name)[0]
    if (token := outside(row["token_ids"], vocabulary)) is not None:
        raise UserError(
            f"{store.where(name)}: the rollout of problem {name!r} holds token id {token}, outside the vocabulary of {vocabulary}; delete "
            f"{store.path} and run the same command again"
        )
    return Reference(name, row["token_ids"], "student", 1, int(row["correct"]))


def _bar(kept: list[Problem], store: ChunkStore, samples: int) -> Bar:
    done = store.done_ids()
    return progress(samples * len(kept), "rollouts", "responses", initial=samples * sum(problem.id in done for problem in kept))
