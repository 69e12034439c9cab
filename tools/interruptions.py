"""Interrupts every public call that changes an object at every line, signal check and allocation, one at a time."""

from __future__ import annotations

import argparse
import time
import warnings

from tests.support.interrupted_calls import CALLS, faults
from tests.support.interrupts import WAYS


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools interruptions", description=__doc__)
    parser.add_argument("suites", nargs="*", default=list(CALLS), help=f"of {', '.join(CALLS)}; all by default")
    parser.add_argument("--only", default="", help="calls whose name has this text")
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    found, begin = 0, time.monotonic()
    for suite in args.suites:
        totals = dict.fromkeys(WAYS, 0)
        calls = [(name, call) for name, call in CALLS[suite]() if args.only in name]
        for name, call in calls:
            for way in WAYS:
                hits, wrong = faults(call, way, all_places=True)
                totals[way] += hits
                found += len(wrong)
                print(*(f"{name}: {line}" for line in wrong), sep="\n", end="\n" if wrong else "")
        counts = ", ".join(f"{n:,} at a {way}" for way, n in totals.items())
        print(f"{suite}: {len(calls)} calls, interruptions: {counts}", flush=True)
    print(f"{found} faults in {time.monotonic() - begin:.0f} s")
    return int(found > 0)
