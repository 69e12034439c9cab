"""The one error that the command line shows as a single line, and the door to optional packages."""

import importlib
from types import ModuleType


class LabError(Exception):
    """Something that the user can put right: one line on stderr and exit code 2, never a traceback."""

    def __str__(self) -> str:
        return " ".join(super().__str__().split())


def require(module: str, package: str | None = None) -> ModuleType:
    """Import an optional module, or say which extra brings it.

    Everything outside NumPy is imported through here and inside functions, so that `fastopt info` and
    `--help` stay quick and work without the extra.
    """
    top = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        raise LabError(f"fastopt compare needs {package or top}: pip install 'fastopt[lab]'") from None
