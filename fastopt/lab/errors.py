"""The one error that the command line shows as a single line, and the door to optional packages."""

from types import ModuleType

from fastopt import _optional


class LabError(Exception):
    """Something that the user can put right: one line on stderr and exit code 2, never a traceback."""

    def __str__(self) -> str:
        return " ".join(super().__str__().split())


def require(module: str, package: str | None = None) -> ModuleType:
    """Import an optional module, or say which extra brings it, in one line.

    Everything outside NumPy is imported through here and inside functions, so that `fastopt info` and
    `--help` stay quick and work without the extra.
    """
    try:
        return _optional.require(module, "fastopt compare", "lab", package)
    except ModuleNotFoundError:  # the package is there, and something that it needs is not
        raise
    except ImportError as error:
        raise LabError(str(error)) from None
