"""The model card of an exported detector, in the form of Hugging Face."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distune.export.parity import Parity
from distune.export.templates import render

CARD_FILE = "model_card.md"
NO_LICENSE = "other"
"""The license in the YAML header while the user has stated none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """An average precision of the detector.

    Attributes:
        split: such as ``search``.
        ap: in points.
        source: how it was measured, in words.
    """

    split: str
    ap: float
    source: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Facts for the card.

    Attributes:
        title: such as ``study quick, trial 7``.
        role: ``student``, ``student without distillation`` or ``teacher``.
        family: of the detector.
        backbone: of the detector.
        classes: without background.
        image_size: in words.
        num_parameters: of the detector.
        format: of the export.
        format_summary: in a line.
        format_notes: name to text.
        weights_file: in the folder.
        program_file: in the folder.
        license: as the user states it; None where they have not.
        data: lines about the data.
        scores: average precisions.
        gain: about the gain by distillation, a line.
        num_test_evaluations: evaluations of the study on the test split.
        parity: of the exported file with the detector.
        parity_split: the split of it.
        file_bytes: of the checkpoint's weights and of the exported file.
        settings: heading to settings.
        versions: package to version.
    """

    title: str
    role: str
    family: str
    backbone: str
    classes: Sequence[str]
    image_size: str
    num_parameters: int
    format: str
    format_summary: str
    format_notes: Mapping[str, str]
    weights_file: str
    program_file: str
    license: str | None
    data: Sequence[str]
    scores: Sequence[Score]
    gain: str
    num_test_evaluations: int
    parity: Parity
    parity_split: str
    file_bytes: tuple[int, int]
    settings: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str]

    def to_markdown(self) -> str:
        """Return the text of the card."""
        return render(
            "model_card.md.j2",
            card=self,
            front_matter=front_matter(self),
            settings={
                name: [(path, json.dumps(value, ensure_ascii=False)) for path, value in flatten(values)]
                for name, values in self.settings.items()
            },
            ap_text="not measured: none of the images has a box" if self.parity.ap is None else None,
        )


def front_matter(card: ModelCard) -> str:
    """Return the YAML at the top, which Hugging Face reads; a license of the user's own words is quoted."""
    library = {"onnx": "onnx", "torchvision": "torchvision"}[card.format]
    tags = ["object-detection", "knowledge-distillation", card.family]
    lines = [f"license: {json.dumps(card.license or NO_LICENSE, ensure_ascii=False)}", f"library_name: {library}"]
    lines += ["pipeline_tag: object-detection", "tags:", *(f"- {tag}" for tag in tags)]
    return "\n".join(lines)


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return path and value of all settings below a mapping.

    Args:
        values: the settings.
        prefix: of their paths.

    Returns:
        Without those that are null or empty. Of a file or folder of this machine only the name is given.
    """
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += flatten(value, f"{prefix}{name}.")
        elif value not in (None, [], ()):
            is_local = isinstance(value, str) and Path(value).is_absolute()
            found.append((f"{prefix}{name}", Path(value).name if is_local else value))
    return found
