"""Whether a series of measurements stays where it is: a straight line through it, beside its own noise. Pure."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trend:
    """A least-squares line through a series, in its units and minutes."""

    points: int
    mean: float
    slope_per_minute: float
    rise: float
    """From the beginning of the series to its end, along the line."""
    noise: float
    """The standard deviation of the points around the line."""

    def flat(self, least: float) -> bool:
        """Whether the rise is within twice the noise, or below what is too little to tell."""
        return self.rise <= max(2 * self.noise, least)

    def __str__(self) -> str:
        return (
            f"{self.mean:7.1f}  {self.slope_per_minute:+8.3f}  {self.rise:+7.2f}  {self.noise:6.2f}  {self.points:>6}"
        )


def trend(series: Sequence[tuple[float, float]]) -> Trend:
    """Return the line through (seconds, value) points; fewer than three have none."""
    if len(series) < 3:
        raise ValueError(f"a trend needs three points or more, and there are {len(series)}")
    times, values = [at for at, _ in series], [value for _, value in series]
    slope, offset = statistics.linear_regression(times, values)
    around = [value - (slope * at + offset) for at, value in series]
    noise = math.sqrt(sum(each * each for each in around) / (len(series) - 2))
    return Trend(len(series), statistics.fmean(values), 60 * slope, slope * (times[-1] - times[0]), noise)
