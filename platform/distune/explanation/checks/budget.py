"""Was training long enough?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from distune.explanation.finding import Finding, FindingState
from distune.explanation.study_evidence import SPREADS, RunEvidence, StudyEvidence

_NAME = "budget"
MIN_EPOCHS = 4
"""Epochs below which a curve has no end to speak of."""
MIN_POINTS = 3
"""Epochs of the end of a curve, at least; otherwise it is a third of them."""
MIN_RISE = 0.5
"""Points that the end of a curve must rise by: less does not matter."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trend:
    """The end of a learning curve.

    Attributes:
        slope: in points per epoch, by least squares.
        error: its standard error, from the noise of the whole curve.
        num_epochs: epochs of the end.
    """

    slope: float
    error: float
    num_epochs: int

    @property
    def is_rising(self) -> bool:
        """True if the rise is larger than its noise, and large enough to matter."""
        return self.slope > SPREADS * self.error and self.slope * (self.num_epochs - 1) >= MIN_RISE


def trend_of(values: Sequence[float]) -> Trend | None:
    """Return the trend of the last third of a curve; None if the curve is too short.

    The noise is estimated from second differences, which a straight rise does not enter.

    Args:
        values: of the metric, epoch by epoch.

    Returns:
        The trend.
    """
    if len(values) < MIN_EPOCHS:
        return None
    num = max(MIN_POINTS, math.ceil(len(values) / 3))
    end = values[-num:]
    middle, mean = (num - 1) / 2, sum(end) / num
    squares = sum((index - middle) ** 2 for index in range(num))
    slope = sum((index - middle) * (value - mean) for index, value in enumerate(end)) / squares
    bends = [values[i - 1] - 2 * values[i] + values[i + 1] for i in range(1, len(values) - 1)]
    noise = math.sqrt(sum(bend**2 for bend in bends) / len(bends) / 6)
    return Trend(slope=slope, error=noise / math.sqrt(squares), num_epochs=num)


def check_budget(evidence: StudyEvidence) -> Finding:
    """Compare the slopes at the end of the learning curves with their noise.

    Args:
        evidence: of the study, with a student.

    Returns:
        A problem if there is no gain and the student's curve is still rising.
    """
    assert evidence.student is not None
    trends = {
        "student": trend_of(evidence.student.curve(evidence.metric)),
        "control": None if evidence.control is None else trend_of(evidence.control.curve(evidence.metric)),
    }
    student = trends["student"]
    if student is None:
        text = f"{len(evidence.student.epochs)} epochs are too few to see whether the curve still rises"
        return Finding(check=_NAME, state=FindingState.UNKNOWN, text=text, advice=f"train for {MIN_EPOCHS} or more")
    details = {name: dataclasses.asdict(each) for name, each in trends.items() if each is not None}
    slopes = (
        f"{student.slope:+.2f} points an epoch over the last {student.num_epochs} epochs (noise {student.error:.2f})"
    )
    control = "" if trends["control"] is None else f", the control's by {trends['control'].slope:+.2f}"
    if not student.is_rising:
        text = f"the student's {evidence.metric} has leveled off: it changes by {slopes}{control}"
        return Finding(check=_NAME, state=FindingState.OK, text=text, details=details)
    return Finding(
        check=_NAME,
        state=FindingState.OK if evidence.has_gain else FindingState.PROBLEM,
        text=f"the student's {evidence.metric} still rises at the end: by {slopes}{control}",
        advice=f"train longer, such as training.epochs = {2 * evidence.num_epochs}, the control as well: at an early "
        "end a gain is mostly speed, and a slow start hides one",
        details=details,
    )


def has_leveled_off(run: RunEvidence, metric: str) -> bool:
    """Return whether the curve of a run is long enough and does not rise at its end."""
    trend = trend_of(run.curve(metric))
    return trend is not None and not trend.is_rising
