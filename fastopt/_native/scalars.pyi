from typing import Any

class Clock:
    steps: int
    changes: int
    def assign(self, group: dict[str, Any], values: dict[str, Any]) -> None: ...
