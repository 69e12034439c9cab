"""Settings that together contain every pair of values of two options: faults seldom need three options at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

Place = tuple[int, int]  # an option's position, and the position of one of its values


def pairwise(
    options: Mapping[str, Sequence[Any]], allowed: Callable[[dict[str, Any]], bool] = lambda part: True
) -> list[dict[str, Any]]:
    """Few settings in which each allowed pair occurs. allowed: of a part of a setting; the first values must all be."""
    names, values = list(options), list(options.values())

    def possible(row: Sequence[Place]) -> bool:
        return allowed({names[a]: values[a][i] for a, i in row})

    places = [[(a, i) for i in range(len(each))] for a, each in enumerate(values)]
    every = [(a, b) for p, q in combinations(places, 2) for a in p for b in q]
    missing = dict.fromkeys(filter(possible, every))
    rows = []
    while missing:
        row = list(next(iter(missing)))
        for own in [p for p in places if p[0][0] not in (row[0][0], row[1][0])]:
            found = [place for place in own if possible([*row, place])]
            row.append(max(found, key=lambda new: sum(tuple(sorted((new, old))) in missing for old in row)))
        for pair in combinations(sorted(row), 2):
            missing.pop(pair, None)
        rows.append({names[a]: values[a][i] for a, i in sorted(row)})
    return rows
