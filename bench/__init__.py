"""Benchmarks: how fast fastopt is against the machine's memory and against other libraries. Checks results, then times.

`python -m bench` prints figures and writes them as JSON; `pytest bench/test_step.py` compares two commits. This
package is not installed: it runs from a checkout and uses the float64 reference of the tests.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
