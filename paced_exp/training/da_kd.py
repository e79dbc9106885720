"""The weights of difficulty-aware distillation (DA-KD): how much worse the student predicts the reference than the teacher does."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from paced_exp.core.progress import progress
from paced_exp.losses.alignment import Batch, ModelInput, Row, collate
from paced_exp.losses.chunked import logits_in_chunks
from paced_exp.losses.heads import head_if_plain
from paced_exp.models.loading import LoadedModel
from paced_exp.training.teachers import evaluating
from paced_exp.weighting import Weights, normalised

_BATCH = 32
_TAILS = (1.0, 99.0)  # percentiles


def da_kd_weights(rows: Sequence[Row], places: Sequence[int], count: int, student: LoadedModel, teacher: LoadedModel) -> Weights:
    """Weights of `count` problems, proportional to CE_student / CE_teacher on the reference; problems without a row get weight zero.

    CE is the mean negative log-probability of the reference's supervised tokens, in nats, each model reading its own prompt. rows: of the
    problems at `places`. The ratio is unbounded where the teacher is nearly certain, so it is clipped at its 1st and 99th percentiles.

    Source: the distillation difficulty score of DA-KD (He et al., ICML 2025), which draws problems by it. Its use as a weight, clipped, is ours.
    """
    with progress(2 * len(rows), "references", "cross-entropies") as bar:
        of_student = _cross_entropies(rows, student, lambda batch: batch.student, bar.update)
        of_teacher = _cross_entropies(rows, teacher, lambda batch: batch.teacher, bar.update)
    ratios = of_student / np.maximum(of_teacher, np.finfo(np.float64).tiny)
    values = np.zeros(count)
    values[list(places)] = np.clip(ratios, *np.percentile(ratios, _TAILS))
    return normalised(values)


@torch.no_grad()
def _cross_entropies(
    rows: Sequence[Row], model: LoadedModel, read: Callable[[Batch], ModelInput], done: Callable[[int], object]
) -> np.ndarray:
    """The cross-entropy of each row, (n,), in nats per token; of a chunk of tokens at a time, in float64."""
    found, head = np.zeros(len(rows)), head_if_plain(model.model)
    order = sorted(range(len(rows)), key=lambda index: (rows[index].student_tokens, index))  # little padding
    with evaluating(model.model):
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            batch = collate([rows[index] for index in chosen], model.pad_id).to(model.model.device)
            losses = torch.cat(
                [
                    torch.nn.functional.cross_entropy(logits.double(), batch.tokens[place], reduction="none")
                    for place, logits in logits_in_chunks(model.model, read(batch), head)
                ]
            )
            found[chosen] = [float(part.mean()) for part in losses.split([sum(rows[index].supervised) for index in chosen])]
            done(len(chosen))
    return found
