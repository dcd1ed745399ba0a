"""Teachers are trained once and loaded afterwards; a trial is opened from its specification alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from distune.config.experiment import Experiment, without_distillation
from distune.config.home import Home
from distune.config.paths import merge
from distune.config.search import GpusPerTrial
from distune.data.build import build_splits
from distune.errors import ResourceError, TeacherFileError, WeightsError
from distune.records import EpochReport, TrialSpec
from distune.study.failures.reasons import BLOCKING_KINDS, describe_failure, is_of_kind
from distune.study.storage.optuna_storage import stopped_error
from distune.training.builder import TrialBuilder
from distune.training.optimization import multi_step_factor
from distune.training.precision import autocast_dtype, pick_device
from distune.training.solo_run import open_trial
from distune.training.teacher import Teacher, load_teacher, prepare_teacher
from distune.training.teacher_hash import teacher_hash
from support.datasets import coco_settings, make_coco
from support.experiments import small_experiment

CPU = torch.device("cpu")


def prepare(experiment: Experiment, home: Home, seen: list[int]) -> Teacher:
    def note(report: EpochReport, num_epochs: int) -> None:
        seen.append(report.epoch)

    return prepare_teacher(experiment, build_splits(experiment.data), home=home, device=CPU, on_progress=note)


def test_a_teacher_is_trained_once_and_loaded_afterwards(tmp_path: Path) -> None:
    seen: list[int] = []
    first = prepare(small_experiment(), Home(tmp_path), seen)
    again = prepare(small_experiment({"training": {"epochs": 2}}), Home(tmp_path), seen)
    assert seen == [1]
    assert first.is_new
    assert not again.is_new
    assert first.weights == again.weights
    assert first.metrics == again.metrics
    assert "search/AP" in first.metrics


@pytest.mark.parametrize("damage", ["a flipped byte", "no file", "the summary", "a flipped byte of an earlier version"])
def test_a_damaged_teacher_is_trained_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []
    first = prepare(small_experiment(), Home(tmp_path), seen)
    summary = first.weights.with_name("teacher.json")
    if damage == "the summary":
        summary.write_text("{")
    elif damage == "no file":
        first.weights.unlink()
    else:
        content = bytearray(first.weights.read_bytes())
        content[len(content) // 2] ^= 1
        first.weights.write_bytes(content)
    if "earlier" in damage:
        values = json.loads(summary.read_bytes())
        del values["sha256"]
        summary.write_text(json.dumps(values))
    assert load_teacher(small_experiment(), build_splits(small_experiment().data), home=Home(tmp_path)) is None
    again = prepare(small_experiment(), Home(tmp_path), seen)
    assert seen == [1, 1]
    assert again.is_new
    assert again.metrics["search/AP"] == first.metrics["search/AP"]
    assert "is damaged: it is trained again" in caplog.text
    assert not prepare(small_experiment(), Home(tmp_path), seen).is_new


def test_a_trial_says_that_the_file_of_its_teacher_is_damaged(tmp_path: Path) -> None:
    """This ends the session and fails no trial: the next one prepares the teacher again."""
    experiment = small_experiment()
    builder = TrialBuilder(experiment, build_splits(experiment.data), CPU)
    (tmp_path / "best.pt").write_bytes(b"damaged")
    with pytest.raises(TeacherFileError, match=r"best\.pt: the file of the teacher is damaged or missing") as caught:
        builder.teacher(str(tmp_path / "best.pt"))
    reason = describe_failure(caught.value)
    assert any(is_of_kind(reason, kind) for kind in BLOCKING_KINDS)
    text = str(stopped_error("one", reason))
    assert "records cannot be written" not in text
    assert "prepares the teacher again, then run: distune resume one" in text


def test_everything_that_determines_a_teacher_changes_its_hash(tmp_path: Path) -> None:
    base = teacher_hash(small_experiment(), "data")
    for changes in (
        {"teacher": {"fpn_channels": 32}},
        {"teacher_training": {"epochs": 2}},
        {"data": {"min_size_px": 48}},
        {"data": {"augmentation": {"horizontal_flip": 0.0}}},
        {"data": {"augmentation": {"iou_crop": True}}},
        {"data": {"augmentation": {"min_sizes_px": [48, 64]}}},
        {"data": {"aspect_ratio_group_factor": 0}},
        {"data": {"repeat_threshold": 0.5}},
    ):
        assert teacher_hash(small_experiment(changes), "data") != base, changes
    assert teacher_hash(small_experiment(), "other data") != base
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"one")
    given = small_experiment({"teacher": {"weights": str(weights)}})
    first = teacher_hash(given, "data")
    weights.write_bytes(b"two")
    assert len({base, first, teacher_hash(given, "data")}) == 3
    assert teacher_hash(small_experiment({"student": {"fpn_channels": 32}}), "data") == base


def test_corrected_outlines_change_the_hash_of_a_teacher_that_is_trained_on_masks(tmp_path: Path) -> None:
    make_coco(tmp_path)
    file = tmp_path / "train.json"
    content = json.loads(file.read_text())

    def write(*, cut: float) -> None:
        for record in content["annotations"]:
            x, y, width, height = record["bbox"]
            record["segmentation"] = [[x, y, x + width, y, x + width * cut, y + height]]
        file.write_text(json.dumps(content))

    data = coco_settings(tmp_path).model_dump(mode="json")
    mask = {"family": "maskrcnn", "backbone": "resnet10", "box_head_channels": 32, "proposals_per_image": 16}
    values = small_experiment().to_dict() | {"data": data}
    values["distillation"]["soft_labels"]["weight"] = 0.0
    trained = Experiment.model_validate({**values, "teacher": mask})
    boxes = Experiment.model_validate({**values, "teacher": {**mask, "family": "fasterrcnn"}})
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"one")
    given = {"teacher": {**mask, "weights": str(weights)}, "teacher_training": None}
    ready = Experiment.model_validate({**values, **given})
    hashes = []
    for cut in (0.0, 0.5, 0.0):
        write(cut=cut)
        fingerprint = build_splits(trained.data, with_masks=True).fingerprint
        hashes.append([fingerprint, *(teacher_hash(each, fingerprint) for each in (trained, boxes, ready))])
    first, second, third = hashes
    assert first == third
    assert [one == other for one, other in zip(first, second, strict=True)] == [True, False, True, True]


SGD = {
    "epochs": 3,
    "optimizer": {"kind": "sgd", "learning_rate": 0.1},
    "schedule": {"kind": "multi_step", "milestones": [0.5], "gamma": 0.1, "warmup_steps": 4},
}
TWO_STAGE = {"family": "fasterrcnn", "box_head_channels": 32, "proposals_per_image": 16}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "4f5d3ca9e96eb1c7"),
        ({"teacher_training": SGD}, "61ea78b1e692c754"),
        ({"teacher": TWO_STAGE, "distillation": {"soft_labels": {"weight": 0.0}}}, "7650e448976e7fca"),
        ({"distillation": {"prototypes": {"per_class": 7, "source": {"kind": "queue"}}}}, "4f5d3ca9e96eb1c7"),
    ],
)
def test_hashes_of_version_0_1_stay_valid(changes: dict[str, Any], expected: str) -> None:
    """Users keep teachers that took days to train; a renamed setting must not change the hash."""
    former: dict[str, Any] = {"teacher": {"backbone": "resnet10"}, "teacher_training": {"gradient_clip_norm": None}}
    if "teacher" not in changes:
        former["teacher"]["head"] = "v1"  # the default then
    assert teacher_hash(small_experiment(merge(former, changes)), "data") == expected


def test_the_hash_has_the_norm_that_auto_stands_for() -> None:
    def of(norm: float | str | None, optimizer: dict[str, Any]) -> str:
        training = {"gradient_clip_norm": norm, "optimizer": optimizer}
        return teacher_hash(small_experiment({"teacher_training": training}), "data")

    adamw, sgd = {"kind": "adamw"}, {"kind": "sgd"}
    assert of("auto", adamw) == of(1.0, adamw) != of(None, adamw)
    assert of("auto", sgd) == of(None, sgd) != of(1.0, sgd)


def test_a_teacher_with_weights_is_evaluated_and_not_trained(tmp_path: Path) -> None:
    trained = prepare(small_experiment(), Home(tmp_path), [])
    given = small_experiment({"teacher": {"weights": str(trained.weights)}, "teacher_training": None})
    seen: list[int] = []
    adopted = prepare(given, Home(tmp_path / "other"), seen)
    assert seen == []
    assert adopted.metrics["search/AP"] == pytest.approx(trained.metrics["search/AP"])


def test_a_teacher_that_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    trained = prepare(small_experiment(), Home(tmp_path), [])
    given = small_experiment(
        {"teacher": {"weights": str(trained.weights)}, "teacher_training": None, "data": {"num_classes": 3}}
    )
    with pytest.raises(WeightsError, match="trained on other classes"):
        prepare(given, Home(tmp_path / "other"), [])
    assert not (tmp_path / "other").exists()


def test_a_trial_is_opened_from_its_specification(tmp_path: Path) -> None:
    experiment = small_experiment()
    teacher = prepare(experiment, Home(tmp_path), [])
    scores = {}
    for control in (False, True):
        values = experiment.to_dict()
        spec = TrialSpec(
            study="s",
            number=-1 if control else 0,
            control=control,
            seed=0,
            num_epochs=3,
            params={},
            experiment=without_distillation(values) if control else values,
            folder=str(tmp_path / "trials" / str(control)),
            teacher_weights=None if control else str(teacher.weights),
        )
        run = open_trial(spec)
        reports = [run.run_epoch(), run.run_epoch()]
        run.close()
        assert run.epochs_done == 2
        scores[control] = reports[-1].metrics
        assert open_trial(spec).epochs_done == 2
    assert {"loss/local_knowledge", "loss/soft_labels", "loss/global_knowledge"} <= scores[False].keys()
    assert not {"loss/local_knowledge", "loss/soft_labels"} & scores[True].keys()


@pytest.mark.parametrize(("visible", "setting", "expected"), [(0, "auto", "cpu"), (1, "auto", "cuda"), (1, 0.0, "cpu")])
def test_auto_takes_the_gpu_that_this_process_sees(
    monkeypatch: pytest.MonkeyPatch, visible: int, setting: GpusPerTrial, expected: str
) -> None:
    monkeypatch.setattr("distune.training.precision.visible_gpus", lambda: visible)
    assert pick_device(setting).type == expected


def test_devices_and_precisions() -> None:
    assert pick_device(0.0) == CPU
    assert autocast_dtype("auto", CPU) is None
    assert autocast_dtype("bfloat16", CPU) == torch.bfloat16
    if not torch.cuda.is_available():
        with pytest.raises(ResourceError, match=r"gpus_per_trial = 0\.5: torch sees no GPU"):
            pick_device(0.5)


def test_multi_step_schedule() -> None:
    from distune.config.training import MultiStepSettings

    settings = MultiStepSettings(kind="multi_step", milestones=[0.5, 0.75], gamma=0.1, warmup_steps=10)
    factors = [multi_step_factor(step, num_steps=100, settings=settings) for step in (0, 4, 9, 49, 50, 75)]
    assert factors == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.1, 0.01])
