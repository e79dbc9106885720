"""Rollouts and references of an earlier probe, used again by a probe of the same problems with other options."""

from collections.abc import Iterator, Mapping
from typing import Any

from paced_exp.core.config import read_yaml
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json
from paced_exp.core.run_folder import RunFolder
from paced_exp.data.problem import Problem
from paced_exp.models.loading import device_named
from paced_exp.probe.config import ProbeConfig
from paced_exp.rollouts.store import ChunkStore

_ROLLED_OUT = ("problems", "columns", "K", "temperature", "max_new_tokens", "seed")
_REFERRED_TO = {
    "candidates": None,
    "fallback": None,
    "teacher_prompt": "privileged",
}  # with the value that older runs had before the option existed


class EarlierRun:
    """The probe in the folder `path`. Its rollouts and references are exactly those that the new run would sample.

    config: of the new run. inputs: fingerprints of what the new run reads (`RunFolder.claim`). Raises `UserError` if the earlier run's rollouts differ.
    """

    def __init__(self, path: str, config: ProbeConfig, inputs: dict[str, str]) -> None:
        folder = RunFolder(path, config)
        if not (folder / "config.yaml").exists() or not (folder / "inputs.json").exists():
            raise UserError(f"`rollouts_from` {folder.path} is no folder of a probe; name the `out` of one")
        stored, theirs = read_yaml(folder / "config.yaml"), read_json(folder / "inputs.json")
        if not isinstance(theirs, dict):
            raise UserError(
                f"`rollouts_from`: {folder / 'inputs.json'} holds a {type(theirs).__name__}, not an object; name a whole probe's `out`"
            )
        differing = [name for name in _ROLLED_OUT if stored.get(name) != getattr(config, name)]
        place = device_named(config.device).type
        theirs_sampled_in, ours_sampled_in = (_sampled_in(options, place) for options in (stored, vars(config)))
        differing += ["rollout_dtype"] if theirs_sampled_in != ours_sampled_in else []
        differing += [name for name in ("problems", "student") if theirs.get(name) != inputs[name] and name not in differing]
        if differing:
            raise UserError(
                f"`rollouts_from` {folder.path} rolled out with another {', '.join(differing)}; name a run that agrees, or leave the option out"
            )
        self._folder = folder
        self._same_references = theirs.get("teacher") == inputs["teacher"] and all(
            stored.get(name, before) == getattr(config, name) for name, before in _REFERRED_TO.items()
        )
        self._rollouts = ChunkStore(folder.path, "rollouts")
        self._rollouts.check_samples(self._rollouts.done_ids(), config.K)
        # The screen of a run without fresh rollouts, or with another number of them, can still be used.
        self._fresh = ChunkStore(folder.path, "fresh_rollouts") if stored.get("fresh_rollouts", 0) == config.fresh_rollouts > 0 else None
        if self._fresh is not None:
            self._fresh.check_samples(self._fresh.done_ids(), config.fresh_rollouts)

    def give_rollouts(self, problems: list[Problem], store: ChunkStore) -> Iterator[list[dict[str, Any]]]:
        """Append to `store` the rollouts of these problems that it lacks and the earlier run has. Yields each problem's rows."""
        yield from _give(self._rollouts, problems, store)

    def give_fresh(self, problems: list[Problem], store: ChunkStore) -> Iterator[list[dict[str, Any]]]:
        """The same for fresh rollouts."""
        if self._fresh is not None:
            yield from _give(self._fresh, problems, store)

    def give_references(self, problems: list[Problem], store: ChunkStore) -> None:
        """Append to `store` the references that it lacks, if the earlier run had the same teacher and sampled in the same way."""
        if not self._same_references:
            return
        earlier = ChunkStore(self._folder.path, "references")
        wanted = earlier.done_ids() - store.done_ids()
        for problem in problems:
            if problem.id in wanted:
                store.append(earlier.rows_of(problem.id))


def _sampled_in(options: Mapping[str, Any], place: str) -> str:
    """The precision of rollouts by these options, which an older run may lack in part. place: cpu or cuda, which says what auto is."""
    chosen = options.get("rollout_dtype", "auto")
    named = options.get("dtype", "auto") if chosen == "auto" else chosen
    return "float32" if named == "auto" and place == "cpu" else str(named)


def _give(earlier: ChunkStore, problems: list[Problem], store: ChunkStore) -> Iterator[list[dict[str, Any]]]:
    wanted = earlier.done_ids() - store.done_ids()
    for problem in problems:
        if problem.id in wanted:
            rows = earlier.rows_of(problem.id)
            store.append(rows)
            yield rows
