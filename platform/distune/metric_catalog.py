"""Every metric that distune logs: its name, unit, meaning, and the module that computes it.

``docs/make_metrics_table.py`` writes the table of ``docs/mlflow.md`` from it.
"""

from __future__ import annotations

import dataclasses
import enum
import re

_PLACEHOLDERS = {
    "metric": r"(?:VOC(?:07)?_)?AP.*",
    "class": r".+",
    "loss": r"\w+",
    "term": r"(?!task$|total$)[a-z]\w*",
    "tag": r"\w+",
    "model": r"(?:student|teacher)",
    "stride": r"\d+",
}


class Logged(enum.StrEnum):
    """Time at which a metric is logged, and the run that receives it."""

    EACH_EPOCH = "of a trial, at the end of each epoch"
    TRIAL_END = "of a trial, once when it has ended"
    STUDY = "of the study"


@dataclasses.dataclass(frozen=True)
class MetricEntry:
    """A metric, or a family of metrics.

    Attributes:
        name: as in reports and in MLflow; ``<term>`` and the like stand for one name each.
        unit: of its values.
        meaning: what it measures.
        module: the module of distune that computes it.
        logged: when and where.
    """

    name: str
    unit: str
    meaning: str
    module: str
    logged: Logged = Logged.EACH_EPOCH

    def matches(self, name: str) -> bool:
        """Return whether a metric name belongs to this entry."""
        parts = re.split(r"<(\w+)>", self.name)
        pattern = "".join(_PLACEHOLDERS[part] if index % 2 else re.escape(part) for index, part in enumerate(parts))
        return re.fullmatch(pattern, name) is not None


_SCORE = "training.evaluation.predict_and_score"
_OBJECTIVE = "distillation.objective"
_CLIPPING = "training.clipped_backward"
_PROTOTYPES = "distillation.prototypes.prototype_report"
_GEOMETRY = "distillation.feature_geometry"
_TIMING = "training.step_timing"
_COSTS = "training.evaluation.model_costs"
_CONFIRMATION = "confirmation.confirmation_session"
_ABLATION = "confirmation.ablation_session"

