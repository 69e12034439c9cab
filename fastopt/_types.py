"""Names for types that many modules use in their annotations."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

#: any NumPy array; the docstring says which dtype and shape
Array: TypeAlias = np.ndarray[Any, Any]
#: a source of randomness: None (a random seed), a seed, or a generator
Rng: TypeAlias = "int | np.random.Generator | np.random.SeedSequence | None"  # quoted: numpy.random takes 10 ms
