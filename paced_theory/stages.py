"""Forward KL covers, reverse KL seeks: does coverage, then consolidation, reach the teacher's best mode? (PACED, two stages)

`run_schedule` integrates theta' = -grad L from many starts at once, for the schedules "forward", "reverse", "forward-reverse" and
"reverse-forward", each with the same total time. `stage_outcomes` summarises one teacher with intervals over starts,
`population_outcomes` many random teachers with intervals over teachers. The students are those of `toy_students`. Axes: S starts,
D parameters.

What comes out (differences with 95 % intervals over 100 mixtures and 200 softmax families, 16 starts each; `figures/theory_stages.py`):
- Coverage holds: forward KL ends in one state per teacher, from every start, where reverse KL alone splits its starts.
- Consolidation holds on average: forward-reverse has more mass on the best mode than forward alone, by 0.05 [0.01, 0.08] (mixtures) and
  0.09 [0.07, 0.11] (softmax).
- A gain over reverse KL alone does not show: the best mode is found as often, 0.00 [-0.04, 0.04] and 0.02 [-0.00, 0.04]. Fewer starts are
  stuck in worse minima for mixtures, -0.05 [-0.10, -0.01], but not for softmax families, 0.00 [-0.03, 0.03].
- Where forward-reverse ends is decided by the teacher: it can be a second-best mode from every start.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from paced_theory._checks import FloatArray, check_array, check_choice, check_fraction, check_int, check_positive
from paced_theory.toy_students import Student

SCHEDULES = ("forward", "reverse", "forward-reverse", "reverse-forward")
_STUCK_NATS = 0.01


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class StageOutcome:
    """What one schedule reaches from S starts with one teacher.

    mass: (S,) final mass on the teacher's best mode; mean_mass: its mean, with a Student interval over starts; on_best: share of starts
    whose student ends with its own mode there; stuck: share whose last loss exceeds the least value of that loss reached by any start of
    any schedule by more than 0.01 nats; both shares with Wilson intervals. spread: standard deviation of mass over starts.
    """

    schedule: str
    mass: FloatArray
    mean_mass: Interval
    on_best: Interval
    stuck: Interval
    spread: float


@dataclass(frozen=True)
class PopulationOutcome:
    """Averages of `StageOutcome` over random teachers, with Student intervals over teachers (the starts of one teacher are no replicates).

    *_over_forward, *_over_reverse: paired differences of the on_best share, of the mass and of the stuck share from those of
    the forward-only and reverse-only schedules.
    """

    schedule: str
    mean_mass: Interval
    on_best: Interval
    stuck: Interval
    spread: Interval
    on_best_over_forward: Interval
    on_best_over_reverse: Interval
    mass_over_forward: Interval
    mass_over_reverse: Interval
    stuck_over_reverse: Interval


def run_schedule(student: Student, starts: ArrayLike, schedule: str, *, time: float = 600.0) -> FloatArray:
    """Final parameters (S, D) of the gradient flow theta' = -grad L from starts (S, D); two-stage schedules switch loss at half the time.

    All starts are integrated together by LSODA, relative tolerance 1e-6, with a Jacobian banded because starts do not interact. Raises
    ArithmeticError with the solver's message if the integration fails.
    """
    from scipy import integrate

    check_choice("schedule", schedule, SCHEDULES)
    theta = check_array("starts", starts, ndim=2)
    if theta.shape[1] != student.parameters:
        raise ValueError(f"starts must have shape (S, {student.parameters}) for this student, got {theta.shape}")
    stages = schedule.split("-")
    duration = check_positive("time", time) / len(stages)
    for stage in stages:
        gradient = student.forward_gradient if stage == "forward" else student.reverse_gradient

        def flow(
            _: float, state: FloatArray, gradient: Callable[[FloatArray], FloatArray] = gradient, shape: tuple[int, ...] = theta.shape
        ) -> FloatArray:
            return -gradient(state.reshape(shape)).ravel()

        band = student.parameters - 1
        solution = integrate.solve_ivp(
            flow, (0.0, duration), theta.ravel(), method="LSODA", t_eval=[duration], rtol=1e-6, atol=1e-8, lband=band, uband=band
        )
        if not solution.success:
            raise ArithmeticError(f"gradient flow {schedule!r} failed in its {stage} stage: {solution.message}")
        theta = solution.y[:, -1].reshape(theta.shape)
    return theta


def stage_outcomes(student: Student, starts: ArrayLike, *, time: float = 600.0, confidence: float = 0.95) -> list[StageOutcome]:
    """One `StageOutcome` a schedule, in the order of SCHEDULES, all from the same starts (S, D), S >= 2."""
    from scipy import stats

    check_fraction("confidence", confidence)
    check_array("starts", starts, ndim=2, min_size=2 * student.parameters)
    final = {schedule: run_schedule(student, starts, schedule, time=time) for schedule in SCHEDULES}
    loss = {
        schedule: (student.forward_kl if schedule.endswith("forward") else student.reverse_kl)(theta) for schedule, theta in final.items()
    }
    least = {ending: min(loss[s].min() for s in SCHEDULES if s.endswith(ending)) for ending in ("forward", "reverse")}

    def share(flags: NDArray[np.bool_]) -> Interval:
        interval = stats.binomtest(int(flags.sum()), flags.size).proportion_ci(confidence, method="wilson")
        return Interval(float(flags.mean()), float(interval.low), float(interval.high))

    outcomes = []
    for schedule, theta in final.items():
        mass = student.best_mode_mass(theta)
        stuck = loss[schedule] > least[schedule.rsplit("-", 1)[-1]] + _STUCK_NATS
        outcomes.append(
            StageOutcome(
                schedule, mass, mean_interval(mass, confidence), share(student.on_best_mode(theta)), share(stuck), float(mass.std())
            )
        )
    return outcomes


def population_outcomes(
    draw_student: Callable[[np.random.Generator], Student],
    generator: np.random.Generator,
    *,
    teachers: int = 50,
    starts: int = 16,
    time: float = 600.0,
    confidence: float = 0.95,
) -> list[PopulationOutcome]:
    """`stage_outcomes` averaged over random teachers, e.g. draw_student=random_mixture or random_softmax."""
    check_int("teachers", teachers, 2)
    check_int("starts", starts, 2)
    table: list[list[StageOutcome]] = []
    for _ in range(teachers):
        student = draw_student(generator)
        table.append(stage_outcomes(student, student.draw_starts(starts, generator), time=time, confidence=confidence))

    def column(field: Callable[[StageOutcome], float]) -> dict[str, FloatArray]:
        return {schedule: np.array([field(row[which]) for row in table]) for which, schedule in enumerate(SCHEDULES)}

    mass, on_best = column(lambda outcome: outcome.mean_mass.value), column(lambda outcome: outcome.on_best.value)
    stuck, spread = column(lambda outcome: outcome.stuck.value), column(lambda outcome: outcome.spread)
    return [
        PopulationOutcome(
            schedule,
            mean_mass=mean_interval(mass[schedule], confidence),
            on_best=mean_interval(on_best[schedule], confidence),
            stuck=mean_interval(stuck[schedule], confidence),
            spread=mean_interval(spread[schedule], confidence),
            on_best_over_forward=mean_interval(on_best[schedule] - on_best["forward"], confidence),
            on_best_over_reverse=mean_interval(on_best[schedule] - on_best["reverse"], confidence),
            mass_over_forward=mean_interval(mass[schedule] - mass["forward"], confidence),
            mass_over_reverse=mean_interval(mass[schedule] - mass["reverse"], confidence),
            stuck_over_reverse=mean_interval(stuck[schedule] - stuck["reverse"], confidence),
        )
        for schedule in SCHEDULES
    ]


def mean_interval(sample: ArrayLike, confidence: float = 0.95) -> Interval:
    """Mean of a sample of at least two values with Student's t interval."""
    values = check_array("sample", sample, ndim=1, min_size=2)
    quantile = float(special.stdtrit(values.size - 1, 0.5 + check_fraction("confidence", confidence) / 2))
    half_width = quantile * float(values.std(ddof=1)) / np.sqrt(values.size)
    return Interval(float(values.mean()), float(values.mean() - half_width), float(values.mean() + half_width))
