"""The Cython modules. Import the public names from fastopt instead."""
