"""``distune.init``: from a folder to an experiment file that is valid and can be launched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import distune
from distune.config.detector import RetinaNetSettings
from distune.detectors.norm_epsilon import epsilon_of_classifier
from distune.detectors.zoo import build_detector
from distune.draft.pairs import Model, choose_pair
from distune.errors import DataError, UsageError
from support.experiments import small_values
from support.layouts import LAYOUTS, make_scenes

SCENES = make_scenes({"train": 16, "val": 12, "test": 12})


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_becomes_a_valid_experiment(layout: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path / "My photos, 2026", SCENES)
    draft = distune.init("My photos, 2026", callbacks=[], from_scratch=True)
    assert (draft.name, draft.file) == ("my-photos-2026", Path("my-photos-2026.yaml"))
    result = distune.validate(draft.file, callbacks=[])
    assert result.card is not None
    assert sum(split.num_images for split in result.card.splits) == len(SCENES)
    assert result.card.splits == draft.card.splits
    text = draft.file.read_text()
    assert all(f"# Found: {finding}"[:100] in text for finding in draft.findings)
    assert "# Half of the boxes" in text


def test_weights_are_those_of_imagenet_unless_training_is_from_scratch(tmp_path: Path) -> None:
    LAYOUTS["yolo"](tmp_path / "photos", SCENES)
    pretrained = distune.init("photos", name="a", callbacks=[])
    scratch = distune.init("photos", name="b", from_scratch=True, callbacks=[])
    assert "backbone_weights: ResNet18_Weights.IMAGENET1K_V1" in pretrained.file.read_text()
    assert "backbone_weights" not in scratch.file.read_text()


@pytest.mark.parametrize("has_gpu", [False, True])
def test_backbones_have_the_epsilon_of_their_weights(*, has_gpu: bool) -> None:
    pair = choose_pair(has_gpu=has_gpu, from_scratch=False)
    for model in (pair.student, pair.teacher):
        assert (model.norm_eps or 1e-5) == epsilon_of_classifier(model.backbone)


def test_the_file_of_a_pair_with_mobilenet_v3_sets_its_epsilon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LAYOUTS["yolo"](tmp_path / "photos", SCENES)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    text = distune.init("photos", callbacks=[]).file.read_text()
    assert text.count("norm_eps: 0.001") == 1
    assert "  norm: frozen\n  # The epsilon that these weights were trained with.\n  norm_eps: 0.001\n" in text


@pytest.mark.parametrize("has_gpu", [False, True])
@pytest.mark.parametrize("from_scratch", [False, True])
def test_the_student_is_smaller_than_its_teacher(*, has_gpu: bool, from_scratch: bool) -> None:
    pair = choose_pair(has_gpu=has_gpu, from_scratch=from_scratch)
    student, teacher = num_parameters(pair.student), num_parameters(pair.teacher)
    assert student < 0.8 * teacher
    assert pair.learning_rate == (2e-3 if from_scratch and not has_gpu else 1e-3)


def num_parameters(model: Model) -> int:
    settings = RetinaNetSettings(backbone=model.backbone, fpn_channels=model.fpn_channels)
    detector = build_detector(settings, classes=("a",), min_size_px=64, max_size_px=64, seed=0)
    return sum(each.numel() for each in detector.model.parameters())


def test_nothing_is_overwritten_and_nothing_is_written_into_the_folder(tmp_path: Path) -> None:
    LAYOUTS["coco"](tmp_path / "photos", SCENES)
    before = sorted(path for path in (tmp_path / "photos").rglob("*"))
    distune.init("photos", callbacks=[])
    with pytest.raises(UsageError, match=r"photos\.yaml: exists already"):
        distune.init("photos", callbacks=[])
    distune.init("photos", replace=True, callbacks=[])
    assert sorted(path for path in (tmp_path / "photos").rglob("*")) == before


def test_damaged_data_are_refused_before_a_file_is_written(tmp_path: Path) -> None:
    LAYOUTS["coco"](tmp_path / "photos", SCENES)
    path = next((tmp_path / "photos").rglob("*train2017.json"))
    path.write_text(path.read_text().replace('"bbox": [', '"bbox": [900, '))
    with pytest.raises(DataError, match="boxes are bad"):
        distune.init("photos", callbacks=[])
    assert not Path("photos.yaml").exists()


def test_a_study_of_a_draft_runs_simulated(tmp_path: Path) -> None:
    LAYOUTS["labelimg_flat"](tmp_path / "photos", SCENES)
    draft = distune.init("photos", from_scratch=True, callbacks=[])
    few = {"search.num_trials": 2, "training.epochs": 4, "search.scheduler.grace_epochs": 2}
    study = distune.launch(
        draft.file, overrides=few, simulate=True, runner="local", home=tmp_path / "home", callbacks=[]
    )
    assert study.status.state == "finished"


@pytest.mark.slow
def test_a_study_keeps_the_data_card_and_repeats_its_warnings(tmp_path: Path) -> None:
    said: list[str] = []

    class Messages(distune.Callback):
        def on_message(self, text: str) -> None:
            said.append(text)

    values = small_values({"search": {"num_trials": 1}, "training": {"epochs": 1}, "tracking": {"enabled": False}})
    study = distune.launch(values, name="one", runner="local", home=tmp_path / "home", callbacks=[Messages()])
    card = json.loads((study.path / "report" / "data_card.json").read_text())
    assert [split["name"] for split in card["splits"]][:2] == ["train", "search"]
    assert card["warnings"]
    assert all(f"data: warning: {warning}" in said for warning in card["warnings"])
