from fastopt._core import resample_places, resample_rows, resample_sums  # noqa: F401
