"""Parameter names that torchvision's detectors had when some of its files were written."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from torch import Tensor

_OLD_NAMES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"rpn\.head\.conv\.(weight|bias)", lambda old: f"rpn.head.conv.0.0.{old[1]}"),
    (
        r"head\.(\w+)_head\.conv\.(\d+)\.(weight|bias)",
        lambda old: f"head.{old[1]}_head.conv.{int(old[2]) // 2}.0.{old[3]}",
    ),
    (
        r"roi_heads\.mask_head\.mask_fcn(\d+)\.(weight|bias)",
        lambda old: f"roi_heads.mask_head.{int(old[1]) - 1}.0.{old[2]}",
    ),
)


def with_present_names(state: dict[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """The same tensors under the names that torchvision's detectors have now.

    Several of torchvision's files were written when a convolution with its activation was not yet one module. A name is
    changed only where the detector has the new one and not the old.

    Args:
        state: parameter name to tensor.
        own: the names that the detector has.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        candidates = [_renamed(pattern, new_name, name) for pattern, new_name in _OLD_NAMES]
        present = [new for new in candidates if new is not None and new in own]
        renamed[present[0] if present and name not in own else name] = tensor
    return renamed


def _renamed(pattern: str, new_name: Callable[[re.Match[str]], str], name: str) -> str | None:
    match = re.fullmatch(pattern, name)
    return None if match is None else new_name(match)
