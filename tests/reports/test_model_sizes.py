"""The sizes of teacher, control and student side by side."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from distune.reports.model_sizes import ModelSize, ModelSizes, compression, size_lines, size_rows

TEACHER = ModelSize(name="teacher", parameters=19_800_000, flops=8_400_000_000, latency_ms=52.04, file_bytes=79_200_000)
STUDENT = ModelSize(name="student", parameters=6_200_000, flops=3_300_000_000, latency_ms=24.78, file_bytes=24_800_000)
SIZES = ModelSizes(device="CPU, 2 threads", image_size_px=128, models=(TEACHER, STUDENT))


def test_the_table_has_units() -> None:
    assert size_rows(SIZES) == [
        ("teacher", "19.8 M", "8.4 G", "52 ms", "79.2 MB"),
        ("student", "6.2 M", "3.3 G", "24.8 ms", "24.8 MB"),
    ]
    tiny = ModelSize(name="student", parameters=640, flops=999_600, latency_ms=0.5, file_bytes=2000)
    assert size_rows(dataclasses.replace(SIZES, models=(tiny,))) == [("student", "640", "1 M", "0.5 ms", "2 kB")]


def test_the_student_is_compared_with_the_teacher() -> None:
    assert size_lines(SIZES) == [
        "student against teacher: 3.2x fewer parameters, 2.5x fewer FLOPs, 2.1x faster, 3.2x smaller file",
        "latency and FLOPs: one image of 128 x 128 px, float32, CPU, 2 threads; median of runs in turns",
    ]
    assert len(size_lines(dataclasses.replace(SIZES, models=(STUDENT,)))) == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"parameters": 39_600_000}, "2x more parameters"),
        ({"latency_ms": 104.08}, "2x slower"),
        ({"file_bytes": 79_300_000}, "equal file size"),
    ],
)
def test_a_student_may_be_larger(changes: dict[str, Any], expected: str) -> None:
    assert expected in compression(dataclasses.replace(TEACHER, name="student", **changes), TEACHER)


def test_sizes_survive_json() -> None:
    assert ModelSizes.from_dict(SIZES.to_dict()) == SIZES
