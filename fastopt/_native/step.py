from fastopt._core import Clock, Lookahead, Plan, copy_all  # noqa: F401
