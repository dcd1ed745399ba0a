"""Settings of distillation: prototypes (PGM), robust filtering (RDM), the terms, their schedule, and the presets.

Source of the method: Tang et al., "Distilling Object Detectors with Global Knowledge", ECCV 2022, arXiv 2210.09022.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from distune.config.base import Settings
from distune.config.paths import merge
from distune.config.terms import (
    CwdSettings,
    FgdSettings,
    FgfiSettings,
    GlobalKnowledgeSettings,
    LocalizationSettings,
    LocalKnowledgeSettings,
    MgdSettings,
    MimicSettings,
    PkdSettings,
    RkdSettings,
    SoftLabelsSettings,
    TermSettings,
)


class FeatureQueueSettings(Settings):
    """Features come from the ordinary training batches: no further forward pass."""

    kind: Literal["queue"]
    max_instances: int = Field(512, ge=2)
    """How many instances of a class are kept, the latest ones."""


class FeaturePassSettings(Settings):
    """Features come from a feature pass over training images with both models before the prototypes are made."""

    kind: Literal["feature_pass"]
    max_images: int = Field(800, ge=1)
    """How many images per class at most."""


SourceSettings = Annotated[FeatureQueueSettings | FeaturePassSettings, Field(discriminator="kind")]


class PrototypeSettings(Settings):
    """The prototype generation module (PGM)."""

    per_class: int = Field(10, ge=1)
    """Prototypes of each class, on each level."""
    selector: Literal["pursuit", "orthogonal", "kmeans", "random"] = "pursuit"
    """How they are chosen: the paper's joint matching pursuit, the same with all coefficients refitted after each pick,
    the instances nearest to the centres of k-means clusters, or a random draw."""
    alpha: float = Field(10.0, ge=0)
    """Ties the coefficients of the student's and the teacher's space to each other. ``kmeans`` and ``random`` have no
    coefficients: with them it must stay at its default."""
    unique: bool = True
    """Select each instance at most once. Only ``pursuit`` can select one again."""
    refresh_epochs: int = Field(1, ge=0)
    """Prototypes are made anew every so many epochs; 0 makes them once."""
    density_bandwidth: float = Field(0.1, gt=0)
    """Width of the density estimate, in cosine distance."""
    density_quantile: float = Field(0.4, ge=0, lt=1)
    """Instances at or below this quantile of density, in either space, cannot become prototypes; 0 filters none."""
    min_box_side_px: float = Field(30.0, ge=0)
    """Boxes with a side this short or shorter cannot become prototypes, in pixels of the resized image."""
    source: SourceSettings = FeatureQueueSettings(kind="queue")

    @model_validator(mode="after")
    def _selector_uses_what_is_set(self) -> PrototypeSettings:
        default_alpha = type(self).model_fields["alpha"].default
        problems = []
        if self.selector in ("kmeans", "random") and self.alpha != default_alpha:
            problems.append(
                f"distillation.prototypes.alpha = {self.alpha:g}\thas no effect with selector {self.selector}, which "
                "has no coefficients to tie; remove it, or use selector pursuit or orthogonal"
            )
        if self.selector != "pursuit" and not self.unique:
            problems.append(
                f"distillation.prototypes.unique = false\thas no effect with selector {self.selector}, which never "
                "repeats an instance; set it to true, or use selector pursuit"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self


class FilterSettings(Settings):
    """The weight of an instance, from how differently student and teacher see it (RDM)."""

    discrepancy: Literal["max_cosine", "mean_cosine", "coefficient"] = "mean_cosine"
    weight: Literal["linear", "gaussian", "threshold", "quantile", "uniform"] = "gaussian"
    """How a discrepancy becomes a weight; ``uniform`` filters nothing."""
    global_threshold: float = Field(0.2, gt=0)
    """For the global knowledge term. ``linear``: the discrepancy at which the weight reaches 0. ``gaussian``: sigma.
    ``threshold``: the largest discrepancy kept. ``quantile``: the share of a batch's instances that is dropped."""
    local_threshold: float = Field(0.2, gt=0)
    """The same for the local terms."""

    @model_validator(mode="after")
    def _quantile_drops_a_share(self) -> FilterSettings:
        thresholds = {"global_threshold": self.global_threshold, "local_threshold": self.local_threshold}
        problems = [
            f"distillation.filter.{name} = {value:g}\tmust be less than 1 when filter.weight is quantile: "
            "it is the share of a batch's instances that is dropped"
            for name, value in thresholds.items()
            if self.weight == "quantile" and value >= 1
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self


_DECOUPLED: dict[str, Any] = {
    "pooling": "roi_align",
    "standardise": "level",
    "prototypes": {"unique": True, "source": {"kind": "queue"}},
    "filter": {"discrepancy": "mean_cosine", "weight": "uniform", "global_threshold": 0.2, "local_threshold": 0.2},
    "global_knowledge": {"weight": 0.0, "unit": "gradient_share"},
    "local_knowledge": {"weight": 5.0, "unit": "raw", "background_ratio": 4.0},
    "soft_labels": {"weight": 0.3, "unit": "raw", "temperature": 2.0, "normaliser": "batchmean"},
    "decay": "linear",
}
_GLOBAL = {"global_knowledge": {"weight": 0.3, "unit": "gradient_share"}}
_FILTER = {"filter": {"weight": "gaussian"}}
PRESETS: dict[str, dict[str, Any]] = {
    # Maps of one scale and a little of soft labels. Makes no prototypes.
    "decoupled": _DECOUPLED,
    # The same with the paper's global loss: what has shown the surest gain.
    "decoupled_global": merge(_DECOUPLED, _GLOBAL),
    # All that the paper adds to it: the robust filter as well.
    "gkd_global": merge(_DECOUPLED, merge(_GLOBAL, _FILTER)),
    # What the authors' released code computes.
    "gkd_released": {
        "pooling": "crop",
        "standardise": "none",
        "prototypes": {"unique": False, "source": {"kind": "feature_pass"}},
        "filter": {"discrepancy": "max_cosine", "weight": "linear", "global_threshold": 1.0, "local_threshold": 1.0},
        "global_knowledge": {"weight": 0.0, "unit": "raw"},
        "local_knowledge": {"weight": 1.0, "unit": "raw", "background_ratio": 4.0, "base_size_px": 56.0},
        "soft_labels": {"weight": 1.0, "unit": "raw", "temperature": 2.0, "normaliser": "mean"},
        "decay": "linear",
    },
}
DEFAULT_PRESET: Literal["decoupled_global"] = "decoupled_global"


class DistillationSettings(Settings):
    """What the student learns from the teacher. Settings that are not given come from the preset."""

    preset: Literal["decoupled", "decoupled_global", "gkd_global", "gkd_released"] = DEFAULT_PRESET
    pooling: Literal["roi_align", "crop"] = "roi_align"
    """How an instance's feature is averaged: RoIAlign, or the mean over whole cells as the authors' release does."""
    standardise: Literal["none", "level", "channel"] = "none"
    """Scale of both models' maps where terms imitate them: as they are, or with mean 0 and variance 1, where a
    ``level`` has one scale for all its channels or each ``channel`` its own. Untrained coarse levels may be a hundred
    times as large as fine ones and then outweigh them."""
    prototypes: PrototypeSettings = PrototypeSettings()
    filter: FilterSettings = FilterSettings()
    global_knowledge: GlobalKnowledgeSettings = GlobalKnowledgeSettings()
    local_knowledge: LocalKnowledgeSettings = LocalKnowledgeSettings()
    soft_labels: SoftLabelsSettings = SoftLabelsSettings()
    pkd: PkdSettings = PkdSettings()
    fgd: FgdSettings = FgdSettings()
    mgd: MgdSettings = MgdSettings()
    mimic: MimicSettings = MimicSettings()
    fgfi: FgfiSettings = FgfiSettings()
    rkd: RkdSettings = RkdSettings()
    cwd: CwdSettings = CwdSettings()
    localization: LocalizationSettings = LocalizationSettings()
    decay: Literal["linear", "cosine", "constant"] = "linear"
    """How the weights of all terms change from ``start_epoch`` to ``stop_epoch``."""
    start_epoch: int = Field(0, ge=0)
    """Epochs without distillation before it starts."""
    stop_epoch: int | None = Field(None, ge=1)
    """The epoch from which there is no distillation; None is the end of training."""

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        without_weight = [
            f"distillation.{name}.weight\tis missing: say it with its unit, since the preset's may be in another"
            for name, given in values.items()
            if isinstance(given, dict) and "unit" in given and "weight" not in given
        ]
        if without_weight:
            raise ValueError("\n".join(without_weight))
        preset = PRESETS.get(values.get("preset", DEFAULT_PRESET))
        return values if preset is None else merge(preset, values)

    @model_validator(mode="after")
    def _epochs_in_order(self) -> DistillationSettings:
        if self.stop_epoch is not None and self.stop_epoch <= self.start_epoch:
            raise ValueError(f"stop_epoch = {self.stop_epoch} must be after start_epoch = {self.start_epoch}")
        return self

    @property
    def terms(self) -> dict[str, TermSettings]:
        """The settings of every term, by its name, those without weight among them."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in values if isinstance(value, TermSettings)}

    @property
    def is_active(self) -> bool:
        """Whether any term has a weight. Without one, training is plain and needs no teacher."""
        return any(term.weight > 0 for term in self.terms.values())
