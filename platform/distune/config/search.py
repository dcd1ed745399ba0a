"""Settings of the search, its resources and its tracking."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from distune.config.base import Settings
from distune.records import ParameterValue


class TpeSettings(Settings):
    """Optuna's tree-structured Parzen estimator."""

    kind: Literal["tpe"]
    startup_trials: int = Field(10, ge=0)
    """Random trials before the model proposes."""
    seed: int = Field(0, ge=0)


class RandomSettings(Settings):
    """Independent random samples."""

    kind: Literal["random"]
    seed: int = Field(0, ge=0)


class GpSettings(Settings):
    """A Gaussian process, as Optuna has it: for few trials of a small space, and for costly ones."""

    kind: Literal["gp"]
    startup_trials: int = Field(10, ge=1)
    """So many trials must have finished before the model proposes; until then they are random."""
    seed: int = Field(0, ge=0)


class CmaEsSettings(Settings):
    """Covariance matrix adaptation (Hansen, arXiv 1604.00772), for numbers alone. Needs the package ``cmaes``."""

    kind: Literal["cmaes"]
    startup_trials: int = Field(1, ge=1)
    """So many trials must have finished before the strategy starts; until then they are random."""
    population_size: int | None = Field(None, ge=5)
    """Finished trials of a generation; None is ``4 + 3 log(number of parameters)``, rounded down."""
    seed: int = Field(0, ge=0)


class NsgaSettings(Settings):
    """NSGA-II (Deb et al., 2002): generations of trials, for several objectives."""

    kind: Literal["nsga2"]
    population_size: int = Field(16, ge=2)
    """Finished trials of a generation. The first generation is random."""
    seed: int = Field(0, ge=0)


class AshaSettings(Settings):
    """Asynchronous successive halving (Li et al., MLSys 2020): of the trials that reach a rung, the best go on."""

    kind: Literal["asha"]
    grace_epochs: int = Field(1, ge=1)
    """The first rung: no trial is stopped before it."""
    reduction_factor: float = Field(3.0, gt=1)
    """One in so many trials goes on from a rung, and rungs are so many times apart."""


class MedianSettings(Settings):
    """Median stopping (Golovin et al., KDD 2017): a trial whose best score so far is below the median of what the
    others had on average up to the same epoch is stopped.
    """

    kind: Literal["median"]
    grace_epochs: int = Field(1, ge=1)
    """No trial is stopped before it."""
    min_trials: int = Field(4, ge=1)
    """So many other trials must have come as far before a trial is judged."""


class NoSchedulerSettings(Settings):
    """Every trial trains for its whole budget."""

    kind: Literal["none"]


SamplerSettings = Annotated[
    TpeSettings | RandomSettings | GpSettings | CmaEsSettings | NsgaSettings, Field(discriminator="kind")
]
SchedulerSettings = Annotated[AshaSettings | MedianSettings | NoSchedulerSettings, Field(discriminator="kind")]
Cost = Literal["parameters", "flops", "latency_ms"]


def cost_metric(cost: Cost) -> str:
    """A cost as it is called in reports, such as ``student/latency_ms``."""
    return f"student/{cost}"


class SearchSettings(Settings):
    """What is searched and how."""

    space: str = "global_knowledge"
    """A shipped search space, or the path of a file; relative paths start from the experiment's folder."""
    metric: Literal["AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "VOC_AP50"] = "AP"
    """What is maximised, on the search split."""
    costs: list[Cost] = []
    """What is minimised beside the metric, measured on the student of each trial: its parameters, the floating-point
    operations of a forward pass over one image, the milliseconds that one takes on the trial's device. With costs, the
    study looks for all students that no other one beats in everything. Trials are stopped by the metric alone."""
    num_trials: int = Field(20, ge=1)
    """In total, over all sessions of the study. Controls come on top."""
    controls: int = Field(1, ge=0)
    """Trials without distillation, with equal budget, the first with the same seed as the trials. With 0 the study says
    nothing about a gain until it is confirmed."""
    defaults_first: bool = True
    """The experiment's own values are the first trial."""
    first: list[dict[str, ParameterValue]] = []
    """Configurations to be tried next, each by its paths; what one leaves out is chosen by the sampler."""
    fixed: dict[str, ParameterValue] = {}
    """Paths of the space that shall not vary, with their values. Of a parameter with a condition, the value where the
    condition holds."""
    sampler: SamplerSettings = TpeSettings(kind="tpe")
    scheduler: SchedulerSettings = AshaSettings(kind="asha")
    storage: str | None = None
    """Where Optuna keeps the trials. None is an SQLite file in the study's folder; ``journal`` is a file there that a
    network disk can hold; or the URL of a database, such as ``postgresql://user@host/optuna``."""


class ResourceSettings(Settings):
    """What a trial gets, and where."""

    cpus_per_trial: float = Field(1.0, gt=0)
    gpus_per_trial: float = Field(0.0, ge=0)
    """A fraction lets several trials share a GPU; it counts places and does not bound memory."""
    max_concurrent: int | None = Field(None, ge=1)
    """Trials at a time; None is as many as the machines hold."""
    loader_workers: int = Field(0, ge=0)
    """Processes that read images for one trial; 0 reads in the trial itself."""
    epoch_timeout_s: float | None = Field(None, gt=0)
    """A trial fails when an epoch, or opening the trial, takes longer; None waits for ever. Be generous: the first
    epoch may build what later ones share."""
    address: str | None = None
    """Of a running Ray cluster that this machine belongs to, such as ``auto``; None starts Ray on this machine."""


class TrackingSettings(Settings):
    """Where MLflow keeps the runs."""

    enabled: bool = True
    uri: str | None = None
    """Any MLflow tracking URI; None is ``mlflow.db`` in distune's home folder."""
    experiment: str | None = None
    """Name of the MLflow experiment; None is the name of the distune experiment."""
    pictures: int = Field(6, ge=0)
    """How many images with detections are logged per trial."""
