"""The kinds of a detector's parameters that training treats apart: of the backbone, of normalization layers, biases."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from torch import nn

_BACKBONE = re.compile(r"backbone\.(body|features)\.|backbone\.extra\.0\.\d+\.(weight|bias)$")
"""Names of the parameters of a classifier inside a detector: not those of a feature pyramid, or of further maps. The
last convolutions of an SSD's VGG are in its first further map."""
_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)  # batch and instance norms first


@dataclasses.dataclass(frozen=True)
class KnownParameter:
    """A parameter and its kind.

    Attributes:
        parameter: of a module.
        of_norm: it is the weight or the bias of a normalization layer.
        is_bias: it is a bias, also of a normalization layer.
        of_backbone: it belongs to the classifier that the detector is built on.
    """

    parameter: nn.Parameter
    of_norm: bool
    is_bias: bool
    of_backbone: bool


def known_parameters(module: nn.Module) -> Iterator[KnownParameter]:
    """Yield all parameters of a module with their kinds, in the order of ``module.parameters()``.

    Args:
        module: a torchvision detector; in another module no parameter is of a backbone.

    Yields:
        KnownParameter: each parameter once.
    """
    owners = {
        f"{prefix}.{name}" if prefix else name: owner
        for prefix, owner in module.named_modules()
        for name, _ in owner.named_parameters(recurse=False)
    }
    for name, parameter in module.named_parameters():
        yield KnownParameter(
            parameter,
            of_norm=isinstance(owners[name], _NORMS),
            is_bias=name.endswith("bias"),
            of_backbone=_BACKBONE.match(name) is not None,
        )
