from fastopt._core import Form, TensorPlan, bind_torch  # noqa: F401
