"""All attacks: the lists ATTACKS of this folder's modules `on_*.py`."""

import importlib
import pkgutil

from attack import __path__ as _folder
from attack.harness import Attack


def attacks() -> list[Attack]:
    """Every attack, module by module. Raises ValueError if two have the same name."""
    modules = sorted(module.name for module in pkgutil.iter_modules(_folder) if module.name.startswith("on_"))
    found = [attack for name in modules for attack in importlib.import_module(f"attack.{name}").ATTACKS]
    names = [(attack.area, attack.name) for attack in found]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"several attacks have the same name: {sorted(repeated)}")
    return found
