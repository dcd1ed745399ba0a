"""The text of a drafted experiment file, with a comment for each setting that was chosen."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from distune.draft.pairs import Model, Pair
from distune.draft.recommend import Recommendation, Recommendations

_WIDTH = 110


def experiment_text(
    *,
    name: str,
    data: Mapping[str, Any],
    classes: Sequence[str],
    findings: Sequence[str],
    doubts: Sequence[str],
    pair: Pair,
    settings: Recommendations,
) -> str:
    """Write the file.

    Args:
        name: of the experiment.
        data: the section ``data``, without image sizes.
        classes: of the data.
        findings: what was found, a line each.
        doubts: what is unclear, a line each.
        pair: student and teacher.
        settings: the recommended settings.

    Returns:
        YAML.
    """
    lines = [
        *_comment("Drafted by `distune init` from the images in data.root. Every value may be changed."),
        *_comment(f"Next: distune validate {name}.yaml --pictures pictures"),
        f"name: {_plain(name)}",
        "",
        *(line for finding in findings for line in _comment(f"Found: {finding}")),
        *(line for doubt in doubts for line in _comment(f"Not sure: {doubt}")),
        "data:",
        *(f"  {key}: {_plain(value)}" for key, value in data.items()),
        *_comment("To use some of the classes, or to order them; null takes all.", 2),
        f"  # classes: {_plain(list(classes))}",
        *_set("min_size_px", settings.min_size_px),
        *_set("max_size_px", settings.max_size_px),
        *_comment("Objects are mirrored. Set 0 where left and right mean something, as for text.", 2),
        "  augmentation: {horizontal_flip: 0.5}",
        "",
        *_comment(f"The pair: {pair.reason}."),
        *_model("teacher", pair.teacher, settings.anchor_scale),
        "teacher_training:",
        *_set("epochs", settings.teacher_epochs),
        *_set("batch_size", settings.batch_size),
        *_optimizer(pair),
        "",
        *_model("student", pair.student, settings.anchor_scale),
        "training:",
        *_set("epochs", settings.epochs),
        *_set("batch_size", settings.batch_size),
        *_optimizer(pair),
        "",
        "distillation:",
        *_comment("Map imitation and soft labels, the default.", 2),
        "  preset: decoupled",
        "",
        "search:",
        *_comment("The weights of both terms.", 2),
        "  space: loss_weights",
        *_set("num_trials", settings.num_trials),
        "  sampler:",
        "    kind: tpe",
        *_set("startup_trials", settings.startup_trials, 4),
        "  scheduler:",
        "    kind: asha",
        *_set("grace_epochs", settings.grace_epochs, 4),
        *_set("reduction_factor", settings.reduction_factor, 4),
    ]
    return "\n".join(lines) + "\n"


def _model(role: str, model: Model, anchor_scale: Recommendation) -> list[str]:
    weights = [f"  backbone_weights: {model.weights}"] if model.weights else []
    epsilon = [] if model.norm_eps is None else [f"  norm_eps: {model.norm_eps:g}"]
    return [
        f"{role}:",
        "  family: retinanet",
        f"  backbone: {model.backbone}",
        *weights,
        f"  fpn_channels: {model.fpn_channels}",
        f"  norm: {model.norm}",
        *(_comment("The epsilon that these weights were trained with.", 2) if epsilon else []),
        *epsilon,
        *_set("anchor_scale", anchor_scale),
    ]


def _optimizer(pair: Pair) -> list[str]:
    reason = f"Learning rate: {pair.learning_rate_reason}."
    return [
        *(_comment(reason, 2) if pair.learning_rate_reason else []),
        f"  optimizer: {{kind: adamw, learning_rate: {pair.learning_rate:g}}}",
    ]


def _set(key: str, recommendation: Recommendation, indent: int = 2) -> list[str]:
    return [*_comment(f"{recommendation.reason}.", indent), f"{' ' * indent}{key}: {recommendation.value:g}"]


def _comment(text: str, indent: int = 0) -> list[str]:
    start = " " * indent + "# "
    capital = text[:1].upper() + text[1:]
    return textwrap.wrap(
        capital, _WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False, break_on_hyphens=False
    )


def _plain(value: Any) -> str:
    """Return a value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return text.removesuffix("...\n").strip()
