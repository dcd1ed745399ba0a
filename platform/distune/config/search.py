"""Settings of the search, its resources and its tracking."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from distune.config.base import Settings
from distune.config.several_gpus import is_whole_or_fraction
from distune.config.single_values import list_problems
from distune.config.space import MAX_PARAMETERS
from distune.records import ParameterValue


class TpeSettings(Settings):
    """Tree-structured Parzen estimator (``TPESampler`` of Optuna)."""

    kind: Literal["tpe"] = "tpe"
    startup_trials: int = Field(10, ge=0)
    """Number of random trials before the model is used."""
    seed: int = Field(0, ge=0)
    """Seed of the sampler."""


class RandomSettings(Settings):
    """Independent random values (``RandomSampler`` of Optuna)."""

    kind: Literal["random"] = "random"
    seed: int = Field(0, ge=0)
    """Seed of the sampler."""


class GpSettings(Settings):
    """Gaussian process (``GPSampler`` of Optuna), for small spaces and few, costly trials."""

    kind: Literal["gp"] = "gp"
    startup_trials: int = Field(10, ge=1)
    """Number of finished trials before the model is used; until then values are random."""
    seed: int = Field(0, ge=0)
    """Seed of the sampler."""


class CmaEsSettings(Settings):
    """Covariance matrix adaptation (Hansen, arXiv 1604.00772), for numbers only. Needs the package ``cmaes``."""

    kind: Literal["cmaes"] = "cmaes"
    startup_trials: int = Field(1, ge=1)
    """Number of finished trials before the strategy starts; until then values are random."""
    population_size: int | None = Field(None, ge=5)
    """Finished trials per generation; null is ``4 + 3 log(number of parameters)``, rounded down."""
    seed: int = Field(0, ge=0)
    """Seed of the sampler."""


class NsgaSettings(Settings):
    """NSGA-II (Deb et al., 2002), a genetic algorithm for several objectives."""

    kind: Literal["nsga2"] = "nsga2"
    population_size: int = Field(16, ge=2)
    """Finished trials per generation. The first generation is random."""
    seed: int = Field(0, ge=0)
    """Seed of the sampler."""


class AshaSettings(Settings):
    """Asynchronous successive halving (Li et al., MLSys 2020): at each rung only the best trials continue."""

    kind: Literal["asha"] = "asha"
    grace_epochs: int = Field(1, ge=1)
    """The first rung in epochs: no trial is stopped earlier."""
    reduction_factor: float = Field(3.0, gt=1)
    """One of this many trials continues at a rung; each rung has this many times the epochs of the one before."""


class MedianSettings(Settings):
    """Median stopping (Golovin et al., KDD 2017).

    A trial is stopped when its best score so far is below the median of the other trials' averages up to that epoch.
    """

    kind: Literal["median"] = "median"
    grace_epochs: int = Field(1, ge=1)
    """No trial is stopped before this number of epochs."""
    min_trials: int = Field(4, ge=1)
    """A trial is only stopped when at least this many other trials have reached the same epoch."""


class NoSchedulerSettings(Settings):
    """No early stopping: every trial trains for all epochs."""

    kind: Literal["none"] = "none"


SamplerSettings = Annotated[
    TpeSettings | RandomSettings | GpSettings | CmaEsSettings | NsgaSettings, Field(discriminator="kind")
]
SchedulerSettings = Annotated[AshaSettings | MedianSettings | NoSchedulerSettings, Field(discriminator="kind")]
Cost = Literal["parameters", "flops", "latency_ms"]


def cost_metric(cost: Cost) -> str:
    """Return the name of a cost in reports, such as ``student/latency_ms``."""
    return f"student/{cost}"


class SearchSettings(Settings):
    """The search for hyperparameters."""

    space: str = "loss_weights"
    """The search space: the name of a shipped one, or the path of a YAML file. Relative paths start from the working
    directory, else from the folder of the experiment."""
    metric: Literal["AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "VOC_AP50", "VOC07_AP50"] = "AP"
    """The metric that is maximized, on the search split. Published figures on VOC2007 mostly are ``VOC07_AP50``, at 11
    recalls; those on VOC2012 are ``VOC_AP50``, the whole area."""
    costs: list[Cost] = []
    """Costs of the student that are minimized as further objectives: its number of ``parameters``, the ``flops`` of a
    forward pass of one image, or the ``latency_ms`` of that pass on the trial's device, in milliseconds. The result is
    a Pareto front. Early stopping only uses the metric."""
    num_trials: int = Field(20, ge=1)
    """Number of trials over all sessions of the study, not counting controls."""
    controls: int = Field(1, ge=0)
    """Number of controls: trials without distillation and with the same number of epochs. The first has the seed of the
    trials. With 0 a study reports no gain before it is confirmed."""
    defaults_first: bool = True
    """Use the values of the experiment itself for the first trial."""
    initial_configurations: list[dict[str, ParameterValue]] = []
    """Configurations for the next trials, each a mapping of paths to values. The sampler chooses the others."""
    fixed: Annotated[dict[str, ParameterValue], Field(max_length=MAX_PARAMETERS)] = {}
    """Paths of the space that are not searched, with their values. A parameter with a condition has the value where its
    condition holds."""
    sampler: SamplerSettings = TpeSettings()
    """The sampler, which chooses values."""
    scheduler: SchedulerSettings = AshaSettings()
    """Early stopping of trials."""

    confirm: Literal["none", "race"] = "none"
    """The end of a session that has finished the search. ``none``: the gain is confirmed by ``distune confirm``.
    ``race``: the four best trials race under other seeds, and the last one and its control get further seeds until the
    question is decided, as by ``distune confirm --until-decided``, so that one command gives search and verdict."""

    @field_validator("fixed", "initial_configurations", mode="before")
    @classmethod
    def _values_are_single(cls, given: Any, info: ValidationInfo) -> Any:
        path = f"search.{info.field_name}"
        several = list_problems(path, given)
        for index, configuration in enumerate(given if isinstance(given, list) else []):
            several += list_problems(f"{path}.{index}", configuration)
        if several:
            raise ValueError("\n".join(several))
        return given

    storage: str | None = None
    """The storage of Optuna's trials. null is an SQLite file in the study's folder; ``journal`` is a file there that
    also works on network disks; else the URL of a database, such as ``postgresql://user@host/optuna``."""


