"""``outcome.json`` in a trial's folder: how the trial ended. Optuna's records can be rebuilt from it."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import NamedTuple

from distune.atomic_write import write_atomically
from distune.bounded_read import read_bounded
from distune.records import Outcome

_FILE = "outcome.json"
_ENDINGS = (Outcome.FINISHED, Outcome.STOPPED, Outcome.DIVERGED, Outcome.FAILED)


class TrialOutcome(NamedTuple):
    """The end of a trial: its outcome, the reason of a failure or divergence, and the seconds since 1970."""

    outcome: Outcome
    reason: str | None
    ended_at: float | None = None


def write_outcome(folder: Path, outcome: Outcome, reason: str | None) -> None:
    """Record the end of a trial in its folder."""
    values = {"outcome": outcome.value, "reason": reason, "ended_at": time.time()}
    write_atomically(folder / _FILE, json.dumps(values).encode())


def read_outcome(folder: Path) -> TrialOutcome | None:
    """Read the end of a trial; None while it has not ended, in folders of earlier versions, and if damaged."""
    try:
        values = json.loads(read_bounded(folder / _FILE))
        outcome, reason, ended_at = Outcome(values["outcome"]), values.get("reason"), float(values["ended_at"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if outcome not in _ENDINGS or not isinstance(reason, str | None) or not math.isfinite(ended_at):
        return None
    return TrialOutcome(outcome, reason, ended_at)
