"""The format ``torchvision``: a state dict, and a program of a few lines that loads it with torchvision alone."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distune.detectors.resizing import SmoothResize
from distune.export.exportable import Exportable
from distune.export.family_source import FAMILY_SOURCES, needs_timm
from distune.export.source_code import SourceCode
from distune.export.templates import render

WEIGHTS_FILE, PROGRAM_FILE = "student.pt", "load_student.py"
_THIRD_PARTY = ("PIL", "timm", "torch", "torchvision")
_STANDARD = ("collections", "functools", "pathlib", "sys")


def student_state(student: Exportable) -> dict[str, Tensor]:
    """Return the state dict: tensors on the CPU that ``torch.load(..., weights_only=True)`` reads."""
    return {name: value.detach().cpu().clone() for name, value in student.model.state_dict().items()}


def student_source(student: Exportable) -> str:
    """Return the program that builds the detector with torchvision alone, and loads its weights.

    Args:
        student: the detector. Only what differs from torchvision's defaults is in the program.

    Returns:
        Python source with ``CLASSES``, ``build_student()`` and ``load_student()``, which reads ``student.pt`` from the
        folder of the program.
    """
    code = SourceCode()
    code.use("sys")
    code.use("torch")
    code.use("pathlib", "Path")
    code.use("PIL", "Image", "ImageOps")
    code.use("torchvision.transforms.functional", "to_tensor")
    FAMILY_SOURCES[student.settings.family](code, student.model, student.settings, len(student.classes) + 1)
    transform: Any = student.model.transform
    if isinstance(transform, SmoothResize):
        code.use("torch.nn.functional", "interpolate")
        code.use("torchvision.models.detection.transform", "GeneralizedRCNNTransform", "resize_boxes")
        code.define(
            render(
                "smooth_resize.py.j2",
                fixed_size=None if transform.fixed_size is None else list(transform.fixed_size)[::-1],
                min_size=transform.min_size[-1],
                max_size=transform.max_size,
            )
        )
        code.add("model.transform.__class__ = SmoothResize")
    return render(
        "load_student.py.j2",
        title=student.title,
        family=student.settings.family,
        needs="torchvision and timm" if needs_timm(student.settings) else "torchvision",
        standard_imports=code.imports(_STANDARD),
        imports=code.imports(_THIRD_PARTY),
        classes=[json.dumps(name, ensure_ascii=False) for name in student.classes],
        definitions=[text.strip() for text in code.definitions],
        lines=code.lines,
        weights_file=WEIGHTS_FILE,
    )


def write(student: Exportable, folder: Path) -> dict[str, str]:
    """Write the files of a student.

    Args:
        student: the detector.
        folder: exists.

    Returns:
        What to know about the files: name to text.
    """
    buffer = io.BytesIO()
    torch.save(student_state(student), buffer)
    (folder / WEIGHTS_FILE).write_bytes(buffer.getvalue())
    (folder / PROGRAM_FILE).write_text(student_source(student), encoding="utf-8")
    needs = " and timm" if needs_timm(student.settings) else ""
    return {"needs": f"torch, torchvision{needs}; pillow for the example", "batch": "any number of images"}


def load(folder: Path) -> Callable[[Tensor], dict[str, Tensor]]:
    """Load the files as a user does: by the program, without distune.

    Args:
        folder: with the files.

    Returns:
        A function of an image (3, H, W) in [0, 1].
    """
    spec = importlib.util.spec_from_file_location("exported_student", folder / PROGRAM_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.load_student()

    def run(image: Tensor) -> dict[str, Tensor]:
        with torch.inference_mode():
            found: dict[str, Tensor] = model([image])[0]
        return found

    return run
