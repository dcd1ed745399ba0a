"""Warnings about the distillation of a trial, from the metrics of its epochs."""

from __future__ import annotations

from typing import Any

import pytest

from distune.config.distillation import PRESETS, DistillationSettings
from distune.distillation.epoch_warnings import EpochWarnings, warnings_of

SHARE = {"share_asked/cwd": 0.3}
FILTERED: dict[str, Any] = {
    "filter": {"weight": "gaussian", "global_threshold": 0.2, "local_threshold": 0.4},
    "global_knowledge": {"weight": 0.3},
    "local_knowledge": {"weight": 5.0, "robust": True},
}


def kept(both: float, *, without: float = 0.0) -> dict[str, float]:
    return {"filter/kept_global": both, "filter/kept_local": both, "filter/without_prototypes": without}


@pytest.mark.parametrize(("delivered", "is_wrong"), [(0.1, True), (0.16, False), (0.5, False), (0.7, True)])
def test_a_share_that_is_not_delivered(delivered: float, is_wrong: bool) -> None:
    found = warnings_of([(1, SHARE | {"share/cwd": 0.3}), (2, SHARE | {"share/cwd": delivered})], {})
    assert bool(found) == is_wrong
    if is_wrong:
        assert f"cwd had {delivered:.3g} of the task's gradient in epoch 2 instead of 0.3" in found["share_asked/cwd"]


def test_the_first_epoch_of_a_term_gives_no_warning() -> None:
    late = SHARE | {"share/cwd": 0.01}
    assert not warnings_of([(1, {"loss/task": 1.0}), (2, {"share/cwd": 4.0}), (3, late)], {})
    assert warnings_of([(1, {}), (2, late), (3, late)], {})


def test_a_raw_weight_and_a_decayed_share_give_no_warning() -> None:
    raw = {"share/cwd": 500.0}
    ended = {"share_asked/cwd": 0.0, "share/cwd": 0.0}
    assert not warnings_of([(1, raw), (2, raw), (3, ended), (4, ended)], {})


@pytest.mark.parametrize(
    ("mean", "words"), [(0.99, "keeps nearly everything"), (0.04, "drops nearly everything"), (0.5, "")]
)
def test_a_filter_that_does_nothing_or_drops_everything(mean: float, words: str) -> None:
    found = warnings_of([(1, kept(mean))], FILTERED)
    assert set(found) == ({"filter/kept_global", "filter/kept_local"} if words else set())
    assert all(words in text for text in found.values())
    if words:
        assert "global_threshold = 0.2" in found["filter/kept_global"]
        assert "local_threshold = 0.4" in found["filter/kept_local"]


def test_a_filter_that_is_off_or_waits_for_prototypes_gives_no_warning() -> None:
    assert not warnings_of([(1, kept(1.0))], FILTERED | {"filter": {"weight": "uniform"}})
    assert not warnings_of([(1, kept(1.0, without=1.0))], FILTERED)
    assert not warnings_of([(1, kept(1.0))], {})


def test_only_thresholds_that_a_term_uses_are_checked() -> None:
    only_local = FILTERED | {"global_knowledge": {"weight": 0.0}}
    assert set(warnings_of([(1, kept(1.0))], only_local)) == {"filter/kept_local"}
    only_global = FILTERED | {"local_knowledge": {"weight": 5.0, "robust": False}}
    assert set(warnings_of([(1, kept(1.0))], only_global)) == {"filter/kept_global"}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_settings_of_every_preset_can_be_checked(preset: str) -> None:
    values = DistillationSettings.model_validate({"preset": preset}).model_dump(mode="json")
    is_filtered = values["filter"]["weight"] != "uniform"
    assert bool(warnings_of([(1, kept(1.0))], values)) == is_filtered


def test_each_kind_is_told_once() -> None:
    warnings = EpochWarnings(FILTERED)
    assert len(warnings.add(1, kept(1.0))) == 2
    assert warnings.add(2, kept(0.01)) == []
    (share,) = [warnings.add(epoch, SHARE | {"share/cwd": 0.01}) for epoch in (3, 4)][1]
    assert "in epoch 4" in share
    assert len(warnings.by_kind) == 3


GAPS = {f"features/class_gap_teacher/{stride}": gap for stride, gap in ((8, 0.33), (128, 0.012), (64, 0.049))}


def test_levels_that_do_not_tell_classes_apart_are_named_once() -> None:
    metrics = {**GAPS, "filter/without_prototypes": 0.1}
    found = warnings_of([(2, metrics), (3, metrics)], {})
    assert list(found) == ["features/class_gap_teacher"]
    expected = "the teacher's features do not tell classes apart on the levels of stride 64, 128 (class gap below 0.05)"
    assert found["features/class_gap_teacher"].startswith(expected)


@pytest.mark.parametrize("metrics", [GAPS, {**GAPS, "filter/without_prototypes": 1.0}])
def test_levels_do_not_matter_without_prototypes(metrics: dict[str, float]) -> None:
    assert not warnings_of([(2, metrics)], {})