METRICS = (
    MetricEntry("search/AP", "points", "COCO AP on the search split, mean over IoU 0.50 to 0.95", _SCORE),
    MetricEntry("search/AP50", "points", "COCO AP at IoU 0.50", _SCORE),
    MetricEntry("search/AP75", "points", "COCO AP at IoU 0.75", _SCORE),
    MetricEntry("search/AP_small", "points", "COCO AP of boxes below 32 x 32 pixels", _SCORE),
    MetricEntry("search/AP_medium", "points", "COCO AP of boxes from 32 x 32 to 96 x 96 pixels", _SCORE),
    MetricEntry("search/AP_large", "points", "COCO AP of boxes above 96 x 96 pixels", _SCORE),
    MetricEntry("search/AP/<class>", "points", "COCO AP of one class", _SCORE),
    MetricEntry("search/VOC_AP50", "points", "Pascal VOC AP at IoU 0.50, difficult boxes ignored", _SCORE),
    MetricEntry("search/VOC07_AP50", "points", "the same as defined for VOC2007: mean precision at 11 recalls", _SCORE),
    MetricEntry("loss/task", "loss", "the detector's own loss, mean over the epoch's steps", "training.student"),
    MetricEntry("loss/total", "loss", "task loss plus all terms as weighted", "training.student"),
    MetricEntry("loss/<term>", "loss", "a distillation term times its weight", _OBJECTIVE),
    MetricEntry("task/<loss>", "loss", "one part of the task loss, by torchvision's name", "training.student"),
    MetricEntry("weight/<term>", "factor", "the factor of a term, after the schedule and gradient_share", _OBJECTIVE),
    MetricEntry(
        "share/<term>",
        "fraction",
        "gradient norm of a weighted term on the student's neck, divided by that of the task loss; geometric mean over "
        "the measured steps",
        _OBJECTIVE,
    ),
    MetricEntry(
        "share_asked/<term>",
        "fraction",
        "the share that weight and schedule ask for; only with `unit: gradient_share`",
        _OBJECTIVE,
    ),
    MetricEntry(
        "gradient_cosine/<term>",
        "cosine",
        "between the gradients of a term and of the task loss on the student's neck, mean over the measured steps",
        _OBJECTIVE,
    ),
    MetricEntry(
        "gradient/norm",
        "number",
        "norm of the gradient that `gradient_clip_norm` limits, before clipping; of the total without clipping",
        _CLIPPING,
    ),
    MetricEntry("gradient/clipped", "fraction", "steps whose gradient was scaled down", _CLIPPING),
    MetricEntry(
        "gradient/distillation_clipped",
        "fraction",
        "steps whose gradient of all terms together was scaled down; only where it is clipped apart",
        _CLIPPING,
    ),
    MetricEntry(
        "gradient/distillation_norm",
        "number",
        "norm of the gradient of all terms together; before clipping; only where the task's is clipped apart",
        _CLIPPING,
    ),
    MetricEntry("filter/kept_global", "fraction", "mean weight of an instance in the global term", _OBJECTIVE),
    MetricEntry("filter/kept_local", "fraction", "mean weight of an instance in the local terms", _OBJECTIVE),
    MetricEntry("filter/without_prototypes", "fraction", "instances whose class has no prototypes", _OBJECTIVE),
    MetricEntry("filter/discrepancy", "number", "mean discrepancy between student and teacher instances", _OBJECTIVE),
    MetricEntry(
        "filter/auc_<tag>",
        "fraction",
        "area under the ROC curve: discrepancy of instances with the tag against those without any",
        "distillation.filter_auc",
    ),
    MetricEntry(
        "filter/weight_<tag>",
        "fraction",
        "mean weight in the local terms of instances with the tag; `tagged` any tag, `untagged` none",
        "distillation.filter_auc",
    ),
    MetricEntry(
        "features/class_gap_<model>/<stride>",
        "cosine",
        "mean cosine of instances of the same class minus that of different classes, on one level",
        _GEOMETRY,
    ),
    MetricEntry(
        "features/mean_cosine_<model>/<stride>", "cosine", "mean cosine of two instances on one level", _GEOMETRY
    ),
    MetricEntry(
        "features/effective_rank_<model>/<stride>",
        "number",
        "number of directions that instances spread over on one level: 1 if all point the same way",
        _GEOMETRY,
    ),
    MetricEntry("prototypes/instances", "count", "instances that prototypes were selected from", _PROTOTYPES),
    MetricEntry("prototypes/per_class", "count", "mean prototypes per class and level", _PROTOTYPES),
    MetricEntry("prototypes/classes_without", "count", "classes without prototypes on some level", _PROTOTYPES),
    MetricEntry(
        "prototypes/classes_fell_back",
        "count",
        "classes where no instance passed the density filter on some level",
        _PROTOTYPES,
    ),
    MetricEntry("prototypes/kept_by_density", "fraction", "instances that passed the density filter", _PROTOTYPES),
    MetricEntry("prototypes/repeats", "fraction", "prototypes that select an instance again", _PROTOTYPES),
    MetricEntry(
        "prototypes/reconstruction_error",
        "fraction",
        "squared length of the unit features that the prototypes of their class do not rebuild",
        _PROTOTYPES,
    ),
    MetricEntry(
        "prototypes/coverage_student",
        "cosine",
        "similarity of an instance to its nearest prototype, mean, student's features",
        _PROTOTYPES,
    ),
    MetricEntry("prototypes/coverage_teacher", "cosine", "the same with the teacher's features", _PROTOTYPES),
    MetricEntry("prototypes/density_estimated", "fraction", "instances with a density from a sample", _PROTOTYPES),
    MetricEntry(
        "prototypes/density_error", "fraction", "standard error of those densities, largest over classes", _PROTOTYPES
    ),
    MetricEntry("optimizer/learning_rate", "number", "learning rate after the last step", "training.student"),
    MetricEntry(
        "stream/epoch",
        "count",
        "epoch of the stream of batches that was trained on; not the trial's own where it joined other trials later",
        "training.cohort",
    ),
    MetricEntry(
        "time/epoch_s",
        "s",
        "training and evaluation of one epoch; with those of the trials that were trained side by side",
        "training.cohort",
    ),
    MetricEntry("time/load_s", "s", "waiting for batches, shared by the trials of a cohort", _TIMING),
    MetricEntry("time/teacher_s", "s", "forward passes of the teacher, shared by the trials of a cohort", _TIMING),
    MetricEntry("time/student_s", "s", "training steps of this student alone", _TIMING),
    MetricEntry(
        "time/evaluate_s", "s", "evaluation of this student, and loading the images, once for a cohort", _TIMING
    ),
    MetricEntry("speed/images_per_s", "1/s", "training images per second of the cohort, without evaluation", _TIMING),
    MetricEntry(
        "speed/cached_batches",
        "0 to 1",
        "fraction of the batches whose teacher's maps were kept, with data.augmentation.copies",
        _TIMING,
    ),
    MetricEntry(
        "memory/peak_mb", "MB", "peak of the epoch on a GPU; on the CPU the peak of the process so far", _TIMING
    ),
    MetricEntry("student/parameters", "count", "parameters of the student (`search.costs`)", _COSTS),
    MetricEntry("student/flops", "count", "floating-point operations of a forward pass of one image", _COSTS),
    MetricEntry("student/latency_ms", "ms", "median time of a forward pass of one image", _COSTS),
    MetricEntry(
        "best/<metric>", "points", "score of the best epoch, to sort trials by", "tracking.values", Logged.TRIAL_END
    ),
    MetricEntry(
        "gain/<metric>",
        "points",
        "the same minus the mean of the finished controls; only for trials that had the whole budget",
        "study.trial_gains",
        Logged.TRIAL_END,
    ),
    MetricEntry("search/<metric>", "points", "score of the best trial", "study.session", Logged.STUDY),
    MetricEntry("teacher/<metric>", "points", "score of the teacher on the search split", "api.study", Logged.STUDY),
    MetricEntry(
        "gain/<metric>",
        "points",
        "best trial minus control; after a confirmation, its gain",
        "study.session",
        Logged.STUDY,
    ),
    MetricEntry("gain/low", "points", "lower end of the confirmed gain's interval", _CONFIRMATION, Logged.STUDY),
    MetricEntry("gain/high", "points", "upper end of the interval", _CONFIRMATION, Logged.STUDY),
    MetricEntry(
        "confirm/<metric>",
        "points",
        "confirmed trial on the search split, mean over seeds",
        _CONFIRMATION,
        Logged.STUDY,
    ),
    MetricEntry(
        "test/<metric>", "points", "confirmed trial on the test split, mean over seeds", _CONFIRMATION, Logged.STUDY
    ),
    MetricEntry(
        "ablation/<term>",
        "points",
        "effect of a term: best trial minus itself without the term, mean over seeds, search split",
        _ABLATION,
        Logged.STUDY,
    ),
    MetricEntry("test/control_<metric>", "points", "its control on the test split", _CONFIRMATION, Logged.STUDY),
)


def to_markdown() -> str:
    """Return names, units and meanings as Markdown tables, one for each value of ``Logged``."""
    lines: list[str] = []
    for logged in Logged:
        lines += [f"Metrics {logged}:", "", "| metric | unit | meaning |", "|---|---|---|"]
        for entry in METRICS:
            if entry.logged is logged:
                lines.append(f"| `{entry.name}` | {entry.unit} | {entry.meaning} |")
        lines.append("")
    return "\n".join(lines).rstrip()