def _check_whole(gpus: float) -> float:
    if not is_whole_or_fraction(gpus):
        raise ValueError("must be a fraction of one GPU, or a whole number")
    return gpus


GpusPerTrial = Annotated[float, Field(ge=0), AfterValidator(_check_whole)] | Literal["auto"]


def gpus_of_trial(setting: GpusPerTrial, *, found: float) -> float:
    """Resolve ``resources.gpus_per_trial``. Nothing else decides whether a trial uses a GPU.

    Args:
        setting: a number or fraction of GPUs, or ``auto``.
        found: GPUs of the machine that has most of them.

    Returns:
        GPUs of a trial: the setting, or with ``auto`` one whole GPU where there is one, else 0.
    """
    if setting == "auto":
        return 1.0 if found >= 1 else 0.0
    return setting


class TeacherCacheSettings(Settings):
    """The cache of the teacher's maps, which is used where batches repeat: with ``data.augmentation.copies``."""

    memory_gb: float = Field(1.0, ge=0)
    """Gigabytes of main memory for each worker; 0 keeps nothing there. What does not fit is kept on disk, or computed
    again."""
    disk_gb: float = Field(0.0, ge=0)
    """Gigabytes on disk for each worker, in the folder of the teacher; 0 keeps nothing there. The files are removed
    when the worker ends."""


class ResourceSettings(Settings):
    """The resources of trials."""

    cpus_per_trial: float = Field(1.0, gt=0)
    """CPU cores per trial."""
    gpus_per_trial: GpusPerTrial = "auto"
    """GPUs per trial. ``auto`` is 1 where there is a GPU, on this machine or in the cluster, and 0 elsewhere; 0 trains
    on the CPU. With a fraction several trials share a GPU; its memory is not divided between them. With 2 or more each
    trial is trained by as many processes, which share every batch."""
    max_concurrent: int | None = Field(None, ge=1)
    """Largest number of trials at a time; null is as many as the resources allow."""
    cohort: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Trials that one worker trains side by side: they share its CPUs and GPU, each batch of images, and the teacher's
    forward pass. ``auto`` is at most 8 and so few that at most a quarter of the trials run at a time; 1 trains each
    trial alone, as ``auto`` does with several GPUs per trial. The weights of a student do not depend on the others."""
    teacher_cache: TeacherCacheSettings = TeacherCacheSettings()
    """The cache of the teacher's maps."""
    loader_workers: int = Field(0, ge=0)
    """Processes that load images for one worker; 0 loads them in the worker's own process. A trial on several GPUs has
    as many for each of them."""
    epoch_timeout_s: float | None = Field(None, gt=0)
    """A trial fails when its start or an epoch takes more seconds than this; null is no limit. Choose it generously:
    the first epoch may compute what later ones reuse."""
    address: str | None = None
    """Address of a running Ray cluster, such as ``auto``; null starts Ray on this machine."""


class TrackingSettings(Settings):
    """Tracking with MLflow."""

    enabled: bool = True
    """Log runs to MLflow."""
    uri: str | None = None
    """MLflow tracking URI; null is the SQLite file ``mlflow.db`` in the home folder of distune."""
    experiment: str | None = None
    """Name of the MLflow experiment; null is the name of the distune experiment."""
    pictures: int = Field(6, ge=0)
    """Number of images with detections that are logged per trial."""
