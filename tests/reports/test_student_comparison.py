"""Students side by side, and when their figures cannot be compared."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from distune.reports.student_comparison import MISSING, ComparedStudent, compare_students, comparison_tables

SETTINGS: dict[str, Any] = {
    "name": "a",
    "data": {"kind": "digits", "seed": 0, "min_size_px": 64},
    "training": {"epochs": 6},
    "resources": {"cpus_per_trial": 1},
}


def student(name: str = "a", **changes: Any) -> ComparedStudent:
    values: dict[str, Any] = {
        "name": name,
        "trial": "3",
        "outcome": "finished",
        "metric": "search/AP",
        "metrics": {"search/AP": 30.25, "search/AP50": 60.0, "search/AP/one": 20.0},
        "best_epoch": 5,
        "epochs": 6,
        "seconds": 12.5,
        "settings": SETTINGS,
        "gain": 1.5,
        "confirmed": None,
        "interval": None,
        "data_fingerprint": "1a",
        "simulated": False,
    }
    return ComparedStudent(**{**values, **changes})


def test_only_settings_with_an_effect_that_differ_are_shown() -> None:
    other = {
        **SETTINGS,
        "name": "b",
        "training": {"epochs": 12, "ema": True},
        "resources": {"cpus_per_trial": 2},
    }
    comparison = compare_students([student(), student("b", settings=other), student("c")])
    assert comparison.settings == {"training.epochs": (6, 12, 6), "training.ema": (MISSING, True, MISSING)}
    assert comparison.warnings == ()


def test_students_of_fewer_training_images_can_be_compared_on_the_same_search_split() -> None:
    def few(**data: Any) -> dict[str, Any]:
        return {**SETTINGS, "data": {**SETTINGS["data"], "train_share": 0.1, **data}}

    part = student("b", data_fingerprint="2b", settings=few())
    comparison = compare_students([student(), part])
    assert comparison.settings == {"data.train_share": (MISSING, 0.1)}
    assert comparison.warnings == ()
    other_split = student("c", data_fingerprint="3c", settings=few(seed=1))
    assert "the settings of the data differ: data.seed" in compare_students([student(), other_split]).warnings[0]
    changed = student("c", data_fingerprint="3c", settings=few())
    assert "by their fingerprints" in compare_students([student(), part, changed]).warnings[0]


def test_figures_are_those_that_some_student_has() -> None:
    comparison = compare_students([student(), student("b", metrics={}, best_epoch=None, gain=None)])
    assert comparison.figures["search/AP"] == (30.25, None)
    assert comparison.figures["gain"] == (1.5, None)
    assert "search/AP/one" not in comparison.figures
    assert "confirmed gain" not in comparison.figures
    assert compare_students([student(), student("b")], with_classes=True).figures["search/AP/one"] == (20.0, 20.0)


def test_the_table_has_a_column_for_each_student() -> None:
    (figures, settings) = comparison_tables(
        compare_students([student(), student("b", settings={**SETTINGS, "training": {"epochs": 7}})])
    )
    assert [str(column.header) for column in figures.columns] == ["", "a", "b"]
    rows = dict(zip(figures.columns[0].cells, figures.columns[1].cells, strict=True))
    assert (rows["search/AP"], rows["gain"], rows["best epoch"]) == ("30.2", "+1.5", "5")
    assert list(settings.columns[2].cells) == ["7"]


def test_a_dataframe_has_a_row_for_each_student() -> None:
    frame = compare_students([student(), student("b", gain=2.0)]).to_dataframe()
    assert list(frame.index) == ["a", "b"]
    assert list(frame["gain"]) == [1.5, 2.0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data_fingerprint": "2b"}, "the data differ, by their fingerprints: a: 1a; b: 2b"),
        (
            {"metric": "search/AP50"},
            "different metrics, by which each best epoch was chosen: a: search/AP; b: search/AP50",
        ),
        ({"simulated": True}, "a: trained; b: simulated"),
        (
            {"data_fingerprint": None, "settings": {**SETTINGS, "data": {**SETTINGS["data"], "seed": 1}}},
            "the settings of the data differ: data.seed",
        ),
    ],
)
def test_it_says_why_figures_cannot_be_compared(changes: dict[str, Any], reason: str) -> None:
    (warning,) = compare_students([student(), student("b", **changes)]).warnings
    assert warning.startswith("figures cannot be compared: ")
    assert reason in warning


def test_another_image_size_is_another_setting_and_not_other_data() -> None:
    resized = {**SETTINGS, "data": {**SETTINGS["data"], "min_size_px": 128}}
    comparison = compare_students([student(), student("b", data_fingerprint=None, settings=resized)])
    assert comparison.warnings == ()
    assert comparison.settings == {"data.min_size_px": (64, 128)}


def test_json_has_no_numbers_that_it_does_not_know() -> None:
    text = json.dumps(compare_students([student(), student("b", gain=math.nan)]).to_dict(), allow_nan=False)
    assert json.loads(text)["figures"]["gain"] == [1.5, None]
