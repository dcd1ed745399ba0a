"""Settings of distillation: prototypes (PGM), robust filter (RDM), terms, their schedule, and presets.

The method is from Tang et al., "Distilling Object Detectors with Global Knowledge", ECCV 2022, arXiv 2210.09022.
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
    """Features of the latest training batches. Needs no extra forward pass."""

    kind: Literal["queue"] = "queue"
    max_instances: int = Field(512, ge=2)
    """Number of instances per class that are kept, the latest ones."""


class FeaturePassSettings(Settings):
    """Features of a pass over training images with both models, before the prototypes are made."""

    kind: Literal["feature_pass"] = "feature_pass"
    max_images: int = Field(800, ge=1)
    """Largest number of images per class."""


SourceSettings = Annotated[FeatureQueueSettings | FeaturePassSettings, Field(discriminator="kind")]


class PrototypeSettings(Settings):
    """Prototypes: the prototype generation module (PGM) of the paper."""

    per_class: int = Field(10, ge=1)
    """Number of prototypes per class and level."""
    selector: Literal["pursuit", "orthogonal", "kmeans", "random"] = "pursuit"
    """The selection of prototypes: joint matching pursuit (``pursuit``, the paper), orthogonal matching pursuit, which
    refits all coefficients after each selection, the instances nearest to k-means centers, or at random."""
    alpha: float = Field(10.0, ge=0)
    """Penalty on the difference between the coefficients of student and teacher. ``kmeans`` and ``random`` have no
    coefficients; with them it must keep its default."""
    unique: bool = True
    """Select each instance at most once. Only ``pursuit`` can select an instance again."""
    refresh_epochs: int = Field(1, ge=0)
    """Number of epochs after which prototypes are selected again; 0 selects them once. Except with 1, the features of
    prototypes follow the student: they are replaced whenever their instances occur in a training batch."""
    density_bandwidth: float = Field(0.1, gt=0)
    """Bandwidth of the density estimate, in cosine distance."""
    density_quantile: float = Field(0.4, ge=0, lt=1)
    """Instances at or below this quantile of density, for student or teacher, cannot become prototypes; 0 keeps all."""
    min_box_side_px: float = Field(30.0, ge=0)
    """Boxes with a side of this length or less cannot become prototypes, in pixels of the student's resized image."""
    source: SourceSettings = FeatureQueueSettings()
    """The source of the features of instances."""

    @model_validator(mode="after")
    def _selector_has_the_settings(self) -> PrototypeSettings:
        default_alpha = type(self).model_fields["alpha"].default
        problems = []
        if self.selector in ("kmeans", "random") and self.alpha != default_alpha:
            problems.append(
                f"distillation.prototypes.alpha = {self.alpha:g}\thas no effect with selector {self.selector}, which "
                "has no coefficients; remove it, or use selector pursuit or orthogonal"
            )
        if self.selector != "pursuit" and not self.unique:
            problems.append(
                f"distillation.prototypes.unique = false\thas no effect with selector {self.selector}, which "
                "never selects an instance again; set it to true, or use selector pursuit"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self


class FilterSettings(Settings):
    """The robust filter: weights of instances by the discrepancy of student and teacher (RDM of the paper)."""

    discrepancy: Literal["max_cosine", "mean_cosine", "coefficient"] = "mean_cosine"
    """Difference between student and teacher: of their largest cosine similarities to a prototype (``max_cosine``), of
    all similarities on average (``mean_cosine``), or the distance between their coefficients (``coefficient``)."""
    weight: Literal["linear", "gaussian", "threshold", "quantile", "uniform"] = "gaussian"
    """Function from discrepancy to weight; ``uniform`` disables the filter."""
    global_threshold: float = Field(0.2, gt=0)
    """Threshold for the global knowledge term: the discrepancy with weight 0 (``linear``), the standard deviation
    (``gaussian``), the largest discrepancy that is kept (``threshold``), or the fraction of the instances of a batch
    that is dropped (``quantile``)."""
    local_threshold: float = Field(0.2, gt=0)
    """The same for the other terms."""

    @model_validator(mode="after")
    def _quantile_drops_a_fraction(self) -> FilterSettings:
        thresholds = {"global_threshold": self.global_threshold, "local_threshold": self.local_threshold}
        problems = [
            f"distillation.filter.{name} = {value:g}\tmust be less than 1 when filter.weight is quantile: "
            "it is the fraction of the instances of a batch that is dropped"
            for name, value in thresholds.items()
            if self.weight == "quantile" and value >= 1
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self


_DECOUPLED: dict[str, Any] = {
    "pooling": "roi_align",
    "standardize": "level",
    "prototypes": {"unique": True, "source": {"kind": "queue"}},
    "filter": {"discrepancy": "mean_cosine", "weight": "uniform", "global_threshold": 0.2, "local_threshold": 0.2},
    "global_knowledge": {"weight": 0.0, "unit": "gradient_share"},
    "local_knowledge": {"weight": 1.0, "unit": "gradient_share", "background_ratio": 4.0},
    "soft_labels": {"weight": 1.0, "unit": "gradient_share", "temperature": 1.0, "reduction": "batchmean"},
    "decay": "linear",
}
_GLOBAL = {"global_knowledge": {"weight": 0.3, "unit": "gradient_share"}}
_FILTER = {"filter": {"weight": "gaussian"}}
PRESETS: dict[str, dict[str, Any]] = {
    # Imitation of standardized feature maps, and soft labels. Makes no prototypes.
    "decoupled": _DECOUPLED,
    # The same with the global loss of the paper.
    "decoupled_global": merge(_DECOUPLED, _GLOBAL),
    # The same with the robust filter of the paper.
    "gkd_global": merge(_DECOUPLED, merge(_GLOBAL, _FILTER)),
    # The losses and raw weights of the authors' code; docs/method.md lists the differences.
    "gkd_raw": {
        "pooling": "crop",
        "standardize": "none",
        "prototypes": {"unique": False, "source": {"kind": "feature_pass"}},
        "filter": {"discrepancy": "max_cosine", "weight": "linear", "global_threshold": 1.0, "local_threshold": 1.0},
        "global_knowledge": {"weight": 0.0, "unit": "raw"},
        "local_knowledge": {"weight": 1.0, "unit": "raw", "background_ratio": 4.0, "base_size_px": 56.0},
        "soft_labels": {
            "weight": 1.0,
            "unit": "raw",
            "temperature": 2.0,
            "reduction": "mean",
            "sites": "positive",
        },
        "decay": "linear",
    },
}
DEFAULT_PRESET: Literal["decoupled"] = "decoupled"


class DistillationSettings(Settings):
    """Distillation: the losses that transfer knowledge from the teacher. The preset gives all settings left out."""

    preset: Literal["decoupled", "decoupled_global", "gkd_global", "gkd_raw"] = DEFAULT_PRESET
    """Default of all other settings of distillation."""
    pooling: Literal["roi_align", "crop"] = "roi_align"
    """Pooling of an instance's feature: RoIAlign, or the mean over whole cells as in the authors' code."""
    standardize: Literal["none", "level", "channel"] = "none"
    """Scale the feature maps of both models to mean 0 and variance 1 before terms compare them: per ``level``, per
    ``channel``, or not at all. Without it, untrained coarse levels may have values a hundred times as large as fine
    levels and dominate the loss."""
    center: Literal["none", "maps", "instances"] = "none"
    """Subtract a running mean from the features of each level and model before their directions are compared: in
    prototypes, representations, the filter and global knowledge. The mean over all cells of the images (``maps``), or
    the mean over classes of the mean feature of their boxes (``instances``). ``maps`` needs ``prototypes.source.kind:
    queue``."""
    min_box_cells: float = Field(0.0, ge=0)
    """A box counts on a level where the root of its area is at least this many cells, and always on the finest level.
    On the other levels it does not become a prototype and has no part in the filter and in global knowledge. 0 counts
    all boxes on all levels."""
    prototypes: PrototypeSettings = PrototypeSettings()
    """Prototypes of the classes, for global knowledge and the robust filter."""
    filter: FilterSettings = FilterSettings()
    """Weights of instances by the discrepancy of student and teacher."""
    global_knowledge: GlobalKnowledgeSettings = GlobalKnowledgeSettings()
    """The global loss of the paper, on prototypes."""
    local_knowledge: LocalKnowledgeSettings = LocalKnowledgeSettings()
    """Decoupled imitation of feature maps."""
    soft_labels: SoftLabelsSettings = SoftLabelsSettings()
    """Imitation of class scores."""
    pkd: PkdSettings = PkdSettings()
    """PKD, for feature maps."""
    fgd: FgdSettings = FgdSettings()
    """FGD, for feature maps."""
    mgd: MgdSettings = MgdSettings()
    """MGD, for feature maps."""
    mimic: MimicSettings = MimicSettings()
    """Mimic, for feature maps."""
    fgfi: FgfiSettings = FgfiSettings()
    """FGFI, for feature maps."""
    rkd: RkdSettings = RkdSettings()
    """RKD, for relations between instances."""
    cwd: CwdSettings = CwdSettings()
    """CWD, for feature maps."""
    localization: LocalizationSettings = LocalizationSettings()
    """Imitation of boxes."""
    decay: Literal["linear", "cosine", "constant"] = "linear"
    """Schedule of the weights of all terms from ``start_epoch`` to ``stop_epoch``: to 0 linearly or along a cosine, or
    constant."""
    start_epoch: int = Field(0, ge=0)
    """Number of epochs without distillation at the start."""
    stop_epoch: int | None = Field(None, ge=1)
    """Number of epochs after which distillation stops; null is the end of training."""

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        without_weight = [
            f"distillation.{name}.weight\tis missing: give it with unit, because the preset may have another unit"
            for name, given in values.items()
            if isinstance(given, dict) and "unit" in given and "weight" not in given
        ]
        if without_weight:
            raise ValueError("\n".join(without_weight))
        name = values.get("preset", DEFAULT_PRESET)
        preset = PRESETS.get(name) if isinstance(name, str) else None
        return values if preset is None else merge(preset, values)

    @model_validator(mode="after")
    def _center_has_maps(self) -> DistillationSettings:
        if self.center == "maps" and self.prototypes.source.kind != "queue":
            raise ValueError(
                "center: maps needs prototypes.source.kind: queue, because a feature pass has no maps of the teacher; "
                "use center: instances"
            )
        return self

    @model_validator(mode="after")
    def _check_epochs(self) -> DistillationSettings:
        if self.stop_epoch is not None and self.stop_epoch <= self.start_epoch:
            raise ValueError(f"stop_epoch = {self.stop_epoch} must be more than start_epoch = {self.start_epoch}")
        return self

    @property
    def terms(self) -> dict[str, TermSettings]:
        """The settings of every term by its name, also of those with weight 0."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in values if isinstance(value, TermSettings)}

    @property
    def is_active(self) -> bool:
        """True when any term has a weight. Otherwise training needs no teacher."""
        return any(term.weight > 0 for term in self.terms.values())
