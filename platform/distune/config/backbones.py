"""The names of backbones for a feature pyramid. A test compares them with torchvision's."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from distune.config.problems import suggest

MOBILENETS = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
_RESNEXTS = ("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d")
_WIDE_RESNETS = ("wide_resnet50_2", "wide_resnet101_2")
_REGNETS = (
    *(f"regnet_x_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")),
    *(f"regnet_y_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf", "128gf")),
)

SMALL_RESNETS = {"resnet10": (1, 1), "resnet10_025": (1, 4), "resnet18_050": (2, 2)}
"""ResNets of basic blocks that torchvision lacks, small enough to train from random weights on a CPU: the number of
blocks in each of the four stages, and the divisor of their channels."""

BACKBONES = (*SMALL_RESNETS, *_RESNETS, *_RESNEXTS, *_WIDE_RESNETS, *_REGNETS, *MOBILENETS)
"""torchvision's names, and the small ResNets."""

TIMM = "timm/"
"""The prefix of models of the package timm."""


def check_backbone(name: str) -> str:
    """Return the name of a backbone. Raises ``ValueError``, with similar names, when it is not known."""
    if name.startswith(TIMM):
        if not re.fullmatch(r"[A-Za-z0-9_]+", name.removeprefix(TIMM)):
            raise ValueError("must be timm/<model>, such as timm/convnext_atto, without a tag for the weights")
    elif name not in BACKBONES:
        raise ValueError(f"is not known; {suggest(name, list(BACKBONES))}; models of timm are written timm/<model>")
    return name


Backbone = Annotated[str, AfterValidator(check_backbone)]
