"""A detector with what an export says about it."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from distune.config.detector import DetectorSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exportable:
    """A detector that is exported.

    Attributes:
        model: a torchvision detector in evaluation mode, on the CPU.
        settings: of the detector.
        classes: its classes without background; label 1 is the first.
        title: such as ``study quick, trial 7``.
    """

    model: nn.Module
    settings: DetectorSettings
    classes: tuple[str, ...]
    title: str

    @property
    def image_size(self) -> str:
        """The size of images after resizing, in words."""
        fixed = getattr(self.settings, "input_size_px", None)
        if fixed is not None:
            return f"{fixed} x {fixed} px"
        transform: Any = self.model.transform
        return f"shorter side {transform.min_size[-1]} px, longer side at most {transform.max_size} px"
