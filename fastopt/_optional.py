"""Imports optional packages when they are needed. If one is missing, the error names the extra that installs it."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(module: str, needed_by: str, extra: str, package: str | None = None) -> ModuleType:
    """Import an optional module. If it is not installed, raise an ImportError that names its extra."""
    top = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != top:
            raise  # the package is installed, but a package that it imports is not
        raise ImportError(f"{needed_by} needs {package or top}: pip install 'fastopt[{extra}]'") from None
