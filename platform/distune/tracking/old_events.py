"""Spool lines of distune 0.x before the events carried whole reports and records. Unsent ones are still sent.

``epoch`` lines had the fields of the report beside the key, ``trial_ended`` lines those of the record.
"""

from __future__ import annotations

from typing import Any


def update_old_line(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a spool line in the present form; those of a present line as they are."""
    match values.get("event"):
        case "epoch" if "report" not in values:
            report = {
                "epoch": values["epoch"],
                "metrics": values["metrics"],
                "finished_at": values["at_ms"] / 1000,
            }
            return {"event": "epoch", "key": values["key"], "report": report}
        case "trial_ended" if "record" not in values:
            record = {name: value for name, value in values.items() if name not in ("event", "at_ms", "key")}
            best_at_ms = record.pop("best_at_ms", None)
            record |= {
                "number": 0,  # not in the old line; the label is the key instead
                "label": values["key"],
                "params": {},
                "best_at": None if best_at_ms is None else best_at_ms / 1000,
            }
            return {"event": "trial_ended", "at_ms": values["at_ms"], "record": record}
    return values
