"""Settings of the distillation terms. Each is a field of ``DistillationSettings`` under the name of its term."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from distune.config.base import Settings

Adapter = Literal["identity", "conv1x1", "conv3x3"]


class TermSettings(Settings):
    """Settings that all terms share."""

    weight: float = Field(0.0, ge=0)
    """Weight of the term, in the unit of ``unit``; 0 disables the term."""
    unit: Literal["raw", "gradient_share"] = "raw"
    """``raw`` multiplies the loss by ``weight``. ``gradient_share`` scales the loss so that the norm of its gradient at
    the student's neck is ``weight`` times that of the task loss, by a moving mean of the ratio of both norms from the
    start of the term. Such weights are comparable between terms, detectors and data sets. The metrics ``share/<term>``
    and ``share_asked/<term>`` are the delivered share and the asked one."""

    compares_heads: ClassVar[bool] = False
    """True for a term that compares outputs of the heads, which must then have the same prediction sites."""


class LocalTermSettings(TermSettings):
    """Settings of the terms that the robust filter can weight."""

    robust: bool = True
    """Weight instances by ``distillation.filter``."""


class GlobalKnowledgeSettings(TermSettings):
    """Alignment of the representations of student and teacher on the prototypes."""

    weight: float = Field(5.0, ge=0)
    """Weight of the term, in the unit of ``unit``; 0 disables the term."""
    at: Literal["instances", "cells"] = "instances"
    """Represent the pooled feature of each ground-truth box, as in the paper, or each cell of the feature maps."""
    representation: Literal["cosine", "coefficient"] = "cosine"
    """A feature as its cosine similarities to the prototypes, or as its coefficients in a combination of them."""
    classes: Literal["all", "own"] = "all"
    """Represent an instance on the prototypes of all classes, or of its own class. ``at: cells`` needs ``all``."""
    form: Literal["smooth_l1", "divergence"] = "smooth_l1"
    """Loss between two representations: smooth L1, as in the paper, or the divergence of the distributions over
    prototypes."""
    temperature: float = Field(0.1, gt=0)
    """Temperature of the distributions over prototypes; only for ``form: divergence``."""
    space: Literal["own", "teacher"] = "own"
    """Represent the student on its own prototypes, as in the paper, or on the teacher's through an adapter."""
    levels: Literal["all", "own"] = "all"
    """Pool a box on all levels, or on the level of its size only."""
    base_size_px: float | None = Field(None, gt=0)
    """As ``local_knowledge.base_size_px``, in pixels; only for ``levels: own``."""
    background_weight: float = Field(0.0, ge=0)
    """Weight of the cells outside of boxes; only for ``at: cells``."""

    @model_validator(mode="after")
    def _cells_have_no_class(self) -> Self:
        if self.at == "cells" and self.classes == "own":
            raise ValueError("at: cells needs classes: all, because a cell has no class")
        return self


class LocalKnowledgeSettings(LocalTermSettings):
    """Imitation of the teacher's feature maps, with separate losses for foreground and background."""

    weight: float = Field(1.0, ge=0)
    """Weight of the term, in the unit of ``unit``; 0 disables the term."""
    background_ratio: float = Field(4.0, ge=0)
    """Weight of the background relative to the foreground."""
    average: Literal["levels", "cells"] = "levels"
    """Take the mean over the cells of each level and then over ``levels``, or the mean over the ``cells`` of all levels
    at once, so that a level counts by its cells: in the foreground by those inside boxes that belong to it."""
    adapter: Adapter = "conv1x1"
    """Layer that maps student channels to teacher channels; ``identity`` needs equal channels."""
    base_size_px: float | None = Field(None, gt=0)
    """Boxes with a side of 1 to 2 times this many pixels belong to the level of stride 4, boxes of 2 to 4 times to
    stride 8, and so on; smaller boxes belong to the finest level, larger ones to the coarsest. null is the value of the
    student's family: 56 for two-stage detectors, as in the paper; 16 times ``anchor_scale`` for RetinaNet, 25 times for
    FCOS; 0.035 times ``input_size_px`` for SSD, 0.0375 times for SSDlite."""


class SoftLabelsSettings(LocalTermSettings):
    """Imitation of the teacher's class scores at the student's prediction sites: anchors, cells or proposals."""

    compares_heads = True
    weight: float = Field(1.0, ge=0)
    """Weight of the term, in the unit of ``unit``; 0 disables the term."""
    temperature: float = Field(2.0, gt=0)
    """Temperature of the class scores."""
    reduction: Literal["batchmean", "mean"] = "batchmean"
    """Divide the sum of the losses by the number of positive sites (``batchmean``) or of positive sites times classes
    (``mean``)."""
    sites: Literal["auto", "all", "positive"] = "auto"
    """The sites that are compared: those matched to a ground-truth box (``positive``), or ``all`` anchors or cells of a
    one-stage detector, weighted by ``focus``. ``auto`` is ``all`` for sigmoid scores (RetinaNet, FCOS) and ``positive``
    for softmax scores (SSD, SSDlite, two stages)."""
    focus: float = Field(1.0, ge=0)
    """Exponent of the disagreement between the two models' scores, which weights the scores of ``all`` sites; 0 weights
    all alike. Must keep its default with ``sites: positive``."""

    @model_validator(mode="after")
    def _sites_use_the_focus(self) -> SoftLabelsSettings:
        if self.sites == "positive" and self.focus != type(self).model_fields["focus"].default:
            raise ValueError(
                f"distillation.soft_labels.focus = {self.focus:g}\thas no effect with sites positive; remove it, or "
                "use sites all"
            )
        return self


