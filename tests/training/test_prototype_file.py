"""Prototype files: content, names, and the file that a trial saves for its best epoch."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from distune.data.build import build_splits
from distune.errors import WeightsError
from distune.records import Outcome
from distune.study.files.artifacts import clean_up, trial_artifacts
from distune.training.builder import TrialBuilder
from distune.training.prototype_file import Origin, StoredPrototypes, load_prototypes
from distune.training.solo_run import SoloRun
from distune.training.tensor_hash import tensors_hash
from distune.training.trial_folder import TrialFolder
from support.experiments import small_experiment


def run_trial(folder: Path, *, kind: str = "feature_pass", epochs: int = 1) -> tuple[SoloRun, StoredPrototypes]:
    torch.set_num_threads(1)
    experiment = small_experiment({"distillation": {"prototypes": {"source": {"kind": kind}}}})
    builder = TrialBuilder(experiment, build_splits(experiment.data), torch.device("cpu"))
    run = SoloRun(
        builder,
        experiment.student,
        experiment.training,
        seed=0,
        teacher=builder.detector(experiment.teacher, seed=77),
        folder=TrialFolder(folder),
        metric="search/AP",
        num_pictures=0,
    )
    for _ in range(epochs):
        run.run_epoch()
    (file,) = TrialFolder(folder).prototype_files()
    return run, load_prototypes(file)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trial of one epoch."""
    folder = tmp_path_factory.mktemp("trial")
    run_trial(folder)
    return folder


@pytest.mark.parametrize("kind", ["feature_pass", "queue"])
def test_a_trial_saves_the_prototypes_of_its_best_epoch(tmp_path: Path, kind: str) -> None:
    run, stored = run_trial(tmp_path, kind=kind)
    objective = run.student.objective
    assert objective is not None
    assert objective.prototypes is not None
    for name, value in objective.prototypes.state_dict().items():
        assert torch.equal(stored.prototypes.state_dict()[name], value), name
    assert stored.prototypes.strides == objective.prototypes.strides
    assert len(stored.classes) == 2
    assert stored.figures["prototypes/instances"] > 0
    assert stored.origin.made_for == (0 if kind == "feature_pass" else 1)
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    assert stored.origin.student == tensors_hash(best["model"])
    assert stored.origin.settings["prototypes"]["source"]["kind"] == kind


def test_metrics_of_prototypes_are_kept_on_resume(trial: Path) -> None:
    again, stored = run_trial(trial, epochs=0)
    assert again.student.objective is not None
    assert again.student.objective.prototype_manager is not None
    assert again.student.objective.prototype_manager.metrics == stored.figures


def test_equal_origins_have_equal_names_and_others_do_not(trial: Path, tmp_path: Path) -> None:
    (file,) = TrialFolder(trial).prototype_files()
    first = load_prototypes(file)
    _, second = run_trial(tmp_path)
    assert first.origin == second.origin
    assert first.origin.hash == second.origin.hash
    changes: tuple[dict[str, Any], ...] = (
        {"teacher": "x"},
        {"student": "x"},
        {"data": "x"},
        {"settings": {}},
        {"made_for": 9},
    )
    assert len({dataclasses.replace(first.origin, **change).hash for change in changes} | {first.origin.hash}) == 6


def test_files_of_another_kind_are_refused(trial: Path, tmp_path: Path) -> None:
    (file,) = TrialFolder(trial).prototype_files()
    renamed = Path(shutil.copy(file, tmp_path / "prototypes-0000.pt"))
    with pytest.raises(WeightsError, match="the content belongs to"):
        load_prototypes(renamed)
    with pytest.raises(WeightsError, match="not a prototype file of format 1"):
        load_prototypes(trial / "best.pt")
    with pytest.raises(WeightsError, match="not a file of tensors"):
        load_prototypes(trial / "metrics.jsonl")


def test_prototype_files_are_artifacts_and_deleted_with_the_weights(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path)
    folder.best_checkpoint.write_bytes(b"")
    file = folder.prototype_file("abc")
    file.write_bytes(b"")
    assert (file, "student") in trial_artifacts(folder, Outcome.FINISHED)
    assert (file, "student") not in trial_artifacts(folder, Outcome.STOPPED)
    clean_up(folder, Outcome.FINISHED)
    assert file.exists()
    clean_up(folder, Outcome.STOPPED)
    assert not file.exists()


def test_the_hash_depends_on_names_types_shapes_and_values() -> None:
    base = {"a": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)}
    others = [
        {"b": base["a"], "n": base["n"]},
        {"a": base["a"].double(), "n": base["n"]},
        {"a": base["a"].reshape(3, 2), "n": base["n"]},
        {"a": base["a"] + 1e-6, "n": base["n"]},
        {"a": base["a"]},
    ]
    assert tensors_hash({"n": base["n"].clone(), "a": base["a"].T.contiguous().T}) == tensors_hash(base)
    assert len({tensors_hash(each) for each in others} | {tensors_hash(base)}) == 6
    assert tensors_hash({"a": torch.zeros(0), "b": torch.zeros(3, dtype=torch.bfloat16)})


def test_an_origin_is_plain_data() -> None:
    origin = Origin(teacher="t", student="s", data="d", settings={"a": 1}, made_for=2)
    assert Origin(**dataclasses.asdict(origin)).hash == origin.hash


def test_names_of_files_of_version_0_1_stay_valid() -> None:
    prototypes = {
        "per_class": 3,
        "selector": "pursuit",
        "alpha": 10.0,
        "unique": True,
        "refresh_epochs": 1,
        "density_bandwidth": 0.1,
        "density_quantile": 0.4,
        "min_box_side_px": 4.0,
        "source": {"kind": "sweep", "max_images": 800},
    }
    origin = Origin(
        teacher="4ce585bbb3915032566a96d774fbffc6",
        student="b7bb9bac4dcb966db50f889d93105b44",
        data="a9c76a68e85d1d59",
        settings={"min_size_px": 64, "max_size_px": 64, "pooling": "roi_align", "prototypes": prototypes},
        made_for=0,
    )
    assert origin.hash == "ffc3f68bb5bf03fa"
