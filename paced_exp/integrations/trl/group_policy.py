"""TRL's GRPOTrainer with our rollouts, graders and advantages: the trainer behind `python -m paced_exp.teacher`.

TRL computes the clipped loss, the reference's log-probabilities and the updates. The rollouts come from this package's engines, so that every
rollout has a random stream of its own and a resumed run samples the same again. The advantages are those of `weighting.advantages`.
"""

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import RepeatSampler

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_object, write_atomically, write_json
from paced_exp.core.progress import progress
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import rendered_prompt
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.engine import Sampling, rollout_seed
from paced_exp.rollouts.groups import RunContext
from paced_exp.rollouts.policy_groups import PolicyGroups, policy_groups
from paced_exp.training.teacher_config import TeacherConfig
from paced_exp.training.teachers import evaluating, matmul_parameters
from paced_exp.training.whole_checkpoints import WholeCheckpoints
from paced_exp.weighting.advantages import error_penalty, group_advantages, group_weights

_SPENT = "spent.json"
GUIDE_QUANTILE, LEAST_GAMMA = 0.9, 1e-4


class GroupPolicyTrainer(WholeCheckpoints, GRPOTrainer):
    """Trains `student` by policy gradient on `problems`. `spent` counts FLOPs by purpose and tokens.

    Raises `UserError` if a loss or a gradient is not finite (the last checkpoint is kept).
    """

    def __init__(
        self, config: TeacherConfig, args: GRPOConfig, context: RunContext, student: LoadedModel, problems: Sequence[Problem]
    ) -> None:
        self.config = config
        self.student = student
        self.context = context
        self.problems = {problem.id: problem for problem in problems}
        self.groups: PolicyGroups | None = None  # of the current update
        self.spent = dict.fromkeys(("training", "reference", "rollouts", "prompt_tokens", "response_tokens", "responses", "guided"), 0.0)
        self._folder = Path(str(args.output_dir))
        self._row_ids: list[str] = []
        rows = {"prompt": [rendered_prompt(student.tokenizer, problem) for problem in problems], "problem_id": list(self.problems)}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*rollout_func.*")  # an experimental feature, whose versions `require` pins
            super().__init__(
                model=student.model,
                reward_funcs=_passes,
                args=args,
                train_dataset=Dataset.from_dict(rows),
                processing_class=student.tokenizer,
                rollout_func=self._roll_out,
            )
        self.pop_callback(PrinterCallback)  # it prints to stdout, which is for results
        self.add_callback(_Bar())

    # ---- rollouts and advantages of an update

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._row_ids = [row["problem_id"] for row in inputs]
        made: dict[str, Any] = super()._generate_and_score_completions(inputs)
        groups = self.groups
        assert groups is not None
        rewards = np.array([[rollout.correct for rollout in group] for group in groups.rollouts], dtype=np.float64)
        advantages = group_advantages(rewards, self.config.advantage, self.config.positive_weight)
        places = [place for place, row in enumerate(groups.rows) if row.guided]
        own = self._own_log_probabilities(made) if self.config.error_penalty or places else None
        if self.config.error_penalty:
            assert own is not None
            shift = ((own - made["ref_per_token_logps"]) * made["completion_mask"]).sum(1)
            advantages = error_penalty(advantages, shift.double().cpu().numpy().reshape(advantages.shape), self.config.error_penalty)
        advantages = advantages * group_weights(rewards, self.config.group_weight)[:, None]
        made["advantages"] = torch.tensor(advantages.ravel(), dtype=torch.float32, device=made["advantages"].device)
        if places:
            assert own is not None
            # Per token from here on. At the only step on these rollouts the ratio that TRL forms is one, so this is the gradient of A f(r).
            shaped = self._shaped(made, own, places)
            made["advantages"] = made["advantages"][:, None] * shaped
        self._count(groups, made)
        return made

    def _roll_out(self, prompts: list[Any], trainer: Any) -> dict[str, Any]:
        """TRL's `rollout_func`: the rows of the update's groups, in TRL's order, G rows a problem."""
        K, step = self.config.K, self.state.global_step
        chosen = [self.problems[name] for name in self._row_ids[::K]]
        assert self._row_ids == [problem.id for problem in chosen for _ in range(K)], "a problem's rollouts do not follow each other"
        sampling, again = (self._sampling(f"{what}-{step}") for what in ("update", "guided"))
        with evaluating(self.model):
            engine = self.context.engines.of(self.student, live=True)
            self.groups = policy_groups(chosen, self.student, engine, self.context.grader, sampling, again, self.config.guide)
        rows = self.groups.rows
        return {
            "prompt_ids": [row.prompt for row in rows],
            "completion_ids": [row.response for row in rows],
            "logprobs": None,
            "passed": [row.correct for row in rows],
        }

    def _sampling(self, name: str) -> Sampling:
        config = self.config
        return Sampling(config.K, config.max_new_tokens, config.temperature, rollout_seed(config.seed, name, 0))

    def _own_log_probabilities(self, made: dict[str, Any], prompts: tuple[torch.Tensor, torch.Tensor] | None = None) -> torch.Tensor:
        """log pi of each response token, (rows, tokens), by the model as it is. prompts: ids and mask of other prompts than those of `made`."""
        ids, mask = (made["prompt_ids"], made["prompt_mask"]) if prompts is None else prompts
        whole, whole_mask = torch.cat([ids, made["completion_ids"]], dim=1), torch.cat([mask, made["completion_mask"]], dim=1)
        with torch.no_grad():
            found, _, _ = self._get_per_token_logps_and_entropies(
                self.model, whole, whole_mask, made["completion_ids"].size(1), batch_size=self.args.per_device_train_batch_size
            )
        self.spent["reference"] += 2.0 * matmul_parameters(self.student.model) * float(whole_mask.sum())
        own: torch.Tensor = found
        return own

    def _shaped(self, made: dict[str, Any], own: torch.Tensor, places: list[int]) -> torch.Tensor:
        """By how much each token's gradient is scaled, (rows, tokens): one, and r f'(r) in the guided rows `places` (`shaped_slope`).

        own: log pi of each response token behind the plain prompt. r: the importance ratio, whose denominator is log pi behind the prompt
        with the hint, from which the response was sampled.
        """
        assert self.groups is not None
        rows = self.groups.rows
        read = [rows[place].read for place in places]
        width, device = max(map(len, read)), own.device
        ids = torch.tensor([[self.student.pad_id] * (width - len(each)) + each for each in read], device=device)
        mask = torch.tensor([[0] * (width - len(each)) + [1] * len(each) for each in read], device=device)
        chosen = {name: made[name][places] for name in ("completion_ids", "completion_mask")}
        sampled = self._own_log_probabilities(chosen, (ids, mask))
        factors = torch.ones_like(own)
        factors[places] = shaped_slope((own[places] - sampled).exp(), chosen["completion_mask"].bool())
        return factors

    def _count(self, groups: PolicyGroups, made: dict[str, Any]) -> None:
        """Add the update's FLOPs: 2 a parameter and token read, sampled or compared with the reference, 6 a token trained on. No padding."""
        parameters = matmul_parameters(self.student.model)
        tokens = float(made["prompt_mask"].sum() + made["completion_mask"].sum())
        rows = groups.rows
        self.spent["training"] += 6.0 * parameters * tokens
        self.spent["reference"] += 2.0 * parameters * tokens if self.beta else 0.0
        self.spent["rollouts"] += 2.0 * parameters * (groups.prompt_tokens + groups.response_tokens)
        self.spent["prompt_tokens"] += groups.prompt_tokens
        self.spent["response_tokens"] += groups.response_tokens
        self.spent["responses"] += len(rows) + sum(row.guided for row in rows)  # those that guided ones replaced were sampled too
        self.spent["guided"] += sum(row.guided for row in rows)

    # ---- metrics and checkpoints

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the update's numbers, and write all lines to metrics.jsonl. Trainer's summary at the end of training is ignored."""
        if "loss" not in logs:
            return
        for what, name in (("loss", "loss"), ("gradient", "grad_norm")):
            if not math.isfinite(logs[name]):
                raise UserError(
                    f"the {what} of update {self.state.global_step} is not finite; the last checkpoint in {self._folder} is kept; lower `learning_rate`"
                )
        groups = self.groups
        assert groups is not None
        rows = groups.rows
        logs |= {
            "pass_rate": float(np.mean(groups.rates)),
            "unsolved_share": float(np.mean(np.array(groups.rates) == 0)),
            "guided_share": sum(row.guided for row in rows) / len(rows),
            "guided_correct": sum(row.guided and row.correct for row in rows) / max(1, sum(row.guided for row in rows)),
            "response_length": float(np.mean([len(row.response) for row in rows])),
        }
        super().log(logs, start_time)
        lines = [dict(sorted(line.items())) for line in self.state.log_history if "loss" in line]
        write_atomically(self._folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))

    def _get_train_sampler(self, dataset: Any = None) -> "ResumableSampler":
        sampler = super()._get_train_sampler(dataset)
        return ResumableSampler(
            sampler.data_source, sampler.mini_repeat_count, sampler.batch_size, sampler.repeat_count, sampler.shuffle, sampler.seed
        )

    def save_beside(self, folder: Path) -> None:
        """Write what the run has spent."""
        write_json(folder / _SPENT, self.spent)

    def train_or_resume(self) -> None:
        """Train to the end, from the last whole checkpoint if there is one."""
        found = self.last_checkpoint()
        if found is not None:
            self.spent = read_object(found / _SPENT)
        self.train(resume_from_checkpoint=None if found is None else str(found))


class ResumableSampler(RepeatSampler):
    """TRL's sampler, whose permutation of a pass follows from the seed and the pass alone.

    TRL's own draws the permutations one after the other and is not told the pass, so that a run resumed in the second pass would read the first again.
    """

    def set_epoch(self, epoch: int) -> None:
        """Called by Trainer before each pass, of which `epoch` have ended: stand where the sampler of a run without a kill stands."""
        self.generator.manual_seed(self.seed)
        for _ in range(epoch):
            torch.randperm(self.num_samples, generator=self.generator)


def shaped_slope(ratios: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """r f'(r) = gamma r / (r + gamma)^2 of Guide's objective A f(r), f(r) = r / (r + gamma), which has no clip.

    ratios (rows, tokens); counted: which of them are of a response. gamma: of each response, the quantile `GUIDE_QUANTILE` of its own ratios, at least
    `LEAST_GAMMA`, as in the experiments of the authors' program (arXiv 2506.13923), which reads one response at a time. The slope is largest, 1/4, at r = gamma.
    """
    own = ratios.double().masked_fill(~counted, torch.nan)
    gamma = own.nanquantile(GUIDE_QUANTILE, dim=1, keepdim=True).clamp(min=LEAST_GAMMA).to(ratios.dtype)
    return gamma * ratios / (ratios + gamma).square()


def _passes(prompts: list[Any], completions: list[Any], passed: list[bool], **_: Any) -> list[float]:
    """TRL's reward function. The rollouts are graded where they are made."""
    return [float(each) for each in passed]


class _Bar(TrainerCallback):
    """The progress bar."""

    _bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._bar = progress(state.max_steps, "updates", "policy gradient", initial=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs is not None:
            self._bar.set_postfix(correct=f"{logs['pass_rate']:.1%}", unsolved=f"{logs['unsolved_share']:.0%}")
            self._bar.update(state.global_step - self._bar.n)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._bar.close()
