"""fastopt: gradient-descent optimizers in C with OpenMP, for NumPy. The public names; needs NumPy alone."""

import inspect as _inspect  # noqa: F401  the extensions import it without a check, which would crash after Ctrl-C
from typing import TYPE_CHECKING, Any

try:
    from fastopt._native import runtime
except ImportError as error:
    if "cannot import name 'runtime'" not in str(error):
        raise
    raise ImportError(
        f"fastopt's extension is not in {__path__[0]}: in a clone that was not installed with 'pip install -e .', "
        "start Python from another folder"
    ) from error
from fastopt._native.runtime import available_isas, build_info, get_num_threads, isa
from fastopt.batches import Batches, batches
from fastopt.optimizer import Optimizer
from fastopt.optimizers import NAG, SGD, Adadelta, Adagrad, Adam, AdamW, Momentum, RMSprop
from fastopt.threads import choose_isa, default_num_threads, set_num_threads

if TYPE_CHECKING:
    from fastopt import functional, regularization

__version__ = "0.2.0"

__all__ = [
    "NAG",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Batches",
    "Momentum",
    "Optimizer",
    "RMSprop",
    "available_isas",
    "batches",
    "build_info",
    "functional",
    "get_num_threads",
    "isa",
    "regularization",
    "set_num_threads",
]

for _cls in Optimizer.registry.values():  # a new optimizer class becomes public without a change of this file
    if _cls.__name__ not in __all__:
        globals()[_cls.__name__] = _cls
        __all__.append(_cls.__name__)

choose_isa()
runtime.set_num_threads(default_num_threads())


def __getattr__(name: str) -> Any:
    """Import these modules when they are first used, so that `import fastopt` stays fast."""
    if name in ("functional", "regularization"):
        import importlib

        return importlib.import_module(f"fastopt.{name}")
    raise AttributeError(f"module 'fastopt' has no attribute {name!r}")
