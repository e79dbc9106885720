"""PacedTrainer: weighted distillation on `transformers.Trainer`, which brings accelerate, FSDP, checkpoints and trackers.

The loss is reduced explicitly. A problem's loss l_i is the mean over its supervised tokens. An update's loss is sum_i w_i l_i / batch over all
its problems, however they are split into micro-batches and processes. It is not divided by the batch's weights, which have mean one over the data.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_object, write_atomically
from paced_exp.core.progress import progress
from paced_exp.losses.alignment import Batch, Row, collate
from paced_exp.losses.fused_loss import FusedLoss
from paced_exp.losses.problem_loss import ProblemLoss
from paced_exp.models.attention import attention_spelt_out
from paced_exp.training.data import TrainingData
from paced_exp.training.keeping import Keeping
from paced_exp.training.teachers import Teacher, matmul_parameters
from paced_exp.training.whole_checkpoints import WholeCheckpoints


def _slots(numbers: list[int]) -> dict[str, torch.Tensor]:
    """Collate the slots of a micro-batch. A function, since the data loader's worker processes cannot load a lambda."""
    return {"slots": torch.tensor(numbers)}


def rate(step: int, steps: int, schedule: str, warmup: int, stage_starts: list[int]) -> float:
    """Share of the peak learning rate at update `step`, from 0: the schedule over the whole run, times a linear warm-up at each stage's start.

    Without the warm-up, a switch of data and divergence at the full rate can collapse the student.
    """
    since = step - max(start for start in stage_starts if start <= step)
    ramp = min(1.0, (since + 1) / (warmup + 1))
    done = step / steps
    return ramp * {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[schedule]


class PacedTrainer(WholeCheckpoints, Trainer):
    """Trains `data.student` on the rows of `data`, and writes a line for each update to metrics.jsonl in args.output_dir.

    args: as for Trainer; over all processes, per_device_train_batch_size times gradient_accumulation_steps must be the batch of `data`, and
    every update must be logged. losses, teachers: of each stage, by `Stage.name`. schedule: `constant`, `linear` or `cosine`. warmup: number
    of updates. on_segment: called with an update's number when a segment is entered, at its start or on resuming. keeping: what is done against
    forgetting; its penalty is added to the loss of each update.

    Raises `UserError` naming the problems if a loss or gradient is not finite (the last checkpoint is kept), and if the launcher shards a student
    whose head a fused loss reads.
    """

    def __init__(
        self,
        args: TrainingArguments,
        data: TrainingData,
        losses: dict[str, ProblemLoss | FusedLoss],
        teachers: dict[str, Teacher],
        *,
        schedule: str = "linear",
        warmup: int = 0,
        on_segment: Callable[[int], None] = lambda step: None,
        keeping: Keeping | None = None,
    ) -> None:
        self._keeping = keeping or Keeping()
        self._penalised = -1  # the last update whose loss has its penalty
        self._on_segment = on_segment
        self._segment = -1
        self.data = data
        self.losses = losses
        self.teachers = teachers
        self._schedule = schedule
        self._warmup = warmup
        self._update: list[Row] = []  # this process's rows of the current update
        self._sums = torch.zeros(5, dtype=torch.float64)  # loss without weights, weight, supervised, read and response tokens
        self._clock = time.perf_counter()
        # Trainer's data loader distributes slots over the processes. Slot s stands for row s % batch of update s // batch.
        slots = range(args.max_steps * data.options.batch)
        own = (self._keeping.optimizer, None)
        super().__init__(model=data.student.model, args=args, data_collator=_slots, train_dataset=slots, optimizers=own)
        self.loss_is_scaled_for_ga = True
        # Never called. Its presence says the same to transformers before 5.16, which would otherwise divide the loss again.
        self.compute_loss_func = self.compute_loss
        self.pop_callback(PrinterCallback)  # it prints to stdout, which is for results
        self.add_callback(_AfterUpdate(self))
        self._folder = Path(str(args.output_dir))
        per_update = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        assert per_update == data.options.batch, f"{per_update} rows per update, but the data has {data.options.batch}"
        if (self.is_fsdp_enabled or self.is_deepspeed_enabled) and any(isinstance(loss, FusedLoss) for loss in losses.values()):
            raise UserError("`loss` fused reads the whole head, which this launch shards (FSDP or DeepSpeed); give `loss` dense")

    # ---- an update's rows

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> tuple[list[Any], None]:
        """The micro-batches of the next update. Made here, and not in the loader, which runs ahead: the student may have to roll out just now."""
        step, batch = self.state.global_step, self.data.options.batch
        slots = [slot for _ in range(num_batches) for slot in next(epoch_iterator)["slots"].tolist()]
        assert all(slot // batch == step for slot in slots), "the data loader is not at this update"
        if self._segment != (segment := self.data.segment(step)):
            self._segment = segment
            self._on_segment(step)
        self._update = self.data.rows(step, [slot % batch for slot in slots])
        groups = by_length(self._update, num_batches)
        return [{"batch": collate(group, self.data.student.pad_id)} for group in groups], None

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward pass of a micro-batch."""
        longest = max(max(row.student_tokens, row.teacher_tokens) for row in inputs["batch"].rows)
        with attention_spelt_out(self.args.device.type, "bf16" if self.args.bf16 else "float32", longest):
            return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """This micro-batch's share of sum_i w_i l_i / batch, times the number of processes, since their gradients are averaged."""
        batch: Batch = inputs["batch"].to(self.args.device)
        stage = self._stage
        targets = self.teachers[stage].targets(batch)
        loss, detached = self.losses[stage].weighted(model, batch, targets, self.data.options.batch, self.args.world_size)
        if not bool(torch.isfinite(detached).all()):
            bad = [row for row, ok in zip(batch.rows, torch.isfinite(detached).tolist(), strict=True) if not ok]
            raise self._not_finite("loss", self.state.global_step + 1, bad)
        self._add_to_sums(batch, detached)
        step = self.state.global_step
        if self._keeping.penalty is not None and self._penalised != step:  # once an update, with its first micro-batch
            self._penalised = step
            loss = loss + self._keeping.penalty(self.data.student.model, step)
        return loss

    def _add_to_sums(self, batch: Batch, losses: torch.Tensor) -> None:
        self._sums += torch.tensor(
            [
                float(losses.sum()),
                float(batch.weights.sum()),
                len(batch.tokens),
                sum(row.student_tokens for row in batch.rows),
                sum(len(row.response) for row in batch.rows),
            ],
            dtype=torch.float64,
        )

    @property
    def _stage(self) -> str:
        return self.data.segments[self.data.segment(self.state.global_step)].stage.name

    def _not_finite(self, what: str, update: int, rows: list[Row]) -> UserError:
        return UserError(
            f"the {what} of update {update} is not finite for problems {', '.join(repr(row.problem_id) for row in rows[:8])}"
            f"{' and others' if len(rows) > 8 else ''}; the last checkpoint in {self._folder} is kept; lower `learning_rate`, or drop these problems"
        )

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """6 per parameter and token for the student's forward and backward passes, plus the teacher's forward pass; padding is not counted."""
        rows = inputs["batch"].rows
        student: int = 6 * matmul_parameters(self.data.student.model) * sum(row.student_tokens for row in rows)
        penalty = 0.0 if self._keeping.penalty is None else self._keeping.penalty.flops(self.state.global_step)
        return student + int(self.teachers[self._stage].flops(rows)) + int(penalty / self.args.gradient_accumulation_steps)

    # ---- schedule, metrics

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """A scheduler that follows `rate`."""
        if self.lr_scheduler is None:
            starts = [segment.start for segment in self.data.segments if segment.start == 0 or self._is_stage_start(segment.start)]

            def shape(step: int) -> float:
                return rate(min(step, num_training_steps - 1), num_training_steps, self._schedule, self._warmup, starts)

            chosen: Any = self.optimizer if optimizer is None else optimizer
            self.lr_scheduler = LambdaLR(chosen, shape)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _is_stage_start(self, step: int) -> bool:
        index = self.data.segment(step)
        return self.data.segments[index].stage != self.data.segments[index - 1].stage

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the numbers of this update, and write its line to metrics.jsonl. Trainer's summary at the end of training is ignored.

        Called after each update and before its checkpoint, so that a student spoiled by a bad gradient is never saved.
        """
        if "loss" not in logs:
            return
        if not math.isfinite(logs["grad_norm"]):
            raise self._not_finite("gradient", self.state.global_step, self._update)
        sums = self.accelerator.reduce(self._sums.to(self.args.device), "sum").tolist()
        self._sums.zero_()
        seconds, self._clock = time.perf_counter() - self._clock, time.perf_counter()
        batch, step = self.data.options.batch, self.state.global_step
        logs |= {
            "unweighted_loss": sums[0] / batch,
            "mean_weight": sums[1] / batch,
            "dropped_share": self.data.prepare(step - 1).weights.summary()["dropped_share"],
            "supervised_tokens": sums[2],
            "response_tokens": sums[4] / batch,
            "tokens_per_second": sums[3] / seconds,
            "seconds": seconds,
            "flops": self.state.total_flos,
        }
        super().log(logs, start_time)
        if self.is_world_process_zero():
            with (self._folder / "metrics.jsonl").open("a") as file:
                file.write(self._line({**logs, "step": step}))

    def _line(self, logs: dict[str, float]) -> str:
        """An update's line of metrics.jsonl."""
        step = int(logs["step"])
        stage = self.data.segments[self.data.segment(step - 1)].stage.name
        return json.dumps({"step": step, "stage": stage} | dict(sorted(logs.items()))) + "\n"

    def save_beside(self, folder: Path) -> None:
        """Write the states of the teachers, on the main process."""
        for index, teacher in enumerate(self._distinct_teachers):
            own = folder / f"teacher-{index}"
            own.mkdir(exist_ok=True)
            teacher.save(own)

    @property
    def _distinct_teachers(self) -> list[Teacher]:
        return list({id(teacher): teacher for teacher in self.teachers.values()}.values())

    def train_or_resume(self) -> None:
        """Train to the end, from the last complete checkpoint if there is one."""
        found: list[Path | None] = [None]
        if self.is_world_process_zero():
            found = [self.last_checkpoint()]
            # Write the lines again from the checkpoint, since the file may also hold later updates, half a line, or another run's lines.
            lines = [] if found[0] is None else read_object(found[0] / "trainer_state.json")["log_history"]
            write_atomically(self._folder / "metrics.jsonl", "".join(map(self._line, lines)))
        broadcast_object_list(found)
        self.accelerator.wait_for_everyone()
        if found[0] is not None:
            for index, teacher in enumerate(self._distinct_teachers):
                teacher.load(found[0] / f"teacher-{index}")
        self.train(resume_from_checkpoint=None if found[0] is None else str(found[0]))


def by_length(rows: Sequence[Row], parts: int) -> list[list[Row]]:
    """`rows` sorted by length, for little padding, and cut into `parts` micro-batches of equal size. The sum of the losses does not change."""
    ordered = sorted(rows, key=lambda row: (row.student_tokens, row.problem_id))
    size = len(ordered) // parts
    return [ordered[index * size : (index + 1) * size] for index in range(parts)]


class _AfterUpdate(TrainerCallback):
    """Updates the teachers and the progress bar."""

    def __init__(self, trainer: PacedTrainer) -> None:
        self._trainer = trainer
        self._bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._trainer._clock = time.perf_counter()
        if state.is_world_process_zero:
            self._bar = progress(state.max_steps, "updates", "distillation", initial=state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        for teacher in self._trainer._distinct_teachers:
            teacher.after_update(self._trainer.data.student.model)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if self._bar is not None and logs is not None:
            self._bar.set_postfix(
                loss=f"{logs['loss']:.4f}",
                weight=f"{logs['mean_weight']:.2f}",
                dropped=f"{logs['dropped_share']:.0%}",
                tokens=f"{logs['tokens_per_second']:.0f}/s",
            )
            self._bar.update(state.global_step - self._bar.n)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._bar is not None:
            self._bar.close()
