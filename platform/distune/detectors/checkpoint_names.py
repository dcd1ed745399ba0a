"""Parameter names of earlier torchvision versions, as some published checkpoints still have them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from torch import Tensor

_RENAMED: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
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


def with_current_names(state: dict[str, Tensor], expected: Collection[str]) -> dict[str, Tensor]:
    """Rename the tensors of an earlier torchvision version to the names of the current one.

    Some published files date from before a convolution and its activation became one module. A tensor is renamed only
    if the detector has the new name and lacks the old one.

    Args:
        state: parameter name to tensor.
        expected: the parameter names of the detector.

    Returns:
        The same tensors under the detector's names.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        candidates = [_rename(pattern, new_name, name) for pattern, new_name in _RENAMED]
        matching = [new for new in candidates if new is not None and new in expected]
        renamed[matching[0] if matching and name not in expected else name] = tensor
    return renamed


def _rename(pattern: str, new_name: Callable[[re.Match[str]], str], name: str) -> str | None:
    match = re.fullmatch(pattern, name)
    return None if match is None else new_name(match)
