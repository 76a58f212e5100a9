"""Import and call classes and functions that a config names by dotted path, from any package."""

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
        ConfigError: The path has no dot, the module or one that it imports is not found, the module has no
            such name, or it is a class without a method that its base class demands. Other errors raised
            within the module are passed on unchanged.
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
    target = getattr(found, name)
    if inspect.isabstract(target):
        missing = ", ".join(sorted(target.__abstractmethods__))
        raise ConfigError(f"{setting}={path} has no {missing}, which its base class demands: define it.")
    return target


def call(target: Callable[..., Any], setting: str, *values: Any, **arguments: Any) -> Any:
    """Call an imported class or function with the arguments of its settings.

    Args:
        target: Class or function that `imported` returned.
        setting: Name of the group of settings, for the message, such as `sampler`.
        *values: Positional arguments, which are no settings.
        **arguments: Arguments of the call.

    Raises:
        ConfigError: The target does not take these arguments.
    """
    check_call(target, setting, *values, **arguments)
    return target(*values, **arguments)


def check_call(target: Any, setting: str, *values: Any, **arguments: Any) -> None:
    """Refuse arguments that a class or function does not take; see `call`.

    Raises:
        ConfigError: The target does not take these arguments, or cannot be called with any.
    """
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # neither a class nor a function, or one without a signature
        raise ConfigError(
            f"{setting}._target_ names {target!r}, which takes no settings: name a class or a function."
        ) from None
    try:
        signature.bind(*values, **arguments)
    except TypeError as error:
        raise ConfigError(
            f"{setting}: {target.__module__}.{target.__qualname__} does not take these settings ({error}); "
            f"its signature is {signature}."
        ) from None
