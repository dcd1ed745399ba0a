"""Parameter groups: weight decay of norms and biases, and the learning rate of the backbone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from distune.config.compatibility import may_vary
from distune.config.load import experiment_from_dict
from distune.config.paths import leaf_paths
from distune.config.training import AdamWSettings, OptimizerSettings, SgdSettings, TrainingSettings
from distune.detectors.parameter_kinds import known_parameters
from distune.training.optimization import (
    build_optimizer,
    build_schedule,
    load_optimizer_state,
    num_optimizer_steps,
    num_warmup_steps,
    parameter_groups,
)
from support.experiments import small_experiment, small_values
from support.families import SETTINGS, build

ADDED = (
    "training.optimizer.norm_weight_decay",
    "training.optimizer.bias_weight_decay",
    "training.optimizer.backbone_learning_rate_factor",
    "training.accumulate_batches",
    "training.ema.decay",
    "training.ema.every_steps",
    "training.ema.warmup_steps",
)


@pytest.mark.parametrize("settings", [SgdSettings(), AdamWSettings()])
def test_a_parameter_whose_first_gradient_comes_late(settings: OptimizerSettings) -> None:
    student, adapter = nn.Linear(2, 2), nn.Linear(2, 2)
    optimizer = build_optimizer(settings, [student, adapter])
    for modules in ([student], [student, adapter], [student, adapter]):
        optimizer.zero_grad()
        sum(each(torch.ones(1, 2)).sum() for each in modules).backward()
        before = adapter.weight.detach().clone()
        optimizer.step()
        assert torch.equal(before, adapter.weight) == (adapter not in modules)


@pytest.mark.parametrize("settings", [SgdSettings(), AdamWSettings()])
def test_the_state_of_another_memory_format(settings: OptimizerSettings) -> None:
    """A GPU trains in channels last and a CPU does not; a study may go on with the other one."""
    weights = []
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(3, 4, 3, 5, 5, generator=generator)
    initial = torch.randn(4, 3, 5, 5, generator=generator)
    for formats in ([torch.channels_last] * 3, [torch.channels_last, torch.contiguous_format, torch.channels_last]):
        state, value = None, initial
        for memory_format, gradient in zip(formats, gradients, strict=True):
            layer = nn.Conv2d(3, 4, 5, bias=False)
            layer.weight = nn.Parameter(value.clone(memory_format=memory_format))
            optimizer = build_optimizer(settings, [layer])
            if state is not None:
                load_optimizer_state(optimizer, state)
            layer.weight.grad = gradient.clone(memory_format=memory_format)
            optimizer.step()
            state, value = optimizer.state_dict(), layer.weight.detach()
        weights.append(value)
    torch.testing.assert_close(*weights)


@pytest.mark.parametrize("family", sorted(SETTINGS))
def test_the_defaults_give_a_single_group_in_the_order_of_the_parameters(family: str) -> None:
    model, adapters = build(family).model, nn.Sequential(nn.Conv2d(2, 2, 1), nn.GroupNorm(1, 2))
    (group,) = parameter_groups(SgdSettings(), [model, adapters])
    expected = [each for each in (*model.parameters(), *adapters.parameters()) if each.requires_grad]
    assert [id(each) for each in group["params"]] == [id(each) for each in expected]
    assert (group["lr"], group["weight_decay"]) == (0.02, 1e-4)


@pytest.mark.parametrize(
    ("family", "classifier", "without"),
    [
        ("retinanet", None, "backbone.fpn"),
        ("fasterrcnn", None, "backbone.fpn"),
        ("ssd", "vgg16", "backbone.extra.1"),
        ("ssdlite", "mobilenet_v3_small", "backbone.extra"),
    ],
)
def test_the_backbone_is_the_classifier_without_what_the_detector_adds(
    family: str, classifier: str | None, without: str
) -> None:
    model = build(family).model
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [names[id(each.parameter)] for each in known_parameters(model) if each.of_backbone]
    assert found
    assert any(name.startswith(without) for name in names.values())
    assert not any(name.startswith((without, "head", "rpn", "roi_heads")) for name in found)
    if classifier is not None:
        whole: Any = get_model(classifier, weights=None)
        assert len(found) == len(list(whole.features.parameters()))
    else:
        assert len(found) == sum(name.startswith("backbone.body.") for name in names.values())


def test_kinds_of_parameters() -> None:
    kinds = {
        (type(each.parameter).__name__, each.of_norm, each.is_bias): each
        for module in (nn.Conv2d(1, 1, 1), nn.BatchNorm2d(2), nn.GroupNorm(1, 2), nn.LayerNorm(2))
        for each in known_parameters(module)
    }
    assert set(kinds) == {("Parameter", of_norm, is_bias) for of_norm in (False, True) for is_bias in (False, True)}


@pytest.mark.parametrize("kind", [SgdSettings, AdamWSettings])
def test_norms_and_biases_have_their_own_weight_decay(kind: Any) -> None:
    """A step without a gradient leaves only the decay: of SGD ``1 - lr wd``, of AdamW as well."""
    settings: OptimizerSettings = kind(
        learning_rate=0.5, weight_decay=0.2, norm_weight_decay=0.0, bias_weight_decay=0.1
    )
    model = build("retinanet").model
    kinds = list(known_parameters(model))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0).grad = torch.zeros_like(parameter)
    build_optimizer(settings, [model]).step()
    seen = set()
    for each in kinds:
        expected = 1.0 if each.of_norm else 0.95 if each.is_bias else 0.9
        seen.add(expected)
        assert torch.allclose(each.parameter, torch.tensor(expected)), each
    assert len(seen) == 3


SCHEDULES: dict[str, dict[str, Any]] = {
    "one_cycle": {"kind": "one_cycle"},
    "multi_step": {"kind": "multi_step", "milestones": [0.5], "warmup_steps": 3},
    "constant": {"kind": "constant"},
}


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_the_backbone_has_a_fraction_of_the_learning_rate_under_every_schedule(schedule: str) -> None:
    settings = TrainingSettings.model_validate(
        {
            "epochs": 2,
            "schedule": SCHEDULES[schedule],
            "optimizer": {"kind": "sgd", "learning_rate": 0.1, "backbone_learning_rate_factor": 0.25},
        }
    )
    model: Any = build("fasterrcnn").model
    optimizer = build_optimizer(settings.optimizer, [model])
    rates = build_schedule(settings, optimizer, num_steps=num_optimizer_steps(settings, batches_per_epoch=5))
    head, backbone = optimizer.param_groups
    assert {id(each) for each in backbone["params"]} == {id(each) for each in model.backbone.body.parameters()}
    seen = []
    for _ in range(10):
        optimizer.step()
        rates.step()
        assert backbone["lr"] == pytest.approx(head["lr"] / 4, rel=1e-9)
        seen.append(rates.get_last_lr()[0])
    assert max(seen) <= 0.1 + 1e-12, "the rate that is reported is the full one"
    assert max(seen) > 0.05


def test_schedules_count_optimizer_steps() -> None:
    settings = TrainingSettings(epochs=3, accumulate_batches=4)
    assert num_optimizer_steps(settings, batches_per_epoch=9) == 9
    assert num_optimizer_steps(settings, batches_per_epoch=8) == 6
    assert num_optimizer_steps(settings, batches_per_epoch=1) == 3


@pytest.mark.parametrize(("schedule", "expected"), [("one_cycle", 15), ("multi_step", 3), ("constant", 0)])
def test_steps_in_which_the_learning_rate_rises(schedule: str, expected: int) -> None:
    settings = TrainingSettings.model_validate({"schedule": SCHEDULES[schedule]})
    assert num_warmup_steps(settings, num_steps=100) == expected


def test_all_of_these_settings_can_be_searched() -> None:
    known = [path for path in leaf_paths(small_experiment().to_dict()) if may_vary(path)]
    assert set(ADDED) <= set(known)
    parameters = {
        ADDED[0]: {"kind": "choice", "values": [None, 0.0]},
        ADDED[1]: {"kind": "float", "low": 0.0, "high": 0.1},
        ADDED[2]: {"kind": "float", "low": 0.01, "high": 1.0, "log": True},
        ADDED[3]: {"kind": "int", "low": 1, "high": 8},
        ADDED[4]: {"kind": "choice", "values": [0.0, 0.99, 0.999]},
        ADDED[5]: {"kind": "choice", "values": [1, 32], "when": {ADDED[4]: [0.99, 0.999]}},
        ADDED[6]: {"kind": "choice", "values": ["auto", 0, 100], "when": {ADDED[4]: [0.99, 0.999]}},
    }
    loaded = experiment_from_dict(small_values(), source="x", space={"name": "recipe", "parameters": parameters})
    assert set(loaded.searched) == set(ADDED)
