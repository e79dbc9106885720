"""The verbs of `import paced_exp as paced` that run models. Each runs a command, and takes its options and defaults as keyword arguments.

With a folder `out`, the same call resumes its run, or reads the finished one back. Without `out`, the run lies in a temporary folder until
Python ends.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from paced_exp.core.errors import UserError
from paced_exp.data.sources import load_problems
from paced_exp.door.inputs import Inputs, folder_of
from paced_exp.door.options import plain_options, takes_options_of
from paced_exp.door.results import Distillation, Evaluation, PassRates, Result, SNRCurve
from paced_exp.evaluation import run as evaluation
from paced_exp.evaluation.config import LAB_TIERS, EvaluateConfig
from paced_exp.probe.at_steps import run_at_steps
from paced_exp.probe.config import ProbeConfig
from paced_exp.probe.run import run_probe
from paced_exp.rollouts.config import RolloutConfig
from paced_exp.rollouts.pass_rates import with_weights
from paced_exp.rollouts.run import roll_out
from paced_exp.training import run as training
from paced_exp.training.config import DistillConfig

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")


class _Call:
    """One call of a verb: its folder, its inputs, and its options, which are checked before anything is written."""

    def __init__(self, config_class: "type[DataclassInstance]", verb: str, out: Any, options: dict[str, Any]) -> None:
        self.verb = verb
        self.options = plain_options(config_class, verb, {name: _file_of(name, value) for name, value in options.items()})
        self.out = folder_of(out, verb)
        self.inputs = Inputs(self.out)

    def problems(self, given: Any) -> Any:
        """The name or file of problems that may have been given as objects."""
        return self.inputs.problems(given, self.options.get("columns"))

    def config(self, config_class: type[Config], **named: Any) -> Config:
        """The configuration of the call. named: the options that may have been given as objects."""
        given = {name: _file_of(name, value) for name, value in named.items()}
        return config_class(**plain_options(config_class, self.verb, {**given, "out": self.out}), **self.options)


def _file_of(name: str, value: Any) -> Any:
    """Replace a result by its folder, or, for the option `pass_rates`, by its file of pass rates. Other values stay as they are."""
    if not isinstance(value, Result):
        return value
    return value.out / "pass_rates.parquet" if name == "pass_rates" else value.out


@takes_options_of(RolloutConfig)
def pass_rates(student: Any = "lab:student", problems: Any = "lab:train", *, out: str | Path | None = None, **options: Any) -> PassRates:
    """How often `student` solves each of `problems`: k passes of K rollouts, an interval, and the resulting weight.

    student: lab:NAME, smollm2, a folder, a GGUF file, a hub id, a (model, tokenizer) of transformers, a `LoadedModel`, or the result of `paced.distill`.
    problems: lab:SPLIT, a file, hub:NAME, several of these, a frame, or a list of `Problem` or of dicts with `prompt` and `answer`.
    out: folder of the run, which the same call resumes; when left out, a temporary folder that exists until Python ends.

    Models and problems given as objects are written into the folder OUT-inputs. It is better to give a large model by its folder or hub id.
    Raises `UserError` for anything that the caller can fix.
    """
    call = _Call(RolloutConfig, "pass_rates", out, options)
    student, problems = call.inputs.model("student", student), call.problems(problems)
    rates, record = roll_out(call.config(RolloutConfig, student=student, problems=problems))
    return PassRates(record, call.out, with_weights(rates, stopped="adaptive" in record))


@takes_options_of(ProbeConfig)
def probe(
    student: Any = "lab:student",
    teacher: Any = "lab:teacher",
    problems: Any = "lab:train",
    *,
    out: str | Path | None = None,
    **options: Any,
) -> SNRCurve:
    """The gradient-SNR probe: is the signal-to-noise ratio of the gradient a bell over the student's pass rate?

    student, teacher: as `student` of `paced.pass_rates`. problems, out: likewise. The defaults take minutes on two cores.
    Raises `UserError` for anything that the caller can fix.
    """
    call = _Call(ProbeConfig, "probe", out, options)
    student, teacher = call.inputs.model("student", student), call.inputs.model("teacher", teacher)
    config = call.config(ProbeConfig, student=student, teacher=teacher, problems=call.problems(problems))
    return SNRCurve(run_probe(config) if config.at_steps == "1" else run_at_steps(config), call.out)


@takes_options_of(DistillConfig)
def distill(
    student: Any = "lab:student",
    teacher: Any = "lab:teacher",
    problems: Any = "lab:train",
    *,
    weights: Any = None,
    evaluate: Any = LAB_TIERS,
    out: str | Path | None = None,
    **options: Any,
) -> Distillation:
    """Distil `teacher` into a copy of `student`, with each problem weighted by the student's pass rate. A model that is given is not changed.

    student, teacher: as `student` of `paced.pass_rates`; the teacher may be "self". problems, out: likewise.
    weights: in place of `method` and its options: the result of `paced.weights`, a file of `paced weights`, a frame with problem_id and weight,
    a mapping from problem_id, or a number for each problem in their order.
    evaluate: problems on which the trained student is compared with the student before training; "none" for no evaluation.
    `pass_rates` may be the result of `paced.pass_rates` on the same student and problems.
    Raises `UserError` for anything that the caller can fix.
    """
    call = _Call(DistillConfig, "distill", out, options)
    student, teacher = call.inputs.model("student", student), call.inputs.model("teacher", teacher)
    problems, evaluate = call.problems(problems), call.problems(evaluate)
    further: dict[str, Any] = {}
    if weights is not None:
        drawn = {name: call.options[name] for name in ("limit", "seed", "columns") if name in call.options}
        further["weights"] = call.inputs.weights(weights, lambda: [problem.id for problem in load_problems(str(problems), **drawn)])
    record = training.distill(call.config(DistillConfig, student=student, teacher=teacher, problems=problems, evaluate=evaluate, **further))
    if not record:
        raise UserError(
            "paced.distill only has a result in one process; under a launcher, run the command: accelerate launch -m paced_exp.distill"
        )
    return Distillation(record, call.out)


@takes_options_of(EvaluateConfig)
def evaluate(
    model: Any = "lab:student", problems: Any = LAB_TIERS, *, against: Any = None, out: str | Path | None = None, **options: Any
) -> Evaluation:
    """mean@n, pass@k and response length of `model` on each source of `problems`, with 95 % intervals over problems.

    model: as `student` of `paced.pass_rates`. problems, out: likewise. against: a model to compare with problem by problem, or the result of
    its evaluation with the same options.
    Raises `UserError` for anything that the caller can fix.
    """
    call = _Call(EvaluateConfig, "evaluate", out, options)
    model, against = call.inputs.model("model", model), call.inputs.model("against", against)
    config = call.config(EvaluateConfig, model=model, problems=call.problems(problems), against=against)
    return Evaluation(evaluation.evaluate(config), call.out)
