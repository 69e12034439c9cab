"""The table of C functions: `from fastopt._native.runtime cimport api`, then `api.steps.run(...)`."""

from fastopt._native.capi cimport fo_api

cdef const fo_api *api
