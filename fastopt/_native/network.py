from fastopt._core import (  # noqa: F401
    NetworkEpoch,
    NetworkPass,
    activate,
    activate_back,
    add_losses,
    entropy_rows,
    gather,
    is_sgemm,
    squared_error,
    weigh_rows,
)
