from fastopt._types import Array

class StumpSearch:
    order: Array
    def __init__(self, order: Array) -> None: ...
    def squares(
        self, weight: Array, y: Array
    ) -> tuple[int, int, int, float, float, float, float, float] | None: ...
    def classes(
        self, weight: Array, label: Array, classes: int
    ) -> tuple[int, int, int, Array, Array] | None: ...
