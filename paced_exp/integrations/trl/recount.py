"""Pass rates counted again every so many steps: the student moves, and a weight counted once goes stale."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback
from trl.models.utils import unwrap_model_for_generation

from paced_exp.core.errors import UserError
from paced_exp.data.problem_tables import Counts, read_counts, write_rows
from paced_exp.integrations.rows import ID, WEIGHT
from paced_exp.integrations.trl.scaling import WeightedTrainer
from paced_exp.weighting import Beta, Estimator, Kernel
from paced_exp.weighting import weights as weights_of

PASS = 1.0  # a reward of at least this is a pass: a partial credit is none


class CountAgain(TrainerCallback):
    """Every `every` steps: K rollouts of every problem by the student as it is, k passes, new weights.

    trainer: a trainer of this package, to which the callback adds itself. problems: a `datasets.Dataset` with `problem_id`, `prompt` and the
    columns that `passes` reads; the trainer's own rows need a `problem_id`. passes: a reward function of TRL's kind, called with prompts=,
    completions= and the columns; 1 is a pass, None leaves the rollout out. max_new_tokens, temperature: those of training, by default the
    trainer's own for `PacedDistillationTrainer`, which also generates the way it does in training (vLLM included).

    The counts go to OUTPUT_DIR/pass_rates/step-N.jsonl; a training that is resumed reads the last of them. New weights have the mean of those
    that they replace over the rows that are trained on: one, where all of these are counted. So the learning rate keeps its meaning, and the
    same counts give the same weights, though rows of weight zero were left out of the training and are in `problems`. (A stream's rows are not
    known: there, the mean is one over all counted problems.) A row that falls to weight zero stays in the data and adds nothing (empirical
    Bayes gives none); one that was not counted keeps its own weight. The draws of the training are left as they were. It costs K rollouts a
    problem each time.

    Raises `UserError` for a trainer of another class, rows or problems without a problem_id, and, during training, counts by which no row that
    is trained on has a weight.
    """

    def __init__(
        self,
        trainer: Any,
        problems: Any,
        passes: Callable[..., Any],
        *,
        every: int,
        K: int = 8,
        kernel: str | Kernel | Callable[[float], float] = Beta(1, 1),  # noqa: B008 (a frozen value)
        estimator: str | Estimator = "plugin",
        max_new_tokens: int | None = None,
        temperature: float = 1.0,
        batch: int = 32,
    ) -> None:
        self.trainer: Any = trainer
        if not isinstance(trainer, WeightedTrainer):
            raise UserError(f"`trainer` is a {type(trainer).__name__}, which has no weights; give one of paced_exp.integrations.trl")
        for name, columns in (("problems", problems.column_names), ("the trainer's rows", trainer.train_dataset.column_names)):
            if columns is not None and ID not in columns:  # not known for some streams, whose rows are checked in training
                raise UserError(f"`{ID}` is no column of {name}, by which new weights are joined; there are {', '.join(columns)}")
        if min(every, K, batch) < 1:
            raise UserError(f"`every` {every}, `K` {K} and `batch` {batch} must be at least 1")
        own = hasattr(trainer, "_generate_single_turn")
        if max_new_tokens is None and not own:
            raise UserError("`max_new_tokens` must be given for this trainer: a pass rate depends on the limit")
        self.problems, self.passes, self.every, self.K, self.batch = problems, passes, every, K, batch
        self.kernel, self.estimator = kernel, estimator
        self.sampling = {"max_new_tokens": max_new_tokens, "temperature": temperature}
        self.generate = self._as_in_training if own and max_new_tokens is None else self._with_the_model
        self.trained = _own_weights(trainer.train_dataset) if hasattr(trainer.train_dataset, "select") else None
        self.trainer.add_callback(self)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A resumed training goes on with the weights that it had."""
        done = [(int(path.stem.rpartition("-")[2]), path) for path in self._folder().glob("step-*.jsonl")]
        earlier = [item for item in done if item[0] <= state.global_step]
        if state.global_step and earlier:
            self._weigh(read_counts(max(earlier)[1]))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count and weigh if it is time."""
        if state.global_step % self.every == 0 and state.global_step < state.max_steps:
            counts = self.count(state.global_step)
            if self.trainer.accelerator.is_main_process:
                columns: dict[str, Any] = {ID: counts.problem_id, "k": counts.k, "K": counts.K}
                write_rows(self._folder() / f"step-{state.global_step:06d}.jsonl", columns)
            self._weigh(counts)

    def count(self, seed: int = 0) -> Counts:
        """k of K of every problem by the student as it is. Every process counts its share, and all return all."""
        accelerator = self.trainer.accelerator
        ranks, rank, n = accelerator.num_processes, accelerator.process_index, len(self.problems)
        # As many for every process, since generating may be a joint effort: the last ones are counted twice and used once.
        mine = [place % n for place in range(rank, -(-n // ranks) * ranks, ranks)]
        model = self.trainer.model
        training = model.training
        found: dict[int, tuple[int, int]] = {}
        model.eval()
        try:
            with torch.random.fork_rng():
                torch.manual_seed(np.random.SeedSequence([self.trainer.args.seed, seed, rank]).generate_state(1)[0])
                jobs = [place for place in mine for _ in range(self.K)]
                for start in range(0, len(jobs), self.batch):
                    self._grade(jobs[start : start + self.batch], found)
        finally:
            model.train(training)
        gathered: dict[int, tuple[int, int]] = {}
        for part in _gathered(list(found.items()), ranks):
            gathered.setdefault(part[0], part[1])
        counted = [place for place in sorted(gathered) if gathered[place][1]]
        ids = [str(name) for name in self.problems[ID]]
        return Counts([ids[at] for at in counted], *(np.array([gathered[at][part] for at in counted]) for part in (0, 1)))

    def _grade(self, places: list[int], found: dict[int, tuple[int, int]]) -> None:
        rows = [self.problems[place] for place in places]
        prompts = [row["prompt"] for row in rows]
        completions: list[Any] = self.generate(prompts)
        if not isinstance(prompts[0], str):  # a conversation: rewards are of messages
            completions = [[{"role": "assistant", "content": text}] for text in completions]
        columns = {name: [row[name] for row in rows] for name in rows[0] if name != "prompt"}
        for place, reward in zip(places, self.passes(prompts=prompts, completions=completions, **columns), strict=True):
            k, K = found.get(place, (0, 0))
            found[place] = (k, K) if reward is None else (k + (reward >= PASS), K + 1)

    def _as_in_training(self, prompts: list[Any]) -> list[str]:
        trainer = self.trainer
        ids, images, fields = trainer._tokenize_prompts(prompts)
        texts: list[str] = trainer.processing_class.batch_decode(
            trainer._generate_single_turn(ids, images, fields), skip_special_tokens=True
        )
        return texts

    def _with_the_model(self, prompts: list[Any]) -> list[str]:
        trainer = self.trainer
        tokenizer = trainer.processing_class
        if not isinstance(prompts[0], str):
            prompts = [tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False) for prompt in prompts]
        read = tokenizer(prompts, padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt").to(
            trainer.accelerator.device
        )
        options = {**self.sampling, "do_sample": True, "top_k": 0, "top_p": 1.0, "pad_token_id": tokenizer.pad_token_id}
        inputs = {"input_ids": read["input_ids"], "attention_mask": read["attention_mask"]}
        with torch.no_grad(), unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model:
            made = model.generate(**inputs, **options)
        texts: list[str] = tokenizer.batch_decode(made[:, read["input_ids"].shape[1] :], skip_special_tokens=True)
        return texts

    def _weigh(self, counts: Counts) -> None:
        """Give the trainer the weights by these counts. They are estimated from all of them, since empirical Bayes fits a prior to the pool."""
        values = weights_of(counts.k, counts.K, self.kernel, self.estimator).values if counts.problem_id else np.empty(0)
        made = dict(zip(counts.problem_id, values.tolist(), strict=True))
        if self.trained is not None:
            made = {name: weight for name, weight in made.items() if name in self.trained}
            before = sum(sum(self.trained[name]) for name in made)
            after = sum(len(self.trained[name]) * weight for name, weight in made.items())
            if made and after == 0:
                raise UserError(
                    f"`estimator` {self.estimator} gives all {len(made)} problems that are trained on weight zero by the new counts: the student "
                    "solves each always or never; take posterior or empirical_bayes, a larger `K`, or end the training here"
                )
            made = {name: weight * before / after for name, weight in made.items()}
        self.trainer.counted_again = made

    def _folder(self) -> Path:
        return Path(self.trainer.args.output_dir) / "pass_rates"


def _own_weights(rows: Any) -> dict[str, list[float]]:
    """problem_id -> the weights of its rows, as they were before any count."""
    found: dict[str, list[float]] = {}
    for name, weight in zip(rows[ID], rows[WEIGHT], strict=True):
        found.setdefault(str(name), []).append(float(weight))
    return found


def _gathered(items: list[Any], ranks: int) -> list[Any]:
    if ranks == 1:
        return items
    from accelerate.utils import gather_object

    return list(gather_object(items))
