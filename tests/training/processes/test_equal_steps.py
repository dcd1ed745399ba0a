"""Two processes that share each batch take the steps of one process, for every family and every term."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from distune.collectives import num_processes, rank
from distune.config.distillation import DistillationSettings
from distune.config.paths import merge
from distune.config.training import TrainingSettings
from distune.data.stream import Batch, part_of
from distune.detectors.levels import common_strides, probe_levels
from distune.detectors.taps import Detector
from distune.distillation.build import build_objective
from distune.training.student import build_student
from support import families
from support.process_groups import run_in_processes

TERMS = (
    "local_knowledge",
    "soft_labels",
    "global_knowledge",
    "fgd",
    "pkd",
    "mimic",
    "fgfi",
    "rkd",
    "cwd",
    "localization",
)
ALL: dict[str, Any] = {name: {"weight": 0.3, "unit": "gradient_share"} for name in TERMS}
"""All terms whose loss has no random numbers. The metrics of each show its value and its gradient on the neck."""
ALL_OTHERWISE = merge(
    ALL,
    {
        "global_knowledge": {"at": "cells", "background_weight": 0.5},
        "soft_labels": {"sites": "positive"},
        "mimic": {"regions": "boxes"},
        "localization": {"sites": "all"},
        "center": "maps",
        "standardize": "channel",
        "filter": {"weight": "quantile", "global_threshold": 0.4, "local_threshold": 0.4},
    },
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
_PROTOTYPES = {"min_box_side_px": 4.0, "per_class": 3, "source": {"kind": "queue"}, "refresh_epochs": 2}

CASES: dict[str, tuple[str, dict[str, Any] | None]] = {
    "retinanet": ("retinanet", merge(ALL, {"center": "instances", "filter": {"weight": "gaussian"}})),
    "retinanet_otherwise": ("retinanet", ALL_OTHERWISE),
    "fcos": ("fcos", {}),
    "accumulated and averaged": (
        "retinanet",
        {"mimic": {"weight": 0.3, "unit": "gradient_share"}, "soft_labels": {"weight": 1.0}},
    ),
}
TRAINING: dict[str, dict[str, Any]] = {
    # The second step of an epoch has one batch alone.
    "accumulated and averaged": {"accumulate_batches": 2, "ema": {"decay": 0.5, "warmup_steps": 0}},
}


def _batch(seed: int) -> Batch:
    """Five images of different sizes, so that the parts of two processes differ; one has no boxes."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(64, 72), (64, 64), (72, 64), (64, 68), (68, 64)]
    images = [torch.rand(3, *size, generator=generator) for size in sizes]
    targets: list[dict[str, Tensor]] = []
    for index, count in enumerate((3, 1, 0, 2, 4)):
        upper_left = 30 * torch.rand(count, 2, generator=generator)
        sides = 12 + 20 * torch.rand(count, 2, generator=generator)
        targets.append(
            {
                "boxes": torch.cat([upper_left, upper_left + sides], dim=1),
                "labels": torch.randint(1, 4, (count,), generator=generator),
                "image_index": torch.tensor(5 * seed + index),
                "box_index": torch.arange(count),
            }
        )
    mine = part_of(list(range(5)), rank(), num_processes())
    return Batch([images[index] for index in mine], [targets[index] for index in mine])


def _detector(family: str, seed: int) -> Detector:
    detector = families.build(family, seed=seed, **({} if family == "ssd" else {"norm": "group"}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # otherwise its maps and scores are nearly the same everywhere
        for parameter in detector.model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return detector


def _train(case: str) -> tuple[dict[str, float], dict[str, Tensor]]:
    family, distillation = CASES[case]
    student, teacher = _detector(family, 0), _detector(family, 1)
    teacher.model.eval()
    training = TrainingSettings.model_validate(
        {
            "epochs": 4,
            "schedule": {"kind": "constant"},
            "optimizer": {"kind": "sgd", "learning_rate": 0.002},
            "gradient_clip_norm": 1.0,
            **TRAINING.get(case, {}),
        }
    )
    num_batches = 3 if training.accumulate_batches > 1 else 2
    objective = None
    if distillation is not None:
        settings = DistillationSettings.model_validate(
            merge({"prototypes": _PROTOTYPES, "decay": "constant"}, distillation)
        )
        probe = torch.zeros(3, 64, 64)
        levels = probe_levels(student, probe), probe_levels(teacher, probe)
        strides = common_strides(*levels)
        objective = build_objective(
            settings,
            num_classes=3,
            strides=strides,
            student_channels=[levels[0][stride] for stride in strides],
            teacher_channels=[levels[1][stride] for stride in strides],
            score_kind=student.score_kind,
            base_size_px=student.base_size_px,
            num_epochs=4,
            seed=0,
        )
    trained = build_student(
        "key",
        student,
        objective=objective,
        settings=training,
        seed=0,
        steps_per_epoch=num_batches,
        device=torch.device("cpu"),
    )
    metrics: dict[str, float] = {}
    for epoch in range(2):
        trained.begin_epoch(lambda _: iter(()))
        for step in range(num_batches):
            batch = _batch(num_batches * epoch + step)
            trained.step(batch, teacher.forward_teacher(batch.images) if objective is not None else None)
        metrics |= {f"{epoch}/{name}": value for name, value in trained.end_epoch().items()}
    state = dict(student.model.state_dict())
    state |= {f"evaluated/{name}": value for name, value in trained.evaluated_model.state_dict().items()}
    if objective is not None:
        state |= {
            name: value.float()
            for name, value in objective.state_dict().items()
            if isinstance(value, Tensor) and "queue.origin" not in name
        }
    return metrics, state


def train_all() -> dict[str, tuple[dict[str, float], dict[str, Tensor]]]:
    """Train all cases, each for two epochs."""
    return {case: _train(case) for case in CASES}


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, tuple[dict[str, float], dict[str, Tensor]]]]:
    """The results of both processes."""
    return run_in_processes(train_all, 2, tmp_path_factory.mktemp("group"))


@pytest.mark.parametrize("case", CASES)
def test_two_processes_take_the_steps_of_one(
    case: str, by_two: list[dict[str, tuple[dict[str, float], dict[str, Tensor]]]]
) -> None:
    metrics, state = _train(case)
    for other_metrics, other_state in (each[case] for each in by_two):
        shared = {name for name in metrics if "/features/" not in name}  # of a sample of each process
        assert {name for name in other_metrics if "/features/" not in name} == shared
        for name in shared:
            assert other_metrics[name] == pytest.approx(metrics[name], rel=2e-3, abs=2e-5), name
        assert other_state.keys() == state.keys()
        for name, value in state.items():
            torch.testing.assert_close(other_state[name], value, rtol=2e-3, atol=2e-5, msg=f"{name} differs")


@pytest.mark.parametrize("case", CASES)
def test_the_weights_of_both_processes_are_equal_bit_for_bit(
    case: str, by_two: list[dict[str, tuple[dict[str, float], dict[str, Tensor]]]]
) -> None:
    first, second = (each[case][1] for each in by_two)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
