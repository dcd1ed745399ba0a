"""User attributes of Optuna trials: their names, and the names that earlier versions of distune used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OUTCOME, REASON, RETRIES = "outcome", "reason", "retries"
ORIGIN, REQUESTED, PROPOSED = "origin", "requested_params", "proposed_params"
REPEATS_AVOIDED = "repeats_avoided"
GAIN, EPOCHS, SEED = "gain", "epochs", "seed"
"""Written once, at the end of a trial, for readers such as optuna-dashboard. distune does not read them."""

_LEGACY_NAMES = {RETRIES: "setbacks", REQUESTED: "given", PROPOSED: "proposal"}


def read_attribute(attributes: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """Return a user attribute of a trial, also of a trial that an earlier version has written."""
    return attributes.get(name, attributes.get(_LEGACY_NAMES.get(name, name), default))
