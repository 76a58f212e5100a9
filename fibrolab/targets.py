"""Import classes and functions that a configuration names by a dotted path, in any package."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

from fibrolab.errors import ConfigError


def imported(path: object, setting: str) -> Any:
    """Import the object that a setting names.

    Args:
        path: Dotted path, `package.module.Name`.
        setting: Name of the setting, for the message, such as `sampler._target_`.

    Raises:
        ConfigError: The path has no dot, its module is not found or needs another one that is not found, or
            the module has no such name. Any other error within the module is raised as it is.
    """
    module, _, name = str(path).rpartition(".")
    if not module or not name:
        raise ConfigError(f"{setting}={path} is not a dotted path: give package.module.Name.")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{setting}={path} cannot be imported ({error}): install its package, or put its folder in "
            "PYTHONPATH."
        ) from error
    if not hasattr(found, name):
        raise ConfigError(f"{setting}={path}: the module {module} has no {name}.")
    return getattr(found, name)


def call(target: Callable[..., Any], setting: str, **arguments: Any) -> Any:
    """Call an imported class or function with the arguments of its settings.

    Args:
        target: What `imported` returned.
        setting: Name of the group of settings, for the message, such as `sampler`.
        **arguments: Passed on.

    Raises:
        ConfigError: The target does not take these arguments.
    """
    try:
        inspect.signature(target).bind(**arguments)
    except TypeError as error:
        raise ConfigError(
            f"{setting}: {target.__module__}.{target.__qualname__} does not take these settings ({error}); "
            f"its signature is {inspect.signature(target)}."
        ) from None
    return target(**arguments)
