"""The proof of speed: what the machine gives, what fastopt takes, what its peers take. Validates, then times.

`python -m bench` prints figures and writes them as JSON; `pytest bench/test_step.py` is for comparing two commits.
No test of correctness, and no part of the package: it runs from a checkout, whose tests hold the reference.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
