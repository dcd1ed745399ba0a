"""Sizes of teacher, control and student side by side: parameters, operations, latency, file size."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.table import Table

_SAME = 0.005
"""Relative differences below this are none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Measured size of a detector.

    Attributes:
        name: ``teacher``, ``control`` or ``student``.
        parameters: number of parameters.
        flops: floating-point operations of a forward pass of one image; a multiply-add is two.
        latency_ms: median milliseconds of that pass.
        file_bytes: size of the file of its weights.
    """

    name: str
    parameters: int
    flops: int
    latency_ms: float
    file_bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """Sizes of several detectors, measured in turns in one process.

    Attributes:
        device: in words, such as ``CPU, 2 threads``.
        image_size_px: side of the square image.
        models: the detectors.
    """

    device: str
    image_size_px: int
    models: tuple[ModelSize, ...]

    def of(self, name: str) -> ModelSize | None:
        """Return the size of a detector; None if it was not measured."""
        return next((model for model in self.models if model.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, the inverse of ``from_dict``."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelSizes:
        """Create sizes from a dictionary, the inverse of ``to_dict``. Raises ``KeyError`` and ``TypeError``."""
        models = tuple(ModelSize(**model) for model in values["models"])
        return cls(device=values["device"], image_size_px=values["image_size_px"], models=models)


def size_rows(sizes: ModelSizes) -> list[tuple[str, ...]]:
    """Return the table as text: name, parameters, operations, latency, and size of the file, a row per detector."""
    return [
        (
            model.name,
            _count(model.parameters),
            _count(model.flops),
            f"{model.latency_ms:.3g} ms",
            _count(model.file_bytes, units=("B", "kB", "MB", "GB", "TB")),
        )
        for model in sizes.models
    ]


def size_table(sizes: ModelSizes) -> Table:
    """Return the table for a terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for index, name in enumerate(("size", "parameters", "FLOPs", "latency", "file")):
        table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
    for row in size_rows(sizes):
        table.add_row(*row)
    return table


def size_lines(sizes: ModelSizes) -> list[str]:
    """Return the lines below the table: the student against the teacher, and how the latency was measured."""
    lines = [
        f"latency and FLOPs: one image of {sizes.image_size_px} x {sizes.image_size_px} px, float32, {sizes.device}; "
        "median of runs in turns"
    ]
    student, teacher = sizes.of("student"), sizes.of("teacher")
    if student is None or teacher is None:
        return lines
    return [f"student against teacher: {compression(student, teacher)}", *lines]


def compression(student: ModelSize, teacher: ModelSize) -> str:
    """Return how much smaller and faster a student is, such as ``3.2x fewer parameters, 2.1x faster``."""
    ratios = (
        (teacher.parameters, student.parameters, "fewer parameters", "more parameters", "equal parameters"),
        (teacher.flops, student.flops, "fewer FLOPs", "more FLOPs", "equal FLOPs"),
        (teacher.latency_ms, student.latency_ms, "faster", "slower", "equal latency"),
        (teacher.file_bytes, student.file_bytes, "smaller file", "larger file", "equal file size"),
    )
    return ", ".join(_ratio(*each) for each in ratios if min(each[0], each[1]) > 0)


def _ratio(of_teacher: float, of_student: float, less: str, more: str, equal: str) -> str:
    ratio = of_teacher / of_student
    if abs(ratio - 1) < _SAME:
        return equal
    return f"{ratio:.2g}x {less}" if ratio > 1 else f"{1 / ratio:.2g}x {more}"


def _count(number: float, units: tuple[str, ...] = ("", "K", "M", "G", "T")) -> str:
    for unit in units[:-1]:
        if number < 999.5:
            return f"{number:.3g} {unit}".strip()
        number /= 1000
    return f"{number:.3g} {units[-1]}"
