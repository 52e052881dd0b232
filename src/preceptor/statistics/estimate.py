"""A number with its interval, or the reason why there is none."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A measured number, the interval around it, and what both rest on; never NaN.

    `n` counts observations, `clusters` the independent groups they come from (prompts, mostly).
    `mean` is None where the quantity is undefined, `low` and `high` also where only the interval
    is; `reason` then says why. `method` names how the interval was made.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    clusters: int | None = None
    method: str = ""
    reason: str = ""

    @classmethod
    def undefined(cls, reason: str, n: int = 0, clusters: int | None = None) -> "Estimate":
        """No number, and why."""
        return cls(None, None, None, n, clusters, reason=reason)

    def as_dict(self) -> dict[str, Any]:
        """As `results.json` holds it: mean, low, high, n, and the reason where one is null."""
        fields: dict[str, Any] = {
            "mean": self.mean,
            "low": self.low,
            "high": self.high,
            "n": self.n,
        }
        if self.mean is None or self.low is None:
            fields["reason"] = self.reason
        return fields
