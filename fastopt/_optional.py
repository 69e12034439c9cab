"""The door to optional packages: imported when asked for, and an error that says which extra brings them."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(module: str, needed_by: str, extra: str, package: str | None = None) -> ModuleType:
    """Import an optional module; an ImportError that names the extra if it is not installed."""
    top = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != top:
            raise  # the package is there, and something that it needs is not
        raise ImportError(f"{needed_by} needs {package or top}: pip install 'fastopt[{extra}]'") from None
