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


class AshaSettings(Settings):
    """Asynchronous successive halving (Li et al., MLSys 2020): of the trials that reach a rung, the best go on."""

    kind: Literal["asha"]
    grace_epochs: int = Field(1, ge=1)
    """The first rung: no trial is stopped before it."""
    reduction_factor: float = Field(3.0, gt=1)
    """One in so many trials goes on from a rung, and rungs are so many times apart."""


class NoSchedulerSettings(Settings):
    """Every trial trains for its whole budget."""

    kind: Literal["none"]


SamplerSettings = Annotated[TpeSettings | RandomSettings, Field(discriminator="kind")]
SchedulerSettings = Annotated[AshaSettings | NoSchedulerSettings, Field(discriminator="kind")]


class SearchSettings(Settings):
    """What is searched and how."""

    space: str = "global_knowledge"
    """A shipped search space, or the path of a file; relative paths start from the experiment's folder."""
    metric: Literal["AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "VOC_AP50"] = "AP"
    """What is maximised, on the search split."""
    num_trials: int = Field(20, ge=1)
    """In total, over all sessions of the study. Controls come on top."""
    controls: int = Field(1, ge=1)
    """Trials without distillation, with equal budget, the first with the same seed as the trials."""
    defaults_first: bool = True
    """The experiment's own values are the first trial."""
    fixed: dict[str, ParameterValue] = {}
    """Paths of the space that shall not vary, with their values."""
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
