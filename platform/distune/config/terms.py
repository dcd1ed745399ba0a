"""Settings of the distillation terms. Each is a field of ``DistillationSettings`` under the name of its term."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from distune.config.base import Settings

Adapter = Literal["identity", "conv1x1", "conv3x3"]


class TermSettings(Settings):
    """What all terms share."""

    weight: float = Field(0.0, ge=0)
    """How much the term counts, in the unit of ``unit``; 0 leaves it out."""
    unit: Literal["raw", "gradient_share"] = "raw"
    """``raw`` multiplies the loss by ``weight``. ``gradient_share`` scales it so that its gradient on the student's
    neck is ``weight`` times as long as the task loss's: such weights carry over between terms, detectors and data."""

    compares_heads: ClassVar[bool] = False
    """Whether the term compares what the heads say, which must then be trained at places of the same kind."""


class LocalTermSettings(TermSettings):
    """What the terms share that can be weighted by the robust filter."""

    robust: bool = True
    """Whether instances count by the weights that ``filter`` gives them."""


class GlobalKnowledgeSettings(TermSettings):
    """Aligns student and teacher representations on the prototypes."""

    weight: float = Field(5.0, ge=0)
    at: Literal["instances", "cells"] = "instances"
    """What is represented: the pooled feature of each ground-truth box, as in the paper, or each cell of the maps."""
    representation: Literal["cosine", "coefficient"] = "cosine"
    classes: Literal["all", "own"] = "all"
    """Represent an instance on the prototypes of all classes, or of its own; cells only on those of all."""
    form: Literal["smooth_l1", "divergence"] = "smooth_l1"
    """How two representations are compared: prototype by prototype, as in the paper, or as distributions over them."""
    temperature: float = Field(0.1, gt=0)
    """Of the distributions over prototypes; only for ``form: divergence``."""
    space: Literal["own", "teacher"] = "own"
    """Whether the student is represented on its own prototypes, as in the paper, or through an adapter on the
    teacher's."""
    levels: Literal["all", "own"] = "all"
    """Look at a box on all levels, or on the one that its size belongs to."""
    base_size_px: float | None = Field(None, gt=0)
    """As in ``local_knowledge``; only for ``levels: own``."""
    background_weight: float = Field(0.0, ge=0)
    """Of the cells outside of boxes; only for ``at: cells``."""

    @model_validator(mode="after")
    def _nothing_is_dead(self) -> Self:
        if self.at == "cells" and self.classes == "own":
            raise ValueError("at: cells needs classes: all, since a cell has no class")
        return self


class LocalKnowledgeSettings(LocalTermSettings):
    """Imitation of the teacher's maps, decoupled into foreground and background."""

    weight: float = Field(1.0, ge=0)
    background_ratio: float = Field(4.0, ge=0)
    """Weight of the background over the foreground's."""
    adapter: Adapter = "conv1x1"
    """Turns student channels into teacher channels; ``identity`` needs equal channels."""
    base_size_px: float | None = Field(None, gt=0)
    """Boxes from this side to twice of it belong to the stride-4 level, those of the next doubling to stride 8, and so
    on. What falls below the finest level or above the coarsest belongs to that one. null deals out boxes as the
    student's family does: 56 for two-stage detectors, which is also the paper's line; 16 times ``anchor_scale`` for a
    RetinaNet, 25 times for an FCOS; 0.035 times ``input_size_px`` for an SSD and 0.0375 times for an SSDlite."""


class SoftLabelsSettings(LocalTermSettings):
    """Imitation of the teacher's class scores on the student's positive locations."""

    compares_heads = True
    weight: float = Field(1.0, ge=0)
    temperature: float = Field(2.0, gt=0)
    normaliser: Literal["batchmean", "mean"] = "batchmean"
    """``batchmean`` divides by the locations, ``mean`` by the locations and the classes."""


