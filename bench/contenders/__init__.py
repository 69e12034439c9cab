"""The libraries that take part, one file each. To add one, write a file with CONTENDERS and import it here.

Callers report and skip a contender whose module is not installed.
"""

from bench.contenders import by_hand, deepspeed, keras_torch, optax_jax, ours, thinc_adam, torch_optim
from bench.contenders.base import Contender
from bench.contenders.ours import FASTOPT, MOVING

__all__ = ["CONTENDERS", "FASTOPT", "MOVING", "Contender"]

CONTENDERS: tuple[Contender, ...] = tuple(
    contender
    for module in (ours, torch_optim, deepspeed, optax_jax, keras_torch, thinc_adam, by_hand)
    for contender in module.CONTENDERS
)