class PkdSettings(LocalTermSettings):
    """PKD: imitation of the teacher's feature maps after each channel is standardized."""

    adapter: Adapter = "conv1x1"
    """Layer that maps student channels to teacher channels; ``identity`` needs equal channels."""


class FgdSettings(LocalTermSettings):
    """FGD: imitation of the feature maps weighted by the teacher's attention, and of the relations between cells."""

    temperature: float = Field(0.5, gt=0)
    """Temperature of the teacher's attention; a low one concentrates it on few cells and channels."""
    background_ratio: float = Field(0.5, ge=0)
    """Weight of the background relative to the foreground."""
    attention_ratio: float = Field(1.0, ge=0)
    """Weight of the imitation of the attention relative to the foreground."""
    relation_ratio: float = Field(1.0, ge=0)
    """Weight of the relations between cells relative to the foreground."""
    adapter: Adapter = "conv1x1"
    """Layer that maps student channels to teacher channels; ``identity`` needs equal channels."""


class MgdSettings(LocalTermSettings):
    """MGD: a small network generates the teacher's feature maps from randomly masked ones of the student."""

    masked_share: float = Field(0.65, ge=0, lt=1)
    """Fraction of the cells that are masked. The paper has 0.65 for one-stage and 0.5 for two-stage detectors."""
    adapter: Adapter = "conv1x1"
    """Layer that maps student channels to teacher channels; ``identity`` needs equal channels."""


class MimicSettings(LocalTermSettings):
    """Mimic (FitNets): mean squared error to the teacher's feature maps."""

    regions: Literal["whole", "boxes"] = "whole"
    """Compare all cells of the feature maps, or the pooled features of ground-truth boxes."""
    adapter: Adapter = "conv1x1"
    """Layer that maps student channels to teacher channels; ``identity`` needs equal channels."""


class FgfiSettings(LocalTermSettings):
    """FGFI: imitation of the teacher's feature maps at the cells with anchors near a ground-truth box."""

    threshold: float = Field(0.5, ge=0, lt=1)
    """A cell is near a box when one of its anchors has more than this fraction of the largest IoU of any anchor of the
    level with the box. Larger values select fewer cells."""
    anchor_strides: float = Field(4.0, gt=0)
    """Side of the smallest square anchor of a cell, in strides of its level; 4 in RetinaNet. Also used for families
    without anchors."""
    adapter: Adapter = "conv1x1"
    """Layer that maps student channels to teacher channels; ``identity`` needs equal channels."""


class RkdSettings(LocalTermSettings):
    """RKD: imitation of the distances and angles between the features of instances."""

    angle_ratio: float = Field(2.0, ge=0)
    """Weight of the angles relative to the distances."""
    max_instances: int = Field(64, ge=2)
    """Number of instances of a batch that are used, the first ones: triples of them are compared."""


class CwdSettings(LocalTermSettings):
    """CWD: imitation of the spatial distribution of each channel of the teacher's feature maps."""

    temperature: float = Field(4.0, gt=0)
    """Temperature of the softmax over positions; a low one concentrates it on few positions."""
    adapter: Adapter = "conv1x1"
    """Layer that maps student channels to teacher channels; ``identity`` needs equal channels."""


class LocalizationSettings(LocalTermSettings):
    """Imitation of the teacher's boxes at the student's prediction sites: anchors, cells or proposals."""

    compares_heads = True
    form: Literal["giou", "smooth_l1", "bounded"] = "giou"
    """Loss between two boxes: ``giou``; ``smooth_l1`` between their sides, in units of the ground-truth box; or
    ``bounded``, the same where the student is not already better than the teacher by ``margin``."""
    margin: float = Field(0.0, ge=0)
    """Margin by which the student must be better before ``bounded`` ignores a box: a sum over the four sides, in
    units of the ground-truth box. Must keep its default with the other forms."""
    sites: Literal["positive", "all"] = "positive"
    """The sites that are compared: those matched to a ground-truth box, or ``all`` anchors or cells of a one-stage
    detector, weighted by ``site_weight``. With ``all``, ``smooth_l1`` is in units of the teacher's box, and ``bounded``
    is not possible."""
    site_weight: Literal["disagreement", "score"] = "disagreement"
    """Weight of a site with ``sites: all``: the largest difference between the two models' scores of a class, or the
    teacher's largest score of a class. Must keep its default with ``sites: positive``."""

    @model_validator(mode="after")
    def _form_uses_the_margin(self) -> LocalizationSettings:
        if self.form != "bounded" and self.margin != type(self).model_fields["margin"].default:
            raise ValueError(
                f"distillation.localization.margin = {self.margin:g}\thas no effect with form {self.form}; remove it, "
                "or use form bounded"
            )
        return self

    @model_validator(mode="after")
    def _sites_have_what_they_need(self) -> LocalizationSettings:
        if self.sites == "all" and self.form == "bounded":
            raise ValueError(
                "distillation.localization.form = bounded\tneeds sites positive, because it compares with the "
                "ground-truth box of a site"
            )
        if self.sites == "positive" and self.site_weight != type(self).model_fields["site_weight"].default:
            raise ValueError(
                f"distillation.localization.site_weight = {self.site_weight}\thas no effect with sites positive; "
                "remove it, or use sites all"
            )
        return self
