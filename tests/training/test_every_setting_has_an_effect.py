"""Every setting of distillation has an effect: all of them are probed, group by group."""

from __future__ import annotations

import typing
from typing import Any

import pytest
import torch
from pydantic import BaseModel

from distune.config.distillation import DistillationSettings
from distune.config.paths import get_path, leaf_paths, merge
from distune.training.probe.findings import Verdict
from support.experiments import small_experiment
from support.probes import probe_small

CHANGES: dict[str, Any] = {
    "student": {"fpn_channels": 24},
    "training": {"epochs": 6},
    "distillation": {
        "localization": {"form": "bounded"},  # the other forms refuse a margin
        "soft_labels": {"weight": 1.0, "unit": "raw"},  # a share of the gradient does not depend on the reduction
    },
}
DECIDED_ONCE = "distillation.preset"
"""The default of a file: an experiment with every default filled in holds all that it stood for."""
RANGES: dict[str, dict[str, Any]] = {
    # Where twice and half the default are the same to these few small images.
    "distillation.prototypes.alpha": {"kind": "float", "low": 0.1, "high": 100.0},
    "distillation.prototypes.source.max_instances": {"kind": "int", "low": 2, "high": 8},
    "distillation.rkd.max_instances": {"kind": "int", "low": 3, "high": 8},
    "distillation.global_knowledge.base_size_px": {"kind": "float", "low": 2.0, "high": 56.0},
    "distillation.local_knowledge.base_size_px": {"kind": "float", "low": 2.0, "high": 56.0},
}
CONDITIONS: dict[str, dict[str, Any]] = {
    # Where other values of the parent are refused.
    "distillation.soft_labels.focus": {"distillation.soft_labels.sites": ["auto", "all"]},
    "distillation.localization.margin": {"distillation.localization.form": "bounded"},
    "distillation.localization.sites": {"distillation.localization.form": ["giou", "smooth_l1"]},
    "distillation.localization.site_weight": {"distillation.localization.sites": "all"},
}
TERMS = list(DistillationSettings().terms)
GROUPS = ["", "prototypes", "filter", *TERMS]


def field_of(path: str) -> Any:
    """The annotation of a setting, in the class that the small experiment has at its place."""
    *groups, name = path.split(".")
    here: BaseModel = small_experiment(CHANGES)
    for group in groups:
        here = getattr(here, group)
    return type(here).model_fields[name].annotation


def parameter(path: str, value: Any) -> dict[str, Any]:
    """Some values of a setting: all that it may be, or numbers around its own."""
    annotation = field_of(path)
    kinds = {annotation, *typing.get_args(annotation)}
    if path in RANGES:
        return RANGES[path]
    if typing.get_origin(annotation) is typing.Literal:
        return {"kind": "choice", "values": list(typing.get_args(annotation))}
    if bool in kinds:
        return {"kind": "choice", "values": [False, True]}
    if int in kinds:
        low = 2 if value is None else value // 4 if value == 0 else max(1, value // 4)
        return {"kind": "int", "low": low, "high": 2 * low + 2}
    assert float in kinds, (path, annotation)
    return {"kind": "float", "low": value / 2, "high": min(1.5 * value, 0.9) if 0 < value < 1 else 2 * value + 0.5}


def parameters_of(group: str) -> dict[str, dict[str, Any]]:
    """The settings of a group of distillation, or those that are in none."""
    values = small_experiment(CHANGES).to_dict()
    inside = [path for path in leaf_paths(values) if path.startswith(f"distillation.{group}.".replace("..", "."))]
    found = {path: parameter(path, get_path(values, path)) for path in inside if group or path.count(".") == 1}
    found.pop(DECIDED_ONCE, None)
    several = {path: each for path, each in found.items() if each["kind"] != "choice" or len(each["values"]) > 1}
    return {path: {**each, "when": CONDITIONS.get(path, {})} for path, each in several.items()}


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_every_setting_has_an_effect(group: str) -> None:
    torch.set_num_threads(1)
    alone = {name: {"weight": float(name == group)} for name in TERMS} if group in TERMS else {}
    parameters = parameters_of(group)
    assert parameters
    found = probe_small(parameters, merge(CHANGES, {"distillation": alone}))
    assert list(found) == list(parameters)
    problems = {path: (each.values, each.remark) for path, each in found.items() if each.is_problem}
    assert not problems
    verdicts = {path: each.verdict for path, each in found.items()}
    assert {path: each for path, each in verdicts.items() if each not in (Verdict.EFFECT, Verdict.CONDITIONAL)} == {}
