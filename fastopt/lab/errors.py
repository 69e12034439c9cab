"""The error that the command line prints as one line, and the import of optional packages."""

from types import ModuleType

from fastopt import _optional


class LabError(Exception):
    """A mistake that the user can correct: one line on stderr and exit code 2, no traceback."""

    def __str__(self) -> str:
        return " ".join(super().__str__().split())


def require(module: str, package: str | None = None) -> ModuleType:
    """Import an optional module, or raise a LabError that names the extra which installs it.

    All packages but NumPy are imported this way, inside functions, so that `fastopt info` and `--help` are quick and
    work without the extra.
    """
    try:
        return _optional.require(module, "fastopt compare", "lab", package)
    except ModuleNotFoundError:  # the package is installed, but one that it needs is not
        raise
    except ImportError as error:
        raise LabError(str(error)) from None
