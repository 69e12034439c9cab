"""Drop-in optimizers for PyTorch over fastopt's kernels. The only import of fastopt that loads torch.

    optimizer = fastopt.torch.AdamW(model.parameters(), lr=3e-4)    # for torch.optim.AdamW

The classes are subclasses of their namesakes in torch.optim, with the same signatures, defaults, param groups, states,
checkpoints and errors.
"""

from fastopt.torch.in_backward import InBackward, step_in_backward
from fastopt.torch.nag import NAG
from fastopt.torch.optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, RMSprop

__all__ = [
    "NAG",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "InBackward",
    "RMSprop",
    "step_in_backward",
]
