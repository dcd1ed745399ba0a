"""A student as a model of MLflow: a LoggedModel linked to the run of its trial, and a version in the model registry."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from distune.errors import UsageError
from distune.records import EpochReport
from distune.tracking.mlflow_client import is_replaced, open_client, search_runs
from distune.tracking.timeouts import uploading
from distune.tracking.uris import redact_uri
from distune.tracking.values import metric_values, name_text

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature
    from numpy.typing import NDArray

MODEL_TYPE = "object-detector"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentFiles:
    """The files of a model: together they need torchvision and MLflow, and not distune.

    Attributes:
        model: a program that sets the model, see ``mlflow.models.set_model``.
        program: the program that it imports; its name is kept.
        weights: a state dict.
        requirements: of pip.
        example: an image, uint8 (1, H, W, 3).
    """

    model: str
    program: Path
    weights: Path
    requirements: tuple[str, ...]
    example: NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoggedStudent:
    """A model in MLflow.

    Attributes:
        uri: such as ``models:/m-1f3a``; ``mlflow.pyfunc.load_model`` and ``mlflow models serve`` take it.
        run_id: the run of its trial.
        registered: name and version in the registry, such as ``detector/3``; None if it is not registered.
        alias: of this version; None without one.
    """

    uri: str
    run_id: str
    registered: str | None = None
    alias: str | None = None


def log_student(
    uri: str,
    *,
    experiment: str,
    study_key: str,
    trial: str,
    name: str,
    files: StudentFiles,
    best: EpochReport | None,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    description: str,
    register: str | None = None,
    alias: str | None = None,
) -> LoggedStudent:
    """Log a student as a model, linked to the run of its trial with the metrics of its epoch.

    Args:
        uri: of the tracking store.
        experiment: name of the MLflow experiment.
        study_key: of the study's runs.
        trial: key of the trial, which has a run.
        name: of the model.
        files: of the model.
        best: the epoch whose weights these are; its metrics get the model's id.
        params: of the model.
        tags: of the model and its version.
        description: of the version, Markdown.
        register: name in the model registry; None does not register it.
        alias: of the version.

    Returns:
        The model.

    Raises:
        UsageError: the store cannot be used, or it has no run of the trial.
    """
    from mlflow.exceptions import MlflowException

    try:
        client = open_client(uri)
        found = client.get_experiment_by_name(experiment)
        runs = [] if found is None else search_runs(client, found.experiment_id, study_key)
        own = [each for each in runs if each.data.tags.get("distune.trial") == trial and not is_replaced(each)]
        run = own[0] if own else None
        if found is None or run is None:
            raise UsageError(f"MLflow has no run of trial {trial}; distune resume sends what is missing")
        model_id = _log_model(client, found.experiment_id, run.info.run_id, name, files, params, tags)
        if best is not None:
            _link_metrics(client, run.info.run_id, model_id, best)
        logged = LoggedStudent(uri=f"models:/{model_id}", run_id=run.info.run_id)
        if register is None:
            return logged
        with _tracking_at(uri):
            return _register(client, logged, model_id, register, alias=alias, tags=tags, description=description)
    except (MlflowException, OSError) as error:
        raise UsageError(f"MLflow at {redact_uri(uri)} did not take the model: {redact_uri(str(error))}") from None


@contextlib.contextmanager
def _tracking_at(uri: str) -> Iterator[None]:
    """Set the tracking URI of the process in the block: a database's registry finds the model by it."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


def _log_model(
    client: MlflowClient,
    experiment_id: str,
    run_id: str,
    name: str,
    files: StudentFiles,
    params: Mapping[str, str],
    tags: Mapping[str, str],
) -> str:
    from mlflow.entities import LoggedModelOutput

    model = client.create_logged_model(
        experiment_id,
        name=name,
        source_run_id=run_id,
        tags=dict(tags),
        params={name_text(key): text for key, text in params.items()},
        model_type=MODEL_TYPE,
    )
    model_id: str = model.model_id
    try:
        with TemporaryDirectory(prefix="distune-model-") as folder, uploading():
            client.log_model_artifacts(model_id, str(_save(files, Path(folder), model_id)))
    except BaseException:
        client.finalize_logged_model(model_id, "FAILED")
        raise
    client.finalize_logged_model(model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model_id=model_id, step=0)])
    return model_id


def _save(files: StudentFiles, folder: Path, model_id: str) -> Path:
    """Write the model in MLflow's layout."""
    program = folder / "mlflow_model.py"
    program.write_text(files.model, encoding="utf-8")
    target = folder / "model"
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # MLflow asks for type hints, which cannot describe tensors
        from mlflow.models import Model
        from mlflow.pyfunc import save_model

        save_model(
            path=str(target),
            python_model=str(program),
            code_paths=[str(files.program)],
            artifacts={"weights": str(files.weights)},
            signature=_signature(),
            input_example=files.example,
            pip_requirements=list(files.requirements),
            mlflow_model=Model(model_id=model_id),
        )
    return target


def _signature() -> ModelSignature:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

    columns = [("long", "image"), ("string", "class")]
    columns += [("double", name) for name in ("score", "x1", "y1", "x2", "y2")]
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]),
        outputs=Schema([ColSpec(kind, name) for kind, name in columns]),
        params=ParamSchema([ParamSpec("min_score", "double", 0.05)]),
    )


def _link_metrics(client: MlflowClient, run_id: str, model_id: str, best: EpochReport) -> None:
    for name, value in metric_values(best.metrics).items():
        if name.startswith("search/"):
            client.log_metric(
                run_id,
                name,
                value,
                timestamp=round(best.finished_at * 1000),
                step=best.epoch,
                model_id=model_id,
            )


def _register(
    client: MlflowClient,
    logged: LoggedStudent,
    model_id: str,
    name: str,
    *,
    alias: str | None,
    tags: Mapping[str, str],
    description: str,
) -> LoggedStudent:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        name, logged.uri, run_id=logged.run_id, tags=dict(tags), description=description, model_id=model_id
    )
    if alias is not None:
        client.set_registered_model_alias(name, alias, version.version)
    return dataclasses.replace(logged, registered=f"{name}/{version.version}", alias=alias)
