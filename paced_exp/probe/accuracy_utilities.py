"""The first-order effect of a step on each probed problem on the expected accuracy, from one backward pass per batch.

For a problem's gradient g, the gradient G of accuracy and a metric D (the identity for SGD; `accuracy_metric` for Adam), whose step is -D g:

    inner      a = -<g, D G>               accuracy gained for each unit of the learning rate
    squared    m = <g, D g>                squared size of the step
    utility    u = a / sqrt(m)             accuracy gained for each unit of the step's size

There are `GROUPS` independent estimates of G, so a and u are tables with a column for each. A problem whose gradient is zero has u = 0.
"""

import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from paced_exp.core.atomic import atomic_file
from paced_exp.core.errors import UserError
from paced_exp.gradients.engine import PerProblemGradients
from paced_exp.gradients.inner import InnerProducts
from paced_exp.models.loading import LoadedModel
from paced_exp.probe.accuracy_gradient import GROUPS, Direction, Directions
from paced_exp.probe.accuracy_metric import Pairs
from paced_exp.probe.config import ProbeConfig
from paced_exp.probe.measurement import gradient_batches, loss_of, losses_into

METRICS = ("sgd", "adam")


@dataclass(frozen=True)
class BinUtilities:
    """One bin in one metric: inner (n, J) and squared (n,) of its n problems."""

    inner: np.ndarray
    squared: np.ndarray

    @property
    def utility(self) -> np.ndarray:
        """(n, J)."""
        size = np.sqrt(self.squared)[:, None]
        utility: np.ndarray = np.divide(self.inner, size, out=np.zeros_like(self.inner), where=size > 0)
        return utility


def utilities_of(
    config: ProbeConfig,
    pairs: Pairs,
    norms_squared: np.ndarray,
    gradients: Directions,
    metric: Direction,
    student: LoadedModel,
    teacher: LoadedModel,
    path: Path,
) -> dict[str, BinUtilities]:
    """The utilities of one bin by metric, kept in the file `path`.

    pairs: its problems with their responses. norms_squared (n,): of the probe's gradients, in the order of `gradient_batches`. gradients:
    J = GROUPS estimates of G. metric: the diagonal of Adam's D.
    """
    if not path.exists():
        engine = PerProblemGradients(
            student.model,
            InnerProducts(student.model, gradients, metric),
            None if config.only is None else [config.only],
            metric,
        )
        loss, frozen = loss_of(config, student, teacher)
        losses = losses_into(engine, loss, config, student)
        for batch in gradient_batches(config, pairs, student, teacher):
            engine.accumulate(len(batch.rows), partial(losses, batch, frozen.targets(batch)))
        sums = engine.sums()
        with atomic_file(path) as file:
            np.savez(file, inner=-sums.sketches, adam_squared=sums.norms_squared)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            inner, squared = data["inner"], data["adam_squared"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is corrupted ({error}); delete it and run the same command again") from error
    assert len(inner) == len(norms_squared), f"{path} is of other problems than the bin's gradients"
    return {"sgd": BinUtilities(inner[:, :GROUPS], norms_squared), "adam": BinUtilities(inner[:, GROUPS:], squared)}
