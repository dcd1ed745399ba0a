"""Warnings about levels whose features do not tell classes apart."""

from __future__ import annotations

from distune.distillation.epoch_warnings import EpochWarnings
from distune.distillation.level_warnings import indistinct_levels

GAPS = {f"features/class_gap_teacher/{stride}": gap for stride, gap in ((8, 0.33), (128, 0.012), (64, 0.049))}


def test_levels_with_a_small_gap_are_named() -> None:
    found = indistinct_levels({**GAPS, "filter/without_prototypes": 0.1})
    assert list(found) == ["features/class_gap_teacher/64", "features/class_gap_teacher/128"]
    expected = "level stride 128: the teacher's features do not tell classes apart (class gap 0.01)"
    assert found["features/class_gap_teacher/128"].startswith(expected)


def test_without_prototypes_there_is_no_warning() -> None:
    assert indistinct_levels(GAPS) == {}
    assert indistinct_levels({**GAPS, "filter/without_prototypes": 1.0}) == {}
    assert indistinct_levels({"filter/without_prototypes": 0.0}) == {}


def test_a_trial_warns_about_such_a_level_once() -> None:
    metrics = {"filter/without_prototypes": 0.0, "features/class_gap_teacher/64": 0.01}
    warnings = EpochWarnings({})
    assert [text.split(":")[0] for text in warnings.add(2, metrics)] == ["level stride 64"]
    assert warnings.add(3, metrics) == []
