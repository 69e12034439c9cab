from fastopt._core import RECORD_BYTES as RECORD_BYTES
from fastopt._core import Form as Form
from fastopt._core import TensorPlan as TensorPlan
from fastopt._core import bind_torch as bind_torch
