"""Sources of weights: files, and torchvision's names with their place in torch's cache. Downloads nothing."""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from typing import Any

import torch
from torchvision.models import VGG16_Weights, get_model_weights, get_weight, list_models

from distune.config.backbones import TIMM
from distune.config.detector import DetectorSettings, SsdSettings
from distune.config.pretrained import PRETRAINED, canonical, is_torchvision_name
from distune.errors import WeightsError

_BYTES_PER_MB = 1e6
_MIB_PER_MB = 2**20 / _BYTES_PER_MB


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightSource:
    """The origin of weights.

    Attributes:
        path: of the file, or the place of torchvision's weights in torch's cache.
        url: address of torchvision's weights, None for a file of the user.
        size_mb: of the download in MB, None for a file of the user.
    """

    path: Path
    url: str | None = None
    size_mb: float | None = None

    @property
    def is_here(self) -> bool:
        """True when nothing has to be downloaded."""
        return self.path.is_file()


def find_source(name: str) -> WeightSource:
    """Find weights by torchvision's name, or a file.

    Args:
        name: torchvision's name or a path.

    Returns:
        The source.

    Raises:
        WeightsError: torchvision has no weights of that name, or there is no such file. Names similar ones.
    """
    if is_torchvision_name(name):
        weights = torchvision_weights(name)
        size_mb = weights.meta.get("_file_size")
        return WeightSource(
            path=Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name,
            url=weights.url,
            size_mb=None if size_mb is None else size_mb * _MIB_PER_MB,
        )
    path = Path(name).expanduser()
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else f"there is no such file; {_similar_file(path)}"
        raise WeightsError(f"weights {name}: {what}")
    return WeightSource(path=path)


def torchvision_weights(name: str) -> Any:
    """Return torchvision's entry of these weights. Raises ``WeightsError`` with similar names for an unknown one."""
    try:
        return get_weight(name)
    except (ValueError, AttributeError, KeyError, TypeError):
        known = [f"{each.__name__}.{version}" for each in _all_weights() for version in each.__members__]
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
        hint = f"similar are {', '.join(close)}" if close else "its names are written <Model>_Weights.<VERSION>"
        raise WeightsError(f"weights {name}: torchvision has no such weights; {hint}") from None


def check_purpose(name: str, settings: DetectorSettings, *, key: str) -> None:
    """Check that weights that are not a file are of the right kind of model, by their names alone.

    Args:
        name: torchvision's name, or the path of a file; a missing one may be a name that torchvision does not know.
        settings: of the detector.
        key: ``weights`` or ``backbone_weights``.

    Raises:
        WeightsError: they are of another model, or need another normalization of images. Names the right ones.
    """
    choices = _choices(settings, key)
    if not is_torchvision_name(name):
        path = Path(name).expanduser()
        if not path.exists() and not path.suffix:
            raise WeightsError(f"weights {path.name}: there is no such file or name of weights; {choices}")
        return
    try:
        weights = torchvision_weights(name)
    except WeightsError:
        raise WeightsError(f"weights {name}: torchvision has no such weights; {choices}") from None
    if key == "weights":
        if canonical(name) not in PRETRAINED:
            raise WeightsError(f"weights {name}: are not of a {settings.family} that can be loaded; {choices}")
    elif not settings.backbone.startswith(TIMM) and type(weights) is not _weights_of(settings.backbone):
        raise WeightsError(f"weights {name}: are not of backbone = {settings.backbone}; {choices}")
    elif (
        isinstance(settings, SsdSettings)
        and weights is not VGG16_Weights.IMAGENET1K_FEATURES
        and (settings.input_mean is None or settings.input_std is None)
    ):
        raise WeightsError(
            f"weights {name}: were trained on images of another normalization than that of family: ssd, which is "
            "that of VGG16_Weights.IMAGENET1K_FEATURES; use these, or set input_mean: [0.485, 0.456, 0.406] and "
            "input_std: [0.229, 0.224, 0.225]"
        )


def _choices(settings: DetectorSettings, key: str) -> str:
    """Return the names that fit a detector or its backbone, as advice."""
    if key == "weights":
        names = [name for name, needed in PRETRAINED.items() if needed["family"] == settings.family]
        advice = f"torchvision's for {settings.family} are {', '.join(names)}"
        return f"{advice}; those of a classifier belong into backbone_weights"
    if settings.backbone.startswith(TIMM):
        model = settings.backbone.removeprefix(TIMM)
        return (
            f"timm's weights are read from a file: torch.save(timm.create_model('{model}', pretrained=True)"
            ".state_dict(), FILE)"
        )
    known = _weights_of(settings.backbone)
    if known is None:
        return f"torchvision has no weights for {settings.backbone}; name a file, or null to start from random weights"
    return f"torchvision's for it are {', '.join(f'{known.__name__}.{version}' for version in known.__members__)}"


def _weights_of(backbone: str) -> Any:
    """Return torchvision's weights of a classifier, None for one that torchvision does not have."""
    return get_model_weights(backbone) if backbone in list_models() else None


def _all_weights() -> list[Any]:
    return list(dict.fromkeys(get_model_weights(name) for name in list_models()))


def _similar_file(path: Path) -> str:
    """Return advice about a missing file: one of a similar name beside it, or the form of torchvision's names."""
    if path.parent.is_dir():
        names = [each.name for each in path.parent.iterdir() if each.is_file()]
        close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
        if close:
            return f"{path.parent} has {close[0]}"
    else:
        return f"its folder {path.parent} does not exist"
    return "torchvision's are written <Model>_Weights.<VERSION>"
