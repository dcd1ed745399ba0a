"""A dry run builds and trains everything, without data and without writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import distune
from distune.errors import UsageError
from support.experiments import small_values

DATA: dict[str, Any] = {
    "kind": "coco",
    "train": {"images": "train", "annotations": "train.json"},
    "search_share": 0.25,
    "test_share": 0.25,
    "min_size_px": 64,
    "max_size_px": 96,
}
EXPECTS = {"train_images": 1000, "control_s_per_image": 0.1, "control_s_measured_on": "one V100"}


def values(**changes: Any) -> dict[str, Any]:
    return {**small_values(), "data": DATA, "expects": EXPECTS, **changes}


def test_it_needs_no_data_and_estimates_two_devices(tmp_path: Path) -> None:
    result = distune.validate(values(), dry_run=True, callbacks=[], home=tmp_path).dry_run
    assert result is not None
    assert result.is_synthetic
    assert result.steps.batch_size == 2
    seconds = (result.steps.control_s, result.steps.distilled_s, result.steps.teacher_s, result.steps.evaluate_s)
    assert all(each is not None and each > 0 for each in seconds)
    assert result.steps.peak_mb > 0
    here, there = result.plans
    assert (here.where, there.where) == ("this CPU", "one V100")
    # 500 images remain of 1,000, and 250 are evaluated after each of 3 epochs
    evaluate_s = 0.1 * result.steps.evaluate_s / result.steps.control_s
    assert there.control_s == pytest.approx(3 * (500 * 0.1 + 250 * evaluate_s))
    assert any("2 images per step instead of 4" in line for line in result.lines)
    assert not any(tmp_path.iterdir())


def test_a_share_of_the_images_shortens_an_epoch_and_no_step(tmp_path: Path) -> None:
    few = values(data={**DATA, "train_share": 0.1})
    found = distune.validate(few, dry_run=True, callbacks=[], home=tmp_path).dry_run
    assert found is not None
    assert found.steps.batch_size == 2
    evaluate_s = 0.1 * found.steps.evaluate_s / found.steps.control_s
    assert found.plans[1].control_s == pytest.approx(3 * (50 * 0.1 + 250 * evaluate_s))


def test_a_trial_on_several_gpus_is_measured_on_one(tmp_path: Path) -> None:
    several = values(resources={"gpus_per_trial": 4}, expects={})
    result = distune.validate(several, dry_run=True, callbacks=[], home=tmp_path).dry_run
    assert result is not None
    assert result.steps.batch_size == 1
    assert any("1 image per step on one of the 4 GPUs of a trial" in line for line in result.lines)


def test_without_the_number_of_images_there_is_no_estimate(tmp_path: Path) -> None:
    result = distune.validate(values(expects={}), dry_run=True, callbacks=[], home=tmp_path).dry_run
    assert result is not None
    assert result.plans == ()
    assert any("set data.root, or expects.train_images" in line for line in result.lines)


def test_given_data_is_used(tmp_path: Path) -> None:
    result = distune.validate(small_values(), dry_run=True, callbacks=[], home=tmp_path).dry_run
    assert result is not None
    assert not result.is_synthetic
    (here,) = result.plans
    assert here.control_s == pytest.approx(3 * (8 * result.steps.control_s + 4 * result.steps.evaluate_s))


def test_a_format_without_synthetic_data_is_refused(tmp_path: Path) -> None:
    yolo = {"kind": "yolo", "train": "images/train", "min_size_px": 64, "max_size_px": 96}
    with pytest.raises(UsageError, match=r"data\.kind = yolo"):
        distune.validate(values(data=yolo), dry_run=True, callbacks=[], home=tmp_path)
