"""A teacher with its own class list in preparation, evaluation and a trial."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.data.build import build_splits
from distune.detectors.classes import class_table
from distune.detectors.zoo import build_detector
from distune.errors import WeightsError
from distune.records import TrialSpec
from distune.training.builder import TrialBuilder
from distune.training.evaluation.known_classes import KnownClasses, evaluate_known
from distune.training.evaluation.predict_and_score import evaluate
from distune.training.solo_run import open_trial
from distune.training.teacher import Teacher, prepare_teacher
from distune.training.teacher_hash import teacher_hash
from support.experiments import small_experiment

CPU = torch.device("cpu")
NEVER: dict[str, Any] = {"weight": 0.0}


def classes_of(num_classes: int) -> tuple[str, ...]:
    return build_splits(small_experiment({"data": {"num_classes": num_classes}}).data).classes


def weights_of(classes: tuple[str, ...], path: Path, order: list[int] | None = None) -> str:
    """A RetinaNet that finds boxes of all classes, with the classes in the given order."""
    settings = small_experiment().teacher
    model = build_detector(settings, classes=classes, min_size_px=64, max_size_px=64, seed=3).model
    state: dict[str, Tensor] = model.state_dict()
    generator = torch.Generator().manual_seed(0)
    for name in ("weight", "bias"):
        head = state[f"head.classification_head.cls_logits.{name}"]
        head.copy_(torch.randn(head.shape, generator=generator) * 0.3 - float(name == "bias"))
        if order is not None:
            by_class = head.reshape(-1, len(classes) + 1, *head.shape[1:])
            head.copy_(by_class[:, [0, *(index + 1 for index in order)]].reshape(head.shape).clone())
    names = classes if order is None else [classes[index] for index in order]
    torch.save({"model": state, "classes": list(names)}, path)
    return str(path)


def given(weights: str, **changes: Any) -> Experiment:
    teacher = {"weights": weights, **changes.pop("teacher", {})}
    return small_experiment({"teacher": teacher, "teacher_training": None, **changes})


def prepare(experiment: Experiment, home: Path) -> Teacher:
    splits = build_splits(experiment.data)
    return prepare_teacher(experiment, splits, home=Home(home), device=CPU, on_progress=lambda *_: None)


def builder_of(experiment: Experiment) -> TrialBuilder:
    return TrialBuilder(experiment, build_splits(experiment.data), CPU)


def test_a_teacher_in_another_order_scores_the_same(tmp_path: Path) -> None:
    classes = classes_of(2)
    plain = prepare(given(weights_of(classes, tmp_path / "plain.pt")), tmp_path)
    turned = prepare(given(weights_of(classes, tmp_path / "turned.pt", [1, 0])), tmp_path)
    assert plain.metrics["search/AP"] > 0
    assert turned.metrics == pytest.approx(plain.metrics)


def test_a_teacher_of_more_classes_is_stored_with_its_own(tmp_path: Path) -> None:
    own = classes_of(3)
    experiment = given(weights_of(own, tmp_path / "wide.pt"))
    adopted = prepare(experiment, tmp_path)
    content = torch.load(adopted.weights, weights_only=True)
    assert content["classes"] == list(own)
    assert adopted.unknown_classes == ()
    assert not prepare(experiment, tmp_path).is_new
    first, again = (builder_of(experiment).teacher(weights) for weights in (None, str(adopted.weights)))
    table = class_table(again)
    assert table == class_table(first)
    assert table is not None
    assert (table.teacher, table.data) == (own, own[:2])
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])


def test_detections_of_other_classes_are_dropped_before_scoring(tmp_path: Path) -> None:
    experiment = given(weights_of(classes_of(3), tmp_path / "wide.pt"))
    teacher, search = builder_of(experiment).teacher(None), build_splits(experiment.data).search
    table = class_table(teacher)
    assert table is not None
    found = evaluate_known(teacher, search, device=CPU, batch_size=4)
    labels_K = torch.tensor([0, 1, 2, 0])
    assert torch.equal(table.labels_among(search.classes), labels_K)
    expected = evaluate(teacher.model, search, device=CPU, batch_size=4, labels_K=labels_K)
    assert found == expected
    swapped = evaluate(teacher.model, search, device=CPU, batch_size=4, labels_K=torch.tensor([0, 2, 1, 0]))
    assert swapped != expected


def test_a_trial_learns_from_a_teacher_of_more_classes(tmp_path: Path) -> None:
    experiment = given(weights_of(classes_of(3), tmp_path / "wide.pt", [2, 0, 1]))
    adopted = prepare(experiment, tmp_path)
    spec = TrialSpec(
        study="s",
        number=0,
        control=False,
        seed=0,
        num_epochs=3,
        params={},
        experiment=experiment.to_dict(),
        folder=str(tmp_path / "trial"),
        teacher_weights=str(adopted.weights),
    )
    run = open_trial(spec)
    metrics = run.run_epoch().metrics
    run.close()
    assert metrics["loss/soft_labels"] > 0
    assert "search/AP" in metrics


def test_a_teacher_that_lacks_classes_needs_terms_that_do_not_compare_heads(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = weights_of(classes_of(2), tmp_path / "narrow.pt")
    three = {"data": {"num_classes": 3}}
    lost = classes_of(3)[2]
    with pytest.raises(WeightsError, match=f"lack {lost}, which soft_labels"):
        prepare(given(weights, **three), tmp_path / "home")
    assert not (tmp_path / "home").exists()
    experiment = given(weights, **three, distillation={"soft_labels": NEVER})
    with caplog.at_level(logging.WARNING):
        adopted = prepare(experiment, tmp_path / "home")
    assert f"does not know the classes {lost}" in caplog.text
    assert adopted.unknown_classes == (lost,)
    assert prepare(experiment, tmp_path / "home") == Teacher(
        adopted.hash, adopted.weights, adopted.metrics, is_new=False, unknown_classes=(lost,)
    )
    assert "search/AP" in adopted.metrics
    assert f"search/AP/{lost}" not in adopted.metrics


def test_a_teacher_that_knows_no_class_is_not_evaluated(tmp_path: Path) -> None:
    path = tmp_path / "strange.pt"
    weights_of(classes_of(2), path)
    torch.save({**torch.load(path, weights_only=True), "classes": ["x", "y"]}, path)
    adopted = prepare(given(str(path), distillation={"soft_labels": NEVER}), tmp_path)
    assert adopted.metrics == {}


def test_everything_that_determines_the_outputs_of_a_teacher_changes_its_hash(tmp_path: Path) -> None:
    weights = weights_of(classes_of(2), tmp_path / "teacher.pt")
    first, second = classes_of(2)
    hashes = {
        teacher_hash(given(weights, teacher=changes), "data")
        for changes in (
            {},
            {"classes": [first, second]},
            {"class_aliases": {first: second, second: first}},
            {"input_mean": [0.5, 0.5, 0.5]},
            {"input_std": [0.5, 0.5, 0.5]},
            {"norm_eps": 1e-3},
            {"head": "v1"},
            {"norm": "own"},
        )
    }
    assert len(hashes) == 8


def test_aliases_change_the_score(tmp_path: Path) -> None:
    weights = weights_of(classes_of(2), tmp_path / "teacher.pt")
    first, second = classes_of(2)
    plain = prepare(given(weights), tmp_path)
    crossed = prepare(given(weights, teacher={"class_aliases": {first: second, second: first}}), tmp_path)
    assert plain.metrics != crossed.metrics


def test_a_dataset_with_some_classes_labelled() -> None:
    whole = build_splits(small_experiment({"data": {"num_classes": 3}}).data).search
    part = KnownClasses(whole, (whole.classes[2], whole.classes[0]))
    assert len(part) == len(whole)
    num_kept = 0
    for index in range(len(whole)):
        before, after = whole.annotations(index), part.annotations(index)
        kept = before.labels_N != 2
        num_kept += int(kept.sum())
        assert np.array_equal(after.boxes_N4, before.boxes_N4[kept])
        names = [part.classes[label - 1] for label in after.labels_N]
        assert names == [whole.classes[label - 1] for label in before.labels_N[kept]]
        assert len(after.tags_N) == len(after)
        assert torch.equal(part.image(index), whole.image(index))
    assert 0 < num_kept < sum(len(whole.annotations(index)) for index in range(len(whole)))
