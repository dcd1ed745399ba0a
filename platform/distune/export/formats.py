"""The formats of an export. A new format is one file and one line here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from distune.errors import UsageError
from distune.export import onnx_format, torchvision_format
from distune.export.exportable import Exportable

Runtime = Callable[[Tensor], dict[str, Tensor]]
"""Maps an image, float32 (3, H, W) in [0, 1], to ``boxes``, ``labels`` and ``scores``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """A format.

    Attributes:
        check: raises ``UsageError`` when a package is missing.
        write: writes the files into a folder; returns what to know about them.
        load: loads the files as a user does, without distune.
        weights_file: name of the largest file.
        program_file: name of the program that runs it.
        summary: in a line, for help and model card.
    """

    check: Callable[[], None]
    write: Callable[[Exportable, Path], dict[str, str]]
    load: Callable[[Path], Runtime]
    weights_file: str
    program_file: str
    summary: str


FORMATS: dict[str, Format] = {
    "onnx": Format(
        check=onnx_format.check_packages,
        write=onnx_format.write,
        load=onnx_format.load,
        weights_file=onnx_format.GRAPH_FILE,
        program_file=onnx_format.PROGRAM_FILE,
        summary="an ONNX graph from one image of any size to its detections, suppression included",
    ),
    "torchvision": Format(
        check=lambda: None,
        write=torchvision_format.write,
        load=torchvision_format.load,
        weights_file=torchvision_format.WEIGHTS_FILE,
        program_file=torchvision_format.PROGRAM_FILE,
        summary="a state dict, and a short program that builds the detector with torchvision alone",
    ),
}


def find_format(name: str) -> Format:
    """Return a format whose packages are installed. Raises ``UsageError`` for another name or a missing package."""
    found = FORMATS.get(name)
    if found is None:
        raise UsageError(f"format {name}: must be one of {', '.join(FORMATS)}")
    found.check()
    return found
