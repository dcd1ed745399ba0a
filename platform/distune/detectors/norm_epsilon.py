"""The epsilon of batch norms, as far as a file of weights tells it. A state dict alone does not hold it.

torchvision runs some of its detectors with frozen batch norms of epsilon 0, and detectors that are fine-tuned from
them as well; elsewhere it is 1e-5.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn
from torchvision.models import get_model, get_weight

from distune.config.backbones import MOBILENETS, SMALL_RESNETS, TIMM
from distune.config.detector import DetectorSettings, PyramidDetectorSettings
from distune.config.pretrained import PRETRAINED, WITHOUT_EPSILON, canonical
from distune.detectors.checkpoint_forms import StateDict

_DEFAULT = 1e-5
_RELATIVE_EFFECT = 1e-3
"""A channel is scaled by 1 / sqrt(variance + epsilon). A smaller relative change of that is no reason to warn."""


def epsilon_of_file(content: Mapping[str, Any], path: Path) -> float | None:
    """Return the epsilon of the backbone's norms that the weights of a file were made with.

    Args:
        content: of the file.
        path: of the file.

    Returns:
        The epsilon, where the file is a distune checkpoint, a checkpoint of torchvision's training script, or a file
        that torchvision publishes; else None.
    """
    if isinstance(content.get("detector"), Mapping):
        return _of_settings(content["detector"])
    arguments = content.get("args")
    if isinstance(arguments, argparse.Namespace):
        return _of_reference_script(arguments)
    return _of_published_file(path)


def epsilon_of_classifier(backbone: str) -> float | None:
    """Return the epsilon of the batch norms of a classifier, with which its published weights were trained.

    Args:
        backbone: a name of torchvision or ``timm/<model>``.

    Returns:
        The epsilon; None where it is not known, not the same in all batch norms, or there are none.
    """
    with torch.device("meta"):
        if backbone.startswith(TIMM):
            try:
                timm: Any = importlib.import_module("timm")
            except ImportError:
                return None
            name = backbone.removeprefix(TIMM)
            model = timm.create_model(name, pretrained=False) if timm.is_model(name) else None
        elif backbone in MOBILENETS:
            model = get_model(backbone, weights=None)
        else:  # ResNets and RegNets; the small ResNets are no published classifiers
            return None if backbone in SMALL_RESNETS else _DEFAULT
    norms = [] if model is None else [each for each in model.modules() if isinstance(each, nn.BatchNorm2d)]
    values = {float(each.eps) for each in norms}
    return values.pop() if len(values) == 1 else None


def affected_channels(state: StateDict, *, epsilon: float) -> int:
    """Return how many channels of a backbone's norms an epsilon scales differently than 0 does, by 0.1% or more."""
    limit = epsilon / (2 * _RELATIVE_EFFECT)
    variances = [value for name, value in state.items() if "backbone" in name and name.endswith("running_var")]
    return sum(int((each < limit).sum()) for each in variances)


def _of_settings(values: Mapping[str, Any]) -> float | None:
    try:
        settings = TypeAdapter[DetectorSettings](DetectorSettings).validate_python(dict(values))
    except ValidationError:  # of another version
        return None
    return settings.epsilon if isinstance(settings, PyramidDetectorSettings) else None


def _of_reference_script(arguments: argparse.Namespace) -> float | None:
    """Return what torchvision's ``references/detection/train.py`` has built from its arguments."""
    start = getattr(arguments, "weights", None)
    if not hasattr(arguments, "model") or not hasattr(arguments, "weights_backbone"):
        return None  # another script, or one of an earlier torchvision
    if not start:
        return _DEFAULT
    return (
        0.0 if canonical(str(start)) in WITHOUT_EPSILON else _DEFAULT if canonical(str(start)) in PRETRAINED else None
    )


def _of_published_file(path: Path) -> float | None:
    """Return that of a file that torchvision publishes, which has the start of its hash in its name."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    for name in PRETRAINED:
        start = Path(get_weight(name).url).stem.rpartition("-")[2]
        if digest.startswith(start):
            return 0.0 if name in WITHOUT_EPSILON else _DEFAULT
    return None
