"""The kernels by name: each weight w(p) that `method` knows is declared once, with its label, formula and options.

The formulas are implemented in `paced_theory.kernels`. To add a kernel, decorate a kernel class, or a function of p, with `register`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_checked
from paced_theory.curve import Curve, parse_curve
from paced_theory.kernel import FunctionKernel, Kernel
from paced_theory.kernels import BetaKernel, Focal, GaussianBump, HardFilter, MaxRL, SqrtVariance, Uniform

Beta = BetaKernel
GRPO = SqrtVariance
Made = TypeVar("Made", bound=Callable[..., Any])


@dataclass(frozen=True)
class Method:
    """A kernel that `method` can name.

    label: its name in tables and figures. formula: w(p) before normalisation. make: makes the kernel from its options, given by keyword.
    options: the fields of `Weighting` that `make` takes. A kernel with other options can only be given to `weights` as an object.
    """

    label: str
    formula: str
    make: Callable[..., Kernel]
    options: tuple[str, ...] = ()


#: Every kernel that `method` knows, in the order in which messages and tables list them.
METHODS: dict[str, Method] = {}


def register(name: str, label: str, formula: str, options: tuple[str, ...] = ()) -> Callable[[Made], Made]:
    """Decorator that declares a kernel class, or a function of one pass rate, under `name`. Raises ValueError if the name is taken."""

    def declare(made: Made) -> Made:
        if name in METHODS:
            raise ValueError(f"a kernel of the name {name} exists already ({METHODS[name].label}); choose another name")
        make = made if isinstance(made, type) else partial(FunctionKernel, made, label=label)
        METHODS[name] = Method(label, formula, make, options)
        return made

    return declare


register("uniform", "no weighting", "1")(Uniform)
register("paced", "PACED", "p^alpha (1-p)^beta", ("alpha", "beta"))(Beta)
register("hard_filter", "hard filter", "1 on [lo, hi], else 0", ("lo", "hi"))(HardFilter)
register("gaussian", "Gaussian", "exp(-(p-1/2)^2 / (2 sigma^2))", ("sigma",))(GaussianBump)
register("grpo", "GRPO", "sqrt(p(1-p))")(GRPO)
register("maxrl", "MaxRL", "(1-(1-p)^order) / p", ("order",))(MaxRL)
register("focal", "focal", "(1-p)^gamma", ("gamma",))(Focal)


def _curve(curve: str | None) -> Curve:
    if curve is None:
        raise UserError("`method` curve needs `curve`: PASS_RATE:WEIGHT joined by commas, such as a probe's record holds")
    try:
        return parse_curve(curve)
    except ValueError as error:
        raise UserError(f"`curve` {curve}: {error}") from error


METHODS["curve"] = Method("measured curve", "straight lines between the points of curve", _curve, ("curve",))


def method_of(name: str, argument: str = "method") -> Method:
    """The kernel declared under `name`. Raises `UserError` for an unknown name."""
    if name not in METHODS:
        raise UserError(f"`{argument}` {name} is not known; known: {', '.join(METHODS)}")
    return METHODS[name]


def Gaussian(sigma: float | None = None) -> GaussianBump:
    """exp(-(p-1/2)^2 / (2 sigma^2)). By default, its second moment about 1/2 is that of PACED's p(1-p)."""
    return GaussianBump(sigma=sigma)


def fitted(record: str | Path, fit: Literal["mixture", "bins"] = "mixture") -> BetaKernel:
    """The kernel p^a (1-p)^b with the exponents that a probe fitted to SNR^2, read from its record.json.

    If the second moment of gradients does not depend on p, SNR^2 as a function of p is the weight of most progress per unit of noise. fit:
    `mixture`, which accounts for the mixture of pass rates in each bin, or `bins`, the fit of older records, which assigns one pass rate to
    each bin (docs/snr.md says how far off it can be).

    Raises `UserError` if the file is not a probe's record, has no such fit, or has a negative exponent, whose weight would be infinite at an
    end.
    """
    path = Path(record)
    if not path.is_file():
        raise UserError(f"`record` {path} is not a file; give the record.json of a finished probe")
    content = read_checked(path, "snr_probe")
    found = content.get("fit") if fit == "bins" else (content.get("mixture") or {}).get("fit")
    if found is None:
        older = "; take `fit` bins for the one that it has" if fit == "mixture" and content.get("fit") else ""
        raise UserError(f"{path} has no fit of exponents through the {fit}{older}, or give the exponents yourself: Beta(alpha, beta)")
    a, b = float(found["a"]), float(found["b"])
    for end, exponent in (("p = 0", a), ("p = 1", b)):
        if not 0 <= exponent < math.inf:
            raise UserError(
                f"{path} has the exponents {a:.3g} and {b:.3g}, whose weight is infinite at {end}; give exponents of at least 0 yourself"
            )
    return BetaKernel(a, b)
