"""What `tune` may search: the values of a parameter that are worth trying. One table per template, `search_space`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included: whole ones where both are. `log`: even steps are even factors."""

    low: float
    high: float
    log: bool = False

    def describe(self) -> dict[str, Any]:
        """The range as the API tells it."""
        return {"low": self.low, "high": self.high, "log": self.log}

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Choice:
    """One of several values without an order."""

    values: tuple[str | int | float | bool, ...]

    def describe(self) -> dict[str, Any]:
        """The values as the API tells them."""
        return {"values": list(self.values)}

    def __contains__(self, value: Any) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))


SearchSpace = Mapping[str, Range | Choice]
