"""Students side by side: the settings in which they differ, their scores, and whether these can be compared."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from distune.config.data import ImageSettings
from distune.config.format_value import format_value
from distune.config.paths import get_path, leaf_paths

if TYPE_CHECKING:
    import pandas as pd

MISSING = "-"
"""Shown for a setting or a figure that a student does not have."""
_LEFT_OUT = ("name", "description", "expects", "resources", "tracking")
"""Sections without an effect on a student."""
_OF_TRAINING: dict[str, Any] = {"train_share": 1.0, "keep_empty_images": True}
"""Settings that leave out training images alone, with their defaults. They change the fingerprint of the data."""
_NO_OTHER_DATA = (*ImageSettings.model_fields, *_OF_TRAINING)
"""Settings of the data that leave the images and boxes of the search and the test split as they are."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparedStudent:
    """A student to compare.

    Attributes:
        name: the study, or study and trial such as ``quick/3``.
        trial: key of the trial.
        outcome: of the trial.
        metric: of the study, such as ``search/AP``.
        metrics: all metrics of the best epoch by that metric; empty before the first epoch.
        best_epoch: number of that epoch, None before the first.
        epochs: number of epochs done.
        seconds: training and evaluation, all epochs together; None if it was not measured.
        settings: the experiment of the trial as plain data.
        gain: over the controls of the search, in points; None where it is unknown.
        confirmed: the confirmed gain with its interval in words; None where the trial is not confirmed.
        interval: mean, lower and upper end of the confirmed gain; None where the trial is not confirmed.
        data_fingerprint: of the images and boxes; None for simulated studies, and where it is not on record.
        simulated: whether nothing was trained.
    """

    name: str
    trial: str
    outcome: str
    metric: str
    metrics: Mapping[str, float]
    best_epoch: int | None
    epochs: int
    seconds: float | None
    settings: Mapping[str, Any]
    gain: float | None
    confirmed: str | None
    interval: tuple[float, float, float] | None
    data_fingerprint: str | None
    simulated: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Students side by side, as ``distune.compare`` returns them.

    Attributes:
        students: in the order in which they were named.
        settings: path to the values of the students, for the settings that differ; ``-`` where a student has none.
        figures: name to the values of the students: scores of the best epoch, epochs, seconds, gain.
        warnings: why figures cannot be compared; empty where they can.
    """

    students: tuple[ComparedStudent, ...]
    settings: dict[str, tuple[Any, ...]]
    figures: dict[str, tuple[Any, ...]]
    warnings: tuple[str, ...]

    def to_dataframe(self) -> pd.DataFrame:
        """Return a table with a row per student, and a column per figure and per setting that differs."""
        import pandas as pd

        return pd.DataFrame(
            {**self.figures, **self.settings}, index=pd.Index([each.name for each in self.students], name="student")
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; numbers that are not finite become None."""
        return {
            "students": [each.name for each in self.students],
            "settings": {path: list(values) for path, values in self.settings.items()},
            "figures": {name: [_finite(value) for value in values] for name, values in self.figures.items()},
            "warnings": list(self.warnings),
        }


def compare_students(students: Sequence[ComparedStudent], *, with_classes: bool = False) -> Comparison:
    """Compare students.

    Args:
        students: at least two.
        with_classes: add the AP of each class.

    Returns:
        The comparison.
    """
    return Comparison(
        students=tuple(students),
        settings=_differing_settings([each.settings for each in students]),
        figures=_figures(students, with_classes=with_classes),
        warnings=tuple(_warnings(students)),
    )


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Return the tables of figures and of settings for a terminal."""
    tables = []
    for title, rows in (("", comparison.figures), ("settings that differ", comparison.settings)):
        if not rows:
            continue
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column(title, overflow="fold")
        for student in comparison.students:
            table.add_column(student.name, justify="right", overflow="fold")
        for name, values in rows.items():
            table.add_row(name, *(_show(name, value) for value in values))
        tables.append(table)
    return tables


def _differing_settings(settings: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    paths = dict.fromkeys(path for each in settings for path in leaf_paths(each))
    values = {path: tuple(_value_at(each, path) for each in settings) for path in paths}
    return {
        path: found
        for path, found in values.items()
        if path.partition(".")[0] not in _LEFT_OUT and any(value != found[0] for value in found)
    }


def _value_at(settings: Mapping[str, Any], path: str) -> Any:
    try:
        return get_path(settings, path)
    except KeyError:
        return MISSING


def _figures(students: Sequence[ComparedStudent], *, with_classes: bool) -> dict[str, tuple[Any, ...]]:
    def row(value_of: Callable[[ComparedStudent], Any]) -> tuple[Any, ...]:
        return tuple(value_of(each) for each in students)

    names = dict.fromkeys([*(each.metric for each in students), "search/AP", "search/AP50"])
    if with_classes:
        names |= dict.fromkeys(name for each in students for name in each.metrics if name.startswith("search/AP/"))
    figures: dict[str, tuple[Any, ...]] = {
        "trial": row(lambda each: each.trial),
        "outcome": row(lambda each: each.outcome),
        **{name: tuple(each.metrics.get(name) for each in students) for name in names},
        "best epoch": row(lambda each: each.best_epoch),
        "epochs": row(lambda each: each.epochs),
        "seconds": row(lambda each: each.seconds),
        "gain": row(lambda each: each.gain),
        "confirmed gain": row(lambda each: each.confirmed),
    }
    return {name: values for name, values in figures.items() if any(value is not None for value in values)}


def _warnings(students: Sequence[ComparedStudent]) -> list[str]:
    warnings = []
    by_simulated = _groups(students, lambda each: "simulated" if each.simulated else "trained")
    if len(by_simulated) > 1:
        warnings.append(f"figures cannot be compared: {_describe(by_simulated)}")
    by_metric = _groups(students, lambda each: each.metric)
    if len(by_metric) > 1:
        warnings.append(
            f"figures cannot be compared: the studies have different metrics, by which each best epoch was chosen: "
            f"{_describe(by_metric)}"
        )
    if all(each.data_fingerprint is not None for each in students):
        by_data = _groups(students, lambda each: each.data_fingerprint or "")
        num_parts = len(_groups(students, _part_of_training))
        if len(_groups(students, lambda each: f"{each.data_fingerprint} {_part_of_training(each)}")) > num_parts:
            warnings.append(f"figures cannot be compared: the data differ, by their fingerprints: {_describe(by_data)}")
            return warnings
        if num_parts == 1:
            return warnings
    data = [{"data": _deciding(each.settings.get("data", {}))} for each in students]
    differing = _differing_settings(data)
    if differing:
        warnings.append(f"figures cannot be compared: the settings of the data differ: {', '.join(differing)}")
    return warnings


def _part_of_training(student: ComparedStudent) -> str:
    """Return the part of the training images that a student was trained on, by the settings of the data."""
    data = student.settings.get("data", {})
    return " ".join(str(data.get(name, default)) for name, default in _OF_TRAINING.items())


def _deciding(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in _NO_OTHER_DATA}


def _groups(students: Sequence[ComparedStudent], key: Callable[[ComparedStudent], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for each in students:
        groups.setdefault(key(each), []).append(each.name)
    return groups


def _describe(groups: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{', '.join(names)}: {value}" for value, names in groups.items())


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _show(name: str, value: Any) -> str:
    if value is None and name not in ("gain", "confirmed gain"):
        return MISSING
    if value is None:
        return ""
    if name == "gain":
        return f"{value:+.1f}"
    if name.startswith("search/") or name == "seconds":
        return f"{value:.1f}"
    return format_value(value, digits=4)
