"""Training without distillation equals a loop of torchvision and torch alone, step by step.

The loop below knows nothing of distune: torchvision's detector, its split of the parameters, torch's optimizer, torch's
schedulers and torch's average of weights, on the same batches. Only the initial weights are copied. They
are equal bit for bit where torch's optimizer rounds alike in its fused and its plain form, and else up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ChainedScheduler, LinearLR, MultiStepLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops._utils import split_normalization_params
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from distune.config.experiment import Experiment, without_distillation
from distune.data.stream import Batch
from distune.training.student import Student
from support.experiments import small_values
from support.solo_runs import builder, teacher_of

SIZE_PX, NUM_CLASSES, DECAY, SEED = 64, 2, 0.9, 5
EPOCHS, BATCHES = 2, 2
TOLERANCE = 1e-5
PROPOSALS = 32  # torchvision has 512, which takes minutes on a CPU
RECIPE: dict[str, Any] = {
    "epochs": EPOCHS,
    "batch_size": 4,
    "optimizer": {
        "kind": "sgd",
        "learning_rate": 0.01,
        "momentum": 0.9,
        "weight_decay": 0.05,  # so large that a missing one is seen after a few steps
        "norm_weight_decay": 0.0,
    },
    "schedule": {"kind": "multi_step", "milestones": [0.75], "gamma": 0.1, "warmup_steps": 2},
    "ema": {"decay": DECAY, "warmup_steps": 0},
    "precision": "float32",
    "seed": SEED,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "retinanet": {"head": "v1"},
    "fasterrcnn": {"head": "v1", "box_head_channels": 1024, "proposals_per_image": PROPOSALS},
}


def plain_detector(family: str) -> Any:
    """torchvision's detector with its own defaults, as ``retinanet_resnet50_fpn`` makes it, but a smaller backbone and
    fewer proposals."""
    sizes = {"min_size": SIZE_PX, "max_size": SIZE_PX}
    if family == "fasterrcnn":
        backbone = resnet_fpn_backbone(
            backbone_name="resnet18", weights=None, trainable_layers=5, norm_layer=nn.BatchNorm2d
        )
        return FasterRCNN(backbone, NUM_CLASSES + 1, box_batch_size_per_image=PROPOSALS, **sizes)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        trainable_layers=5,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
        norm_layer=nn.BatchNorm2d,
    )
    anchors = tuple((x, int(x * 2 ** (1.0 / 3)), int(x * 2 ** (2.0 / 3))) for x in (32, 64, 128, 256, 512))
    generator = AnchorGenerator(anchors, ((0.5, 1.0, 2.0),) * len(anchors))
    return RetinaNet(backbone, NUM_CLASSES + 1, anchor_generator=generator, **sizes)


def plain_loop(model: Any, batches: list[Batch]) -> Iterator[tuple[float, dict[str, Tensor], dict[str, Tensor]]]:
    """Train, and yield the loss of each step, the weights after it and their average."""
    model.train()
    norms, others = split_normalization_params(model)
    groups = [{"params": norms, "weight_decay": 0.0}, {"params": others, "weight_decay": 0.05}]
    optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9)
    schedule = ChainedScheduler(
        [LinearLR(optimizer, start_factor=1 / 2, total_iters=1), MultiStepLR(optimizer, milestones=[3], gamma=0.1)]
    )
    ema = get_ema_multi_avg_fn(DECAY)  # type: ignore[no-untyped-call]
    average = AveragedModel(model, multi_avg_fn=ema, use_buffers=True)
    torch.manual_seed(SEED)  # of the samplers in torchvision's losses
    for batch in batches:
        loss: Any = sum(model(list(batch.images), [dict(target) for target in batch.targets]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
        yield float(loss.detach()), model.state_dict(), average.module.state_dict()


def student_and_batches(family: str) -> tuple[Student, list[list[Batch]]]:
    """A student whose distillation has no weight, and the batches of its epochs."""
    detector = {"family": family, "backbone": "resnet18", "fpn_channels": 256, "anchor_scale": 1.0, **FAMILIES[family]}
    values = small_values({"training": RECIPE, "data": {"min_size_px": SIZE_PX, "max_size_px": SIZE_PX}})
    values = without_distillation({**values, "student": detector})
    each = builder(Experiment.model_validate(values))
    training = each.experiment.training
    stream = each.stream(training, seed=SEED)
    assert len(stream) == BATCHES
    student = each.student(
        "s", each.experiment.student, training, seed=SEED, steps_per_epoch=BATCHES, teacher=teacher_of(each)
    )
    return student, [list(stream.epoch(number)) for number in range(EPOCHS)]


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """The largest difference of two state dicts, relative to the largest entry of each tensor."""
    assert first.keys() == second.keys()
    return max(
        float((value - second[name]).abs().max() / value.abs().max().clamp(min=1e-3))
        for name, value in first.items()
        if value.is_floating_point()
    )


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_training_without_distillation_equals_a_plain_loop(family: str) -> None:
    torch.set_num_threads(1)
    student, epochs = student_and_batches(family)
    plain = plain_detector(family)
    start = {name: value.clone() for name, value in student.detector.model.state_dict().items()}
    plain.load_state_dict(start)
    steps = plain_loop(plain, [batch for epoch in epochs for batch in epoch])
    for batches in epochs:
        assert not student.needs_teacher
        student.begin_epoch(lambda _: iter(()))
        losses = []
        for batch in batches:
            loss, weights, average = next(steps)
            losses.append(loss)
            student.step(batch, None)
            assert largest_difference(student.detector.model.state_dict(), weights) < TOLERANCE
            assert largest_difference(student.evaluated_model.state_dict(), average) < TOLERANCE
        assert student.end_epoch()["loss/total"] == pytest.approx(sum(losses) / BATCHES, rel=TOLERANCE)
    assert largest_difference(weights, start) > 100 * TOLERANCE
    assert largest_difference(average, weights) > 100 * TOLERANCE
