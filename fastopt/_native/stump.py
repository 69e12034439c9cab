from fastopt._core import StumpSearch  # noqa: F401
