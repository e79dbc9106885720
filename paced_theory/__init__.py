"""The mathematics of PACED (arXiv 2603.11178), every claim checked: `python -m paced_theory.verify` runs the ledger.

Names are loaded on first use, so that importing the package is quick and needs neither scipy.optimize nor sympy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paced_theory.kernels import BetaKernel as BetaKernel

_EXPORTS = {
    "kernels": (
        "BernoulliEntropy",
        "BetaKernel",
        "GaussianBump",
        "HardFilter",
        "Kernel",
        "Linear",
        "PosteriorKernel",
        "SqrtVariance",
        "Uniform",
    ),
}
_HOME = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
