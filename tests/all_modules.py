"""Every module of the package, for tests that look at all of them."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from types import ModuleType

import headwater

# Packages of the environment of jobs on Flink alone, and the modules that may need them.
OF_FLINK = ("py4j", "pyflink")
RUN_ON_FLINK = "headwater.processing.flink."


@functools.cache
def all_modules() -> dict[str, ModuleType]:
    """The modules by name, loaded; without those that only Flink's environment can load."""
    found: dict[str, ModuleType] = {}
    for module in pkgutil.walk_packages(headwater.__path__, "headwater."):
        if module.name.endswith(".__main__"):
            continue
        try:
            found[module.name] = importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if not module.name.startswith(RUN_ON_FLINK) or (error.name or "").partition(".")[0] not in OF_FLINK:
                raise
    return found