class PkdSettings(LocalTermSettings):
    """PKD: imitation of how each channel of the teacher's maps varies, whatever its offset and scale."""

    adapter: Adapter = "conv1x1"
    """Turns student channels into teacher channels; ``identity`` needs equal channels."""


class FgdSettings(LocalTermSettings):
    """FGD: imitation of the maps where the teacher looks, and of how it relates the cells of an image."""

    temperature: float = Field(0.5, gt=0)
    """Of the teacher's attention; a small one looks at few cells and channels."""
    background_ratio: float = Field(0.5, ge=0)
    """Weight of the background over the foreground's."""
    attention_ratio: float = Field(1.0, ge=0)
    """Weight of the imitation of the attention itself over the foreground's."""
    relation_ratio: float = Field(1.0, ge=0)
    """Weight of the relations between cells over the foreground's."""
    adapter: Adapter = "conv1x1"
    """Turns student channels into teacher channels; ``identity`` needs equal channels."""


class MgdSettings(LocalTermSettings):
    """MGD: a small network must generate the teacher's maps from the student's with cells hidden at random."""

    masked_share: float = Field(0.65, ge=0, lt=1)
    """The share of cells hidden. Its authors take 0.65 for one-stage and 0.5 for two-stage detectors."""
    adapter: Adapter = "conv1x1"
    """Turns student channels into teacher channels; ``identity`` needs equal channels."""


class MimicSettings(LocalTermSettings):
    """Mimic (FitNets): plain imitation of the teacher's maps."""

    regions: Literal["whole", "boxes"] = "whole"
    """Compare all cells of the maps, or the pooled features of ground-truth boxes."""
    adapter: Adapter = "conv1x1"
    """Turns student channels into teacher channels; ``identity`` needs equal channels."""


class FgfiSettings(LocalTermSettings):
    """FGFI: imitation of the teacher's maps at the cells whose anchors are near a ground-truth box."""

    threshold: float = Field(0.5, ge=0, lt=1)
    """A cell is near to a box when one of its anchors has more than this share of the largest IoU that any anchor of
    the level has with the box; a larger share means fewer cells."""
    anchor_strides: float = Field(4.0, gt=0)
    """Side of a cell's smallest square anchor in strides of its level; RetinaNet's is 4. Families without anchors use
    the same."""
    adapter: Adapter = "conv1x1"
    """Turns student channels into teacher channels; ``identity`` needs equal channels."""


class RkdSettings(LocalTermSettings):
    """RKD: imitation of the distances and angles between the features of instances."""

    angle_ratio: float = Field(2.0, ge=0)
    """Weight of the angles over the distances'."""
    max_instances: int = Field(64, ge=2)
    """Only the first so many instances of a batch take part: triples of them are compared."""


class CwdSettings(LocalTermSettings):
    """CWD: imitation of the places that each channel of the teacher's maps looks at."""

    temperature: float = Field(4.0, gt=0)
    """Of the softmax over positions; a small one looks at few positions."""
    adapter: Adapter = "conv1x1"
    """Turns student channels into teacher channels; ``identity`` needs equal channels."""


class LocalizationSettings(LocalTermSettings):
    """Imitation of the teacher's boxes on the student's positive locations."""

    compares_heads = True
    kind: Literal["giou", "smooth_l1", "bounded"] = "giou"
    """What is compared: overlap, the sides in units of the true box, or the sides where the student's are not already
    nearer to the truth than the teacher's."""
    margin: float = Field(0.0, ge=0)
    """How much nearer the student must be before ``bounded`` leaves it alone: a sum over four sides, in units of the
    true box. The other kinds have no margin: with them it must stay at its default."""

    @model_validator(mode="after")
    def _kind_uses_the_margin(self) -> LocalizationSettings:
        if self.kind != "bounded" and self.margin != type(self).model_fields["margin"].default:
            raise ValueError(
                f"distillation.localization.margin = {self.margin:g}\thas no effect with kind {self.kind}; remove it, "
                "or use kind bounded"
            )
        return self
