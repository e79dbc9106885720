"""PACED: gradient-SNR probes and distillation weighted by the student's pass rate.

    import paced_exp as paced

    rates = paced.pass_rates("lab:student", "lab:train", K=8)
    w = paced.weights(rates, kernel=paced.Beta(1, 1), estimator="empirical_bayes")
    run = paced.distill("lab:student", "lab:teacher", "lab:train", weights=w)
    paced.evaluate(run.model, against="lab:student")
    paced.probe("lab:student", "lab:teacher").plot()

Names are loaded on first use: the import itself takes milliseconds, and only what is used loads torch. docs/door.md shows each of them.
"""

import os
import sys
from importlib import import_module
from inspect import Signature, signature
from types import ModuleType
from typing import TYPE_CHECKING, Any

# Threads that wait by spinning take the cores that other work needs: beside a single busy process, rollouts on two cores fell to a third of
# what they make alone, and to less than half of what they make with threads that sleep (`python -m bench.busy`). OpenMP reads its policy
# and OpenBLAS its number of threads when their libraries are loaded, so this must come before the first import of numpy or torch; commands
# import this package first, and their child processes inherit it. What the user has set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# OpenBLAS cannot be told to sleep between products. Its products here are few beside torch's, whose threads are OpenMP's.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

if TYPE_CHECKING:
    from paced_exp.core.errors import UserError as UserError
    from paced_exp.data.problem import Problem as Problem
    from paced_exp.door.problem_weights import ProblemWeights as ProblemWeights
    from paced_exp.door.problem_weights import weights as weights
    from paced_exp.door.results import Distillation as Distillation
    from paced_exp.door.results import Evaluation as Evaluation
    from paced_exp.door.results import PassRates as PassRates
    from paced_exp.door.results import SNRCurve as SNRCurve
    from paced_exp.door.verbs import distill as distill
    from paced_exp.door.verbs import evaluate as evaluate
    from paced_exp.door.verbs import pass_rates as pass_rates
    from paced_exp.door.verbs import probe as probe
    from paced_exp.models.loading import LoadedModel as LoadedModel
    from paced_exp.models.loading import load_model as load_model
    from paced_exp.weighting import GRPO as GRPO
    from paced_exp.weighting import Beta as Beta
    from paced_exp.weighting import EmpiricalBayes as EmpiricalBayes
    from paced_exp.weighting import Focal as Focal
    from paced_exp.weighting import Gaussian as Gaussian
    from paced_exp.weighting import HardFilter as HardFilter
    from paced_exp.weighting import MaxRL as MaxRL
    from paced_exp.weighting import PlugIn as PlugIn
    from paced_exp.weighting import Posterior as Posterior
    from paced_exp.weighting import Unbiased as Unbiased
    from paced_exp.weighting import Uniform as Uniform
    from paced_exp.weighting import fitted as fitted

#: What the package exports, by the module that defines it.
_EXPORTS = {
    "core.errors": "UserError",
    "data.problem": "Problem",
    "door.problem_weights": "ProblemWeights weights",
    "door.results": "Distillation Evaluation PassRates SNRCurve",
    "door.verbs": "distill evaluate pass_rates probe",
    "models.loading": "LoadedModel load_model",
    "weighting": "Beta EmpiricalBayes Focal GRPO Gaussian HardFilter MaxRL PlugIn Posterior Unbiased Uniform fitted",
}
_HOME = {name: module for module, names in _EXPORTS.items() for name in names.split()}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("paced_"):
            raise
        raise ModuleNotFoundError(
            f"paced.{name} needs {error.name}, which is not installed; run: pip install 'paced-distillation[run]'", name=error.name
        ) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Verb(ModuleType):
    """A module that shares its name with a verb, such as the package `paced_exp.probe`: called, it is the verb."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return __getattr__(self.__name__.rpartition(".")[2])(*args, **kwargs)

    @property
    def __signature__(self) -> Signature:
        return signature(__getattr__(self.__name__.rpartition(".")[2]))


class _Door(ModuleType):
    """This package. Importing a submodule makes it an attribute here and would hide the verb of its name, which it then stands for."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _HOME and isinstance(value, ModuleType):
            value.__class__ = _Verb
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Door
