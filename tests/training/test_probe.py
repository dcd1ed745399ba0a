"""Parameters with and without an effect on a loss or a gradient, and the causes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from distune.config.distillation import DEFAULT_PRESET
from distune.config.load import experiment_from_dict
from distune.config.search import SearchSettings
from distune.config.shipped import shipped_folder, shipped_names
from distune.config.yaml import read_yaml
from distune.data.build import build_splits
from distune.errors import WeightsError
from distune.training.builder import TrialBuilder
from distune.training.probe.findings import EVALUATION_ONLY, Verdict
from distune.training.probe.probe import Probe
from distune.training.probe.replay import load_batches
from support.experiments import small_experiment, small_values
from support.probes import load_small, probe_loaded, probe_small

THRESHOLD = "distillation.filter.global_threshold"
THRESHOLDS = {
    THRESHOLD: {"kind": "float", "low": 0.05, "high": 0.8, "log": True},
    "distillation.filter.local_threshold": {"kind": "float", "low": 0.05, "high": 0.8, "log": True},
}
LIVE = {"distillation.soft_labels.temperature": {"kind": "float", "low": 1.0, "high": 10.0}}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_parameters_with_and_without_an_effect() -> None:
    found = probe_small({**LIVE, **THRESHOLDS}, {"distillation": {"filter": {"weight": "uniform"}}})
    assert list(found) == [*LIVE, *THRESHOLDS]
    effective = found["distillation.soft_labels.temperature"]
    assert effective.verdict is Verdict.EFFECT
    assert not effective.is_problem
    assert effective.values == (1.0, 10.0)
    assert effective.change is not None
    assert effective.change.epoch == 1
    for path in THRESHOLDS:
        finding = found[path]
        assert finding.verdict is Verdict.NO_EFFECT
        assert finding.is_problem
        assert finding.change is None
        assert finding.remark == "because distillation.filter.weight is uniform; it would have an effect with gaussian"


def test_a_term_without_weight_is_named_as_the_cause() -> None:
    found = probe_small(LIVE, {"distillation": {"soft_labels": {"weight": 0.0}}})
    remark = found["distillation.soft_labels.temperature"].remark
    assert remark == "because distillation.soft_labels.weight is 0.0; it would have an effect with 1.0"


def test_a_threshold_has_a_conditional_effect_if_the_kind_of_weight_is_searched() -> None:
    kinds = {"distillation.filter.weight": {"kind": "choice", "values": ["uniform", "gaussian"]}}
    found = probe_small(
        {**kinds, THRESHOLD: THRESHOLDS[THRESHOLD]}, {"distillation": {"filter": {"weight": "uniform"}}}
    )
    assert found["distillation.filter.weight"].verdict is Verdict.EFFECT
    assert found[THRESHOLD].verdict is Verdict.CONDITIONAL
    assert not found[THRESHOLD].is_problem
    assert found[THRESHOLD].remark == "only with other values of distillation.filter.weight, such as gaussian"


@pytest.mark.slow
@pytest.mark.parametrize("source", [{"kind": "queue"}, {"kind": "feature_pass", "max_images": 50}])
def test_parameters_with_an_effect_from_a_later_epoch(source: dict[str, Any]) -> None:
    found = probe_small(
        {
            "distillation.prototypes.refresh_epochs": {"kind": "choice", "values": [1, 0]},
            "distillation.prototypes.density_quantile": {"kind": "float", "low": 0.0, "high": 0.8},
            "distillation.decay": {"kind": "choice", "values": ["linear", "cosine", "constant"]},
            "distillation.start_epoch": {"kind": "int", "low": 0, "high": 3},
            "distillation.stop_epoch": {"kind": "int", "low": 4, "high": 5},
        },
        {"distillation": {"prototypes": {"source": source}, "decay": "constant"}, "training": {"epochs": 6}},
    )
    assert {path: each.verdict for path, each in found.items()} == dict.fromkeys(found, Verdict.EFFECT)
    epochs = {path.rpartition(".")[2]: each.change.epoch for path, each in found.items() if each.change is not None}
    first = 1 if source["kind"] == "feature_pass" else 2
    assert epochs == {
        "refresh_epochs": first + 1,
        "density_quantile": first,
        "decay": 2,
        "start_epoch": 1,
        "stop_epoch": 5,
    }


@pytest.mark.slow
def test_a_choice_has_an_effect_if_any_two_of_its_values_differ() -> None:
    values = {"kind": "choice", "values": ["roi_align", "crop"]}
    assert probe_small({"distillation.pooling": values})["distillation.pooling"].verdict is Verdict.EFFECT
    three = {"distillation.start_epoch": {"kind": "choice", "values": [0, 1, 2]}}
    assert probe_small(three)["distillation.start_epoch"].values == (0, 2)
    ends_alike = {"distillation.stop_epoch": {"kind": "choice", "values": [8, 1, 9]}}
    found = probe_small(ends_alike, {"distillation": {"decay": "constant"}})["distillation.stop_epoch"]
    assert (found.verdict, found.values) == (Verdict.EFFECT, (8, 1))


@pytest.mark.slow
def test_settings_of_student_and_training_are_probed_on_real_steps() -> None:
    found = probe_small(
        {
            "student.anchor_scale": {"kind": "float", "low": 0.25, "high": 1.0},
            "student.trainable_stages": {"kind": "int", "low": 0, "high": 5},
            "student.fpn_channels": {"kind": "choice", "values": [16, 32]},
            "training.optimizer.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-3, "log": True},
            "training.optimizer.weight_decay": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
            "training.schedule.warmup_share": {"kind": "float", "low": 0.1, "high": 0.5},
            "training.gradient_clip_norm": {"kind": "float", "low": 0.1, "high": 10.0},
        },
        {"distillation": {"soft_labels": {"weight": 0.0}}},
    )
    few_steps = {"training.optimizer.weight_decay": Verdict.WEAK}
    expected = dict.fromkeys(found, Verdict.EFFECT) | few_steps
    assert {path: each.verdict for path, each in found.items()} == expected
    moved = found["training.optimizer.learning_rate"].change
    assert moved is not None
    assert moved.name.startswith("update/")


@pytest.mark.slow
def test_the_milestones_of_a_schedule_are_reached() -> None:
    schedule = {"kind": "multi_step", "milestones": [0.6667, 0.9167], "warmup_steps": 2}
    found = probe_small(
        {
            "training.schedule.gamma": {"kind": "float", "low": 0.1, "high": 0.5},
            "training.schedule.warmup_steps": {"kind": "int", "low": 0, "high": 1000},
        },
        {"training": {"schedule": schedule}},
    )
    assert {each.verdict for each in found.values()} == {Verdict.EFFECT}


def test_parameters_that_cannot_be_probed_are_not_probed() -> None:
    found = probe_small(
        {
            **LIVE,
            "student.backbone_weights": {"kind": "choice", "values": [None, "ResNet18_Weights.DEFAULT"]},
            "distillation.decay": {
                "kind": "choice",
                "values": ["cosine"],
                "when": {"student.norm": ["batch", "group"]},
            },
            "student.norm": {"kind": "choice", "values": ["batch", "group"]},
        },
        {"student": {"backbone": "resnet18"}},
    )
    assert found["student.backbone_weights"].verdict is Verdict.NOT_PROBED
    assert "random weights" in found["student.backbone_weights"].remark
    assert found["distillation.decay"].remark == "it has one value only"
    assert not any(each.is_problem for each in found.values())


ALL_SITES = {"distillation": {"soft_labels": {"sites": "all"}}}
"""The few positive sites of so small images hardly disagree."""


def test_a_parameter_with_hardly_any_effect_is_reported_with_its_figure_and_is_no_problem() -> None:
    temperature = "distillation.soft_labels.temperature"
    found = probe_small({temperature: {"kind": "float", "low": 2.0, "high": 2.001}}, ALL_SITES)[temperature]
    assert found.verdict is Verdict.WEAK
    assert found.is_weak
    assert not found.is_problem
    assert found.change is not None
    assert 0 < found.change.fraction < 1e-3
    assert found.remark == ""
    decay = "training.optimizer.weight_decay"
    found = probe_small({decay: {"kind": "float", "low": 1e-3, "high": 1e-2}})[decay]
    assert found.verdict is Verdict.WEAK
    assert found.remark == "in the 4 steps of a probe; it may add up in a whole training"


def test_a_choice_has_an_effect_if_one_of_its_values_has_more_than_hardly_any() -> None:
    path = "distillation.soft_labels.temperature"
    found = probe_small({path: {"kind": "choice", "values": [2.0, 4.0, 2.0001]}}, ALL_SITES)[path]
    assert (found.verdict, found.values) == (Verdict.EFFECT, (2.0, 4.0))


FASTER: dict[str, Any] = {
    "family": "fasterrcnn",
    "backbone": "mobilenet_v3_small",
    "box_head_channels": 16,
    "proposals_per_image": 16,
}
PROPOSALS = {"student.evaluated_proposals": {"kind": "int", "low": 10, "high": 1000}}
SCORES = {"student.min_proposal_score": {"kind": "float", "low": 0.0, "high": 0.1}}


def test_settings_of_evaluation_are_not_refused() -> None:
    changes = {"student": FASTER, "distillation": {"soft_labels": {"weight": 0.0}}}
    found = probe_small({**PROPOSALS, **SCORES}, changes)
    evaluated = found["student.evaluated_proposals"]
    assert evaluated.verdict is Verdict.EVALUATION
    assert evaluated.remark == "no loss and no gradient depends on it; it changes what the student detects"
    scored = found["student.min_proposal_score"]
    assert scored.verdict is Verdict.NOT_PROBED
    assert "scores of a trained network" in scored.remark
    assert not any(each.is_problem for each in found.values())


def test_settings_of_evaluation_change_detections_and_no_loss() -> None:
    changes = {"student": FASTER, "distillation": {"soft_labels": {"weight": 0.0}}}
    experiment = small_experiment(changes)
    builder = TrialBuilder(experiment, build_splits(experiment.data), torch.device("cpu"))
    batch = load_batches(builder)[0]
    averages = ("training.ema.decay", "training.ema.every_steps", "training.ema.warmup_steps")
    assert (*PROPOSALS, *averages) == EVALUATION_ONLY
    losses, numbers = [], []
    for proposals in (10, 1000):
        settings = experiment.student.model_copy(update={"evaluated_proposals": proposals})
        detector = builder.detector(settings, seed=0)
        detector.model.roi_heads.score_thresh = 0.0  # type: ignore[union-attr]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            taps = detector.forward_train(batch.images, batch.targets)
        losses.append({name: float(loss.detach()) for name, loss in taps.losses.items()})
        numbers.append(sum(len(found["scores"]) for found in detector.model.eval()(batch.images)))
    assert losses[0] == losses[1]
    assert numbers[0] < numbers[1]


@pytest.mark.slow
def test_selection_is_probed_with_fewer_prototypes_if_there_are_few_boxes() -> None:
    """With as many prototypes as candidates the selection has no effect."""
    alpha = "distillation.prototypes.alpha"
    parameters = {alpha: {"kind": "float", "low": 0.01, "high": 100.0, "log": True}}
    found = probe_small(parameters, {"distillation": {"prototypes": {"per_class": 100}}})[alpha]
    assert found.verdict is Verdict.EFFECT
    assert found.remark.endswith("these images have few boxes to choose from")


@pytest.mark.slow
def test_too_few_boxes_are_named_as_the_cause() -> None:
    found = probe_small({"distillation.prototypes.per_class": {"kind": "int", "low": 500, "high": 600}})
    finding = found["distillation.prototypes.per_class"]
    assert finding.verdict is Verdict.NO_EFFECT
    assert "boxes large enough to become prototypes on these 6 images; use more with --probe-images" in finding.remark


def test_a_value_that_fails_is_named() -> None:
    """Most such values are refused when the space is read; this one fails when a trial is built."""
    channels = {"kind": "choice", "values": [16, 24]}
    loaded = load_small({"student.fpn_channels": channels}, {"student": {"fpn_channels": 24}})
    local = loaded.experiment.distillation.local_knowledge.model_copy(update={"adapter": "identity"})
    distillation = loaded.experiment.distillation.model_copy(update={"local_knowledge": local})
    experiment = loaded.experiment.model_copy(update={"distillation": distillation})
    found = probe_loaded(dataclasses.replace(loaded, experiment=experiment))
    failed = found["student.fpn_channels"]
    assert failed.verdict is Verdict.FAILS
    assert failed.is_problem
    assert "the student has 16 and the teacher 24" in failed.remark


def test_a_probe_is_deterministic_and_does_not_change_the_random_state() -> None:
    loaded = load_small({**LIVE, **THRESHOLDS})
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = probe_loaded(loaded)
    assert torch.equal(torch.rand(4), expected)
    assert probe_loaded(loaded) == first


def test_a_parameter_with_a_condition_is_probed_where_the_condition_holds() -> None:
    kinds = {"distillation.filter.weight": {"kind": "choice", "values": ["uniform", "gaussian"]}}
    when = {"distillation.filter.weight": "gaussian"}
    found = probe_small(
        {**kinds, THRESHOLD: {**THRESHOLDS[THRESHOLD], "when": when}},
        {"distillation": {"filter": {"weight": "uniform"}}},
    )
    assert found[THRESHOLD].verdict is Verdict.EFFECT


@pytest.mark.slow
def test_given_teacher_weights_are_used(tmp_path: Path) -> None:
    loaded = load_small(LIVE)
    splits = build_splits(loaded.experiment.data)
    cpu = torch.device("cpu")
    teacher = TrialBuilder(loaded.experiment, splits, cpu).detector(loaded.experiment.teacher, seed=9)
    weights = tmp_path / "teacher.pt"
    torch.save({"model": teacher.model.state_dict(), "classes": list(splits.classes)}, weights)
    given = next(Probe(loaded, splits, teacher_weights=str(weights), device=cpu, num_images=6).findings())
    assert given.change != probe_loaded(loaded)[given.path].change
    with pytest.raises(WeightsError, match=r"absent\.pt"):
        Probe(loaded, splits, teacher_weights="absent.pt", device=cpu)


ASKED_FOR: dict[str, dict[str, Any]] = {
    "terms": {
        "distillation": {term: {"unit": "gradient_share", "weight": 0.1} for term in ("cwd", "pkd", "localization")}
    },
    "prototypes": {"distillation": {"prototypes": {"per_class": 8}}},
}
"""Settings that the comment at the head of a space asks for, and enough prototypes for some to be repeated."""


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_names("search_spaces"))
def test_every_path_of_every_shipped_space_has_an_effect(name: str) -> None:
    space, _ = read_yaml(shipped_folder("search_spaces") / f"{name}.yaml")
    loaded = experiment_from_dict(small_values(ASKED_FOR.get(name)), source="small.yaml", space=space)
    found = probe_loaded(loaded, num_images=8)
    assert list(found) == list(space["parameters"])
    assert {path: each.verdict for path, each in found.items()} == dict.fromkeys(found, Verdict.EFFECT)


@pytest.mark.slow
def test_two_stage_detectors_can_be_probed() -> None:
    faster = {"family": "fasterrcnn", "box_head_channels": 32, "proposals_per_image": 16}
    found = probe_small({**LIVE, **THRESHOLDS}, {"student": faster, "teacher": faster})
    assert {each.verdict for each in found.values()} == {Verdict.EFFECT}


@pytest.mark.slow
def test_every_path_of_the_default_space_has_an_effect_under_the_default_preset() -> None:
    space, _ = read_yaml(shipped_folder("search_spaces") / f"{SearchSettings().space}.yaml")
    values = small_values({"distillation": {"preset": DEFAULT_PRESET}})
    found = probe_loaded(experiment_from_dict(values, source="small.yaml", space=space), num_images=8)
    assert set(space["parameters"]) == set(found)
    assert {path: each.verdict for path, each in found.items()} == dict.fromkeys(found, Verdict.EFFECT)
