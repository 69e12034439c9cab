from fastopt._core import RECORD_BYTES, Form, TensorPlan, bind_torch  # noqa: F401
