"""All attacks: every module of this folder named `on_*.py` gives its own as ATTACKS."""

import importlib
import pkgutil

from attack import __path__ as _folder
from attack.harness import Attack


def attacks() -> list[Attack]:
    """Every attack, by area and in the order of its module. Raises ValueError for two of one name."""
    modules = sorted(module.name for module in pkgutil.iter_modules(_folder) if module.name.startswith("on_"))
    found = [attack for name in modules for attack in importlib.import_module(f"attack.{name}").ATTACKS]
    names = [(attack.area, attack.name) for attack in found]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"attacks of one name: {sorted(repeated)}")
    return found
