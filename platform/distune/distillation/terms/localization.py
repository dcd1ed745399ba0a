"""The localization term: the teacher's boxes as targets on the student's prediction sites.

Shape legend: ``R`` prediction sites of the batch, ``4`` xyxy pixels, ``K`` class logits with background first, ``N``
instances.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from distune.collectives import batch_count
from distune.config.distillation import DistillationSettings
from distune.distillation.class_scores import class_probabilities, disagreement
from distune.distillation.term import Step, TermContext

Form = Literal["giou", "smooth_l1", "bounded"]
DenseForm = Literal["giou", "smooth_l1"]
SiteWeight = Literal["disagreement", "score"]

_SHORTEST_SIDE_PX = 1.0
_SMALLEST_AREA = 1e-7


def side_distance(boxes_R4: Tensor, others_R4: Tensor, truth_R4: Tensor) -> Tensor:
    """Return the smooth L1 distance between the sides of boxes, summed over the four, in units of the true box; (R,).

    ``sum_k h((x_k - y_k) / size_k)`` where size is the true box's width for x and its height for y, at least a pixel.
    """
    size_R2 = (truth_R4[:, 2:] - truth_R4[:, :2]).clamp(min=_SHORTEST_SIDE_PX)
    size_R4 = size_R2.repeat(1, 2)
    return functional.smooth_l1_loss(boxes_R4 / size_R4, others_R4 / size_R4, reduction="none").sum(dim=1)


def generalized_iou_loss(boxes_R4: Tensor, others_R4: Tensor) -> Tensor:
    """Return ``1 - IoU + (hull - union) / hull`` with the smallest box around both as the hull; 0 to 2, (R,).

    Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019, arXiv 1902.09630. torchvision's selects rows
    by a mask, which waits for the device; this one does not. Two boxes without area, as an untrained FCOS predicts
    them, have IoU 1 here, so that equal ones do not differ.
    """
    larger_R4, smaller_R4 = torch.maximum(boxes_R4, others_R4), torch.minimum(boxes_R4, others_R4)
    shared_R = _area((smaller_R4[:, 2:] - larger_R4[:, :2]).clamp(min=0))
    hull_R = _area(larger_R4[:, 2:] - smaller_R4[:, :2])
    union_R = _area(boxes_R4[:, 2:] - boxes_R4[:, :2]) + _area(others_R4[:, 2:] - others_R4[:, :2]) - shared_R
    has_area_R = union_R > _SMALLEST_AREA
    overlap_R = torch.where(has_area_R, shared_R / torch.where(has_area_R, union_R, 1.0), 1.0)
    return 1 - overlap_R + (hull_R - union_R) / hull_R.clamp(min=_SMALLEST_AREA)


def _area(sides_R2: Tensor) -> Tensor:
    return sides_R2[:, 0] * sides_R2[:, 1]


def localization_loss(
    student_R4: Tensor,
    teacher_R4: Tensor,
    truth_R4: Tensor,
    weights_R: Tensor,
    positive_R: Tensor,
    *,
    form: Form,
    margin: float,
) -> Tensor:
    """Return the weighted distance between the models' boxes over positive prediction sites.

    ``1/n sum_r w_r d_r`` over positive sites, n of them, at least 1. With ``giou``, d is the generalized IoU loss.
    With ``smooth_l1`` it is ``side_distance``. Localization distillation (Zheng et al., CVPR 2022, arXiv 2102.12252) is
    a divergence between the models' distributions over box sides; torchvision's heads predict no distributions, and
    between Gaussians of equal width that divergence is the squared difference of their means, which this is where the
    boxes differ by less than the true box's side. With ``bounded`` a site counts only where the student is not
    already better than the teacher by the margin: ``d = 1[e^s + margin > e^t] e^st`` with the ``side_distance`` e of
    student, teacher and truth (Chen et al., "Learning Efficient Object Detection Models with Knowledge Distillation",
    NeurIPS 2017). Departs from that paper: the student is drawn to the teacher's box, not to the true one, which the
    task loss does already, so that the loss is 0 when student equals teacher.

    Args:
        student_R4: decoded boxes, with gradient.
        teacher_R4: the teacher's at the same sites; no gradient flows into them.
        truth_R4: the boxes that the sites are matched to.
        weights_R: of the matched instances, at least 0; no gradient flows into them.
        positive_R: bool; the other sites take no part and may hold any values.
        form: ``giou``, ``smooth_l1`` or ``bounded``.
        margin: of ``bounded``, at least 0.

    Returns:
        A scalar, the same for any size of the images.
    """
    positive_R1, truth_R4 = positive_R[:, None], truth_R4.detach()
    # First of all: values that are masked out later still send NaN backwards.
    student_R4 = torch.where(positive_R1, student_R4, truth_R4)
    teacher_R4 = torch.where(positive_R1, teacher_R4, truth_R4).detach()
    if form == "giou":
        distance_R = generalized_iou_loss(student_R4, teacher_R4)
    else:
        distance_R = side_distance(student_R4, teacher_R4, truth_R4)
    if form == "bounded":
        student_error_R = side_distance(student_R4.detach(), truth_R4, truth_R4)
        is_behind_R = student_error_R + margin > side_distance(teacher_R4, truth_R4, truth_R4)
        distance_R = torch.where(is_behind_R, distance_R, 0.0)
    weighted_R = torch.where(positive_R, weights_R.detach() * distance_R, 0.0)
    return weighted_R.sum() / batch_count(positive_R.sum(), at_least=1)


def site_importance(student_RK: Tensor, teacher_RK: Tensor, *, score_kind: str, site_weight: SiteWeight) -> Tensor:
    """Return ``max_c |p^t_rc - p^s_rc|`` (``disagreement``) or ``max_c p^t_rc`` (``score``), without gradient; (R,)."""
    if site_weight == "disagreement":
        values_RC = disagreement(student_RK, teacher_RK, score_kind=score_kind)
    else:
        values_RC = class_probabilities(teacher_RK, score_kind=score_kind)
    return values_RC.amax(dim=1)


def dense_localization_loss(
    student_R4: Tensor, teacher_R4: Tensor, weights_R: Tensor, positive_R: Tensor, *, form: DenseForm
) -> Tensor:
    """Return the weighted distance between the models' boxes over all prediction sites.

    ``1/n sum_r w_r d_r`` with n the number of positive sites, at least 1. With ``giou``, d is the generalized IoU loss.
    With ``smooth_l1`` it is ``side_distance`` in units of the teacher's box, because most sites have no true one. After
    the localization part of Yang et al., ICCV 2023, arXiv 2308.14286, who weight ``1 - IoU`` by the largest
    disagreement over classes. Departs from it: the generalized IoU, which has a gradient where boxes do not overlap.

    Args:
        student_R4: decoded boxes, with gradient.
        teacher_R4: the teacher's at the same sites; no gradient flows into them.
        weights_R: of each site, at least 0; no gradient flows into them. A site of weight 0 may hold any values.
        positive_R: bool; only their number matters.
        form: ``giou`` or ``smooth_l1``.

    Returns:
        A scalar.
    """
    weights_R, teacher_R4 = weights_R.detach(), teacher_R4.detach()
    takes_part_R1 = (weights_R > 0)[:, None]
    # First of all: values that are masked out later still send NaN backwards.
    teacher_R4 = torch.where(takes_part_R1, teacher_R4, 0.0)
    student_R4 = torch.where(takes_part_R1, student_R4, teacher_R4)
    if form == "giou":
        distance_R = generalized_iou_loss(student_R4, teacher_R4)
    else:
        distance_R = side_distance(student_R4, teacher_R4, teacher_R4)
    return (weights_R * distance_R).sum() / batch_count(positive_R.sum(), at_least=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Localization:
    """The term on positive sites. A prediction site has the mean weight of its instance over the levels."""

    form: Form
    margin: float
    robust: bool = True
    needs_prototypes: bool = False

    def __call__(self, step: Step) -> Tensor:
        """Return the loss of a step."""
        sites = step.student.prediction_sites
        boxes_N4 = step.instances.boxes_N4
        # Sites without an instance point at row 0, also when there is no instance.
        truth_R4 = torch.cat([boxes_N4, boxes_N4.new_zeros(1, 4)])[sites.instance_R]
        return localization_loss(
            sites.boxes().float(),
            step.teacher.boxes_at(sites).float(),
            truth_R4,
            step.site_weights(robust=self.robust),
            sites.positive_R,
            form=self.form,
            margin=self.margin,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseLocalization:
    """The term on all sites of a one-stage head; see ``Step.all_site_weights`` and ``site_importance``."""

    score_kind: str
    form: DenseForm
    site_weight: SiteWeight
    robust: bool = True
    needs_prototypes: bool = False

    def __call__(self, step: Step) -> Tensor:
        """Return the loss of a step."""
        sites = step.student.prediction_sites
        importance_R = site_importance(
            sites.logits_RC.float(),
            step.teacher.logits_at(sites).float(),
            score_kind=self.score_kind,
            site_weight=self.site_weight,
        )
        return dense_localization_loss(
            sites.boxes().float(),
            step.teacher.boxes_at(sites).float(),
            importance_R * step.all_site_weights(robust=self.robust),
            sites.positive_R,
            form=self.form,
        )


def build_localization(settings: DistillationSettings, context: TermContext) -> Localization | DenseLocalization:
    """Build the term."""
    term = settings.localization
    if term.sites == "all":
        assert term.form != "bounded", "refused by the settings"
        return DenseLocalization(
            score_kind=context.score_kind, form=term.form, site_weight=term.site_weight, robust=term.robust
        )
    return Localization(form=term.form, margin=term.margin, robust=term.robust)
