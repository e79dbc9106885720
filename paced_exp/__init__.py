"""PACED: gradient-SNR probes and distillation weighted by the student's pass rate.

    import paced_exp as paced

    rates = paced.pass_rates("lab:student", "lab:train", K=8)
    w = paced.weights(rates, kernel=paced.Beta(1, 1), estimator="plugin")
    run = paced.distill("lab:student", "lab:teacher", "lab:train", weights=w)
    paced.evaluate(run.model, against="lab:student")
    paced.probe("lab:student", "lab:teacher").plot()

Names are loaded on first use, so the import itself takes milliseconds, and torch is only loaded if it is needed. docs/door.md shows each name.
"""

import os
import sys
from importlib import import_module
from inspect import Signature, signature
from types import ModuleType
from typing import TYPE_CHECKING, Any

# Threads that wait by spinning take cores from other work. Beside one busy process, the speed of rollouts on two cores fell to a third of their
# speed alone, and to less than half of their speed with threads that sleep (`python -m bench.busy`). OpenMP reads its policy, and OpenBLAS its
# number of threads, when their libraries are loaded. So this must come before the first import of numpy or torch. Commands import this package
# first, and their child processes inherit the setting. Values that the user has set are kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# OpenBLAS has no setting to let its threads sleep. Its products are few here; most are torch's, whose threads belong to OpenMP.
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

#: The names that the package exports, by the module that defines them.
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


# Verbs with the name of a module. For these, the package exports the module, which can be called as the verb. So `from paced_exp import distill`
# gives the same object, whatever was imported before.
_BOTH = ("distill", "evaluate", "probe", "weights")


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _loaded(name, f"{__name__}.{name}") if name in _BOTH else getattr(_loaded(name, f"{__name__}.{_HOME[name]}"), name)


def _loaded(name: str, module: str) -> ModuleType:
    """The module behind an exported name. If a package is not installed, the error says which extra contains it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        from paced_exp.core.extras import install, missing_package

        if (missing := missing_package(error)) is None:
            raise
        raise ModuleNotFoundError(f"paced.{name} needs {missing}, which is not installed; run: {install('run')}", name=missing) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Verb(ModuleType):
    """A module with the name of a verb, such as `paced_exp.distill` or `paced_exp.probe`. A call of it calls the verb."""

    def _verb(self) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(_loaded(name, f"{__name__}.{_HOME[name]}"), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._verb()(*args, **kwargs)

    @property
    def __signature__(self) -> Signature:
        return signature(self._verb())


class _Door(ModuleType):
    """This package, which makes the submodules in `_BOTH` callable when their import sets them as its attributes."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _BOTH and isinstance(value, ModuleType):
            value.__class__ = _Verb
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Door
