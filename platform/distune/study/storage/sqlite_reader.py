"""Reads trials from Optuna's SQLite file with the standard library, for `distune status`.

Loading Optuna, SQLAlchemy and Alembic to read a few rows takes longer than all the rest of the command. Only the tables
of one known schema are read in this way; for any other, and for any error, Optuna reads the file.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import sqlite3
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

from distune.records import ParameterValue
from distune.study.search.stored_trial import StoredTrial, stored_trial

_SCHEMA = "v3.2.0.a"
"""Revision of Optuna's tables, of Optuna 3.2 to 5.0."""
_TIMEOUT_S = 60.0
_OF_STUDY = "FROM trials JOIN studies USING (study_id) {} WHERE study_name = ? ORDER BY {}"
_TRIALS = "SELECT trial_id, number, state, datetime_complete " + _OF_STUDY.format("", "number")
_PARAMS = "SELECT trial_id, param_name, param_value, distribution_json " + _OF_STUDY.format(
    "JOIN trial_params USING (trial_id)", "param_id"
)
_SCORES = "SELECT trial_id, step, intermediate_value, intermediate_value_type " + _OF_STUDY.format(
    "JOIN trial_intermediate_values USING (trial_id)", "step"
)
_ATTRIBUTES = "SELECT trial_id, key, value_json " + _OF_STUDY.format(
    "JOIN trial_user_attributes USING (trial_id)", "trial_user_attribute_id"
)
_NOT_FINITE = {"NAN": math.nan, "INF_POS": math.inf, "INF_NEG": -math.inf}


class _UnknownFormError(Exception):
    """The file holds something that this module does not know."""


def read_sqlite(path: Path, *, search_study: str, control_study: str) -> list[StoredTrial] | None:
    """Read all trials of a study from one state of the file.

    Args:
        path: of the SQLite file.
        search_study: name of the Optuna study of the searched trials.
        control_study: name of the Optuna study of the controls.

    Returns:
        The controls first, each kind in the order in which it was started. None when Optuna must read the file: it is
        of another version, lacks a study, or cannot be read.
    """
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_TIMEOUT_S)
        ) as file:
            file.execute("BEGIN")  # all queries see one state
            if file.execute("SELECT version_num FROM alembic_version").fetchall() != [(_SCHEMA,)]:
                return None
            controls, searched = (_read_study(file, name) for name in (control_study, search_study))
    except (sqlite3.Error, _UnknownFormError, KeyError, TypeError, ValueError):
        return None
    return [stored_trial(-1 - number, **record) for number, record in controls] + [
        stored_trial(number, **record) for number, record in searched
    ]


def _read_study(file: sqlite3.Connection, name: str) -> list[tuple[int, dict[str, Any]]]:
    """Return the number of each trial, and the arguments of ``stored_trial``."""
    if file.execute("SELECT 1 FROM studies WHERE study_name = ?", (name,)).fetchone() is None:
        raise _UnknownFormError(name)
    params: dict[int, dict[str, ParameterValue]] = defaultdict(dict)
    for trial, path, value, distribution in file.execute(_PARAMS, (name,)):
        params[trial][path] = _external(value, distribution)
    scores: dict[int, dict[int, float]] = defaultdict(dict)
    for trial, epoch, value, kind in file.execute(_SCORES, (name,)):
        scores[trial][epoch] = float(value) if kind == "FINITE" else _NOT_FINITE[kind]
    attributes: dict[int, dict[str, Any]] = defaultdict(dict)
    for trial, key, value in file.execute(_ATTRIBUTES, (name,)):
        attributes[trial][key] = json.loads(value)
    return [
        (
            number,
            {
                "state": state,
                "params": params[trial],
                "scores": scores[trial],
                "attributes": attributes[trial],
                "ended_at": None if ended is None else datetime.fromisoformat(ended),
            },
        )
        for trial, number, state, ended in file.execute(_TRIALS, (name,))
    ]


def _external(value: float, distribution: str) -> ParameterValue:
    """Return the value of a parameter, which Optuna stores as a number beside its distribution."""
    kind, choices = _parse_distribution(distribution)
    if choices is not None:
        return choices[int(value)]
    return int(value) if kind == "IntDistribution" else float(value)


@functools.lru_cache
def _parse_distribution(text: str) -> tuple[str, list[ParameterValue] | None]:
    """Return the name of a distribution, and its choices if it has any."""
    content = json.loads(text)
    kind = content["name"]
    if kind not in ("CategoricalDistribution", "IntDistribution", "FloatDistribution"):
        raise _UnknownFormError(kind)
    return kind, content["attributes"]["choices"] if kind == "CategoricalDistribution" else None
