"""The losses of PGM and RDM written box by box, as earlier code for this method did: loops, crops, values on the host.

It is the reference of ``distill_step.py``, for values and for time. It is kinder than that code was: a class's
prototypes are compared at once, masks are painted once for all channels, and nothing is float64.

Shape legend: ``B`` batch, ``D`` ``E`` channels of either model, ``H`` ``W`` a map, ``M`` prototypes of a class.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from distune.detectors.taps import StudentTaps, TeacherTaps
from distune.distillation.prototypes.prototypes import Prototypes


@dataclasses.dataclass(frozen=True)
class Weights:
    """The settings of the objective, with the filter ``mean_cosine`` and ``gaussian``."""

    global_knowledge: float
    local_knowledge: float
    soft_labels: float
    global_threshold: float
    local_threshold: float
    background_ratio: float
    base_size_px: float
    temperature: float


def loop_losses(
    student: StudentTaps,
    teacher: TeacherTaps,
    prototypes: Prototypes,
    adapters: nn.ModuleList,
    strides: tuple[int, ...],
    weights: Weights,
) -> dict[str, Tensor]:
    """The weighted losses by name, of sigmoid heads, with pooling ``crop``."""
    boxes, images = student.instances.boxes_N4.tolist(), student.instances.image_of_N.tolist()
    classes = [label - 1 for label in student.instances.labels_N.tolist()]
    global_terms: list[Tensor] = []
    local_weights: list[list[float]] = []
    for level, stride in enumerate(strides):
        of_level: list[Tensor] = []
        local_weights.append([])
        for box, image, own in zip(boxes, images, classes, strict=True):
            rows, columns = cropped(box, stride, student.neck[stride].shape[-2:])
            student_D = student.neck[stride][image, :, rows, columns].mean(dim=(1, 2))
            teacher_E = teacher.neck[stride][image, :, rows, columns].mean(dim=(1, 2))
            found = cosines(student_D, teacher_E, prototypes, level)
            discrepancy = mean_difference(found[own])
            global_weight = math.exp(-(discrepancy**2) / (2 * weights.global_threshold**2))
            local_weights[-1].append(math.exp(-(discrepancy**2) / (2 * weights.local_threshold**2)))
            errors = [
                functional.smooth_l1_loss(global_weight * student_M, global_weight * teacher_M, reduction="sum")
                for student_M, teacher_M in found
            ]
            of_level.append(torch.stack(errors).sum() / max(1, sum(len(teacher_M) for _, teacher_M in found)))
        global_terms.append(torch.stack(of_level).mean())
    local = local_loss(student, teacher, adapters, strides, local_weights, weights)
    return {
        "global_knowledge": weights.global_knowledge * torch.stack(global_terms).mean(),
        "local_knowledge": weights.local_knowledge * local,
        "soft_labels": weights.soft_labels * soft_label_loss(student, teacher, local_weights, weights.temperature),
    }


def cosines(student_D: Tensor, teacher_E: Tensor, prototypes: Prototypes, level: int) -> list[tuple[Tensor, Tensor]]:
    """Of each class the cosines of one box with its prototypes, (M,) of the student and of the teacher."""
    found = []
    for class_index in range(prototypes.valid.shape[1]):
        valid_M = prototypes.valid[level, class_index]
        student_MD = prototypes.student[level, class_index][valid_M]
        teacher_ME = prototypes.teacher[level, class_index][valid_M]
        student_M = functional.cosine_similarity(student_D[None], student_MD)
        found.append((student_M, functional.cosine_similarity(teacher_E[None], teacher_ME)))
    return found


def mean_difference(cosines_of_class: tuple[Tensor, Tensor]) -> float:
    """``mean_p |cos^s_p - cos^t_p|``, on the host; 0 without prototypes."""
    student_M, teacher_M = cosines_of_class
    return float((student_M.detach() - teacher_M).abs().mean()) if len(teacher_M) else 0.0


def local_loss(
    student: StudentTaps,
    teacher: TeacherTaps,
    adapters: nn.ModuleList,
    strides: tuple[int, ...],
    weights_LN: list[list[float]],
    weights: Weights,
) -> Tensor:
    """Decoupled imitation, masks painted box after box."""
    boxes, images = student.instances.boxes_N4.tolist(), student.instances.image_of_N.tolist()
    losses: list[Tensor] = []
    for level, (stride, adapter) in enumerate(zip(strides, adapters, strict=True)):
        adapted_BEHW, teacher_BEHW = adapter(student.neck[stride]), teacher.neck[stride]
        mask_B1HW = torch.full_like(teacher_BEHW[:, :1], -1.0)
        for box, image, weight in zip(boxes, images, weights_LN[level], strict=True):
            if level_of(box, strides, weights.base_size_px) == level:
                rows, columns = centered(box, stride, cells_of(student, image, stride))
                mask_B1HW[image, :, rows, columns] = mask_B1HW[image, :, rows, columns].clamp(min=weight)
        for image in range(len(mask_B1HW)):
            num_rows, num_columns = cells_of(student, image, stride)
            mask_B1HW[image, :, num_rows:] = 0.0
            mask_B1HW[image, :, :, num_columns:] = 0.0
        squared_BEHW = (adapted_BEHW - teacher_BEHW).square()
        channels = teacher_BEHW.shape[1]
        foreground, background = (
            (squared_BEHW * mask).sum() / max(1.0, 2 * channels * float(mask.sum()))
            for mask in (mask_B1HW.clamp(min=0), (mask_B1HW < 0).float())
        )
        losses.append(foreground + weights.background_ratio * background)
    return torch.stack(losses).mean()


def soft_label_loss(
    student: StudentTaps, teacher: TeacherTaps, weights_LN: list[list[float]], temperature: float
) -> Tensor:
    """Binary divergence on the positive sites, box after box."""
    sites = student.prediction_sites
    student_RC, teacher_RC = sites.logits_RC[:, 1:] / temperature, teacher.logits_at(sites)[:, 1:] / temperature
    total = student_RC.sum() * 0
    for index, _ in enumerate(weights_LN[0]):
        weight = sum(of_level[index] for of_level in weights_LN) / len(weights_LN)
        rows_P = (sites.positive_R & (sites.instance_R == index)).nonzero().squeeze(1)
        student_PC, teacher_PC = student_RC[rows_P], teacher_RC[rows_P]
        expected = functional.binary_cross_entropy_with_logits(student_PC, teacher_PC.sigmoid(), reduction="sum")
        entropy = functional.binary_cross_entropy_with_logits(teacher_PC, teacher_PC.sigmoid(), reduction="sum")
        total = total + weight * (expected - entropy)
    return temperature**2 * total / max(1, int(sites.positive_R.sum()))


def level_of(box: Sequence[float], strides: tuple[int, ...], base_size_px: float) -> int:
    """The level that a box belongs to."""
    side = math.sqrt(max(0.0, (box[2] - box[0]) * (box[3] - box[1])))
    stride = 4 * 2 ** math.floor(math.log2(side / base_size_px)) if side > 0 else 0
    return sum(stride >= each for each in strides[1:])


def cells_of(student: StudentTaps, image: int, stride: int) -> list[int]:
    """The number of rows and columns of a map whose centers lie in an image, at least one of each."""
    sides = zip(student.instances.frame.image_sizes[image], student.neck[stride].shape[-2:], strict=True)
    return [max(1, sum((cell + 0.5) * stride < side for cell in range(num_cells))) for side, num_cells in sides]


def cropped(box: Sequence[float], stride: int, size: Sequence[int]) -> tuple[slice, slice]:
    """Rows and columns of an integer crop, at least one of each."""
    slices = []
    for low, high, num_cells in ((box[1], box[3], size[0]), (box[0], box[2], size[1])):
        first = min(max(math.floor(low / stride), 0), num_cells - 1)
        slices.append(slice(first, max(math.floor(high / stride), first + 1)))
    return slices[0], slices[1]


def centered(box: Sequence[float], stride: int, size: Sequence[int]) -> tuple[slice, slice]:
    """Rows and columns whose centers lie in the box, and those of its own center."""
    slices = []
    for low, high, num_cells in ((box[1], box[3], size[0]), (box[0], box[2], size[1])):
        own = min(max(math.floor((low + high) / 2 / stride), 0), num_cells - 1)
        inside = [cell for cell in range(num_cells) if low <= (cell + 0.5) * stride < high] + [own]
        slices.append(slice(min(inside), max(inside) + 1))
    return slices[0], slices[1]
