"""Measures the sizes of teacher, control and best student of a study, once for these models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from distune.config.experiment import Experiment
from distune.records import Outcome
from distune.reports.model_sizes import ModelSize, ModelSizes
from distune.study.files.sizes_file import architecture_hash, read_sizes, write_sizes
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus, confirmed_trial


def study_sizes(folder: StudyFolder, experiment: Experiment, status: StudyStatus) -> ModelSizes | None:
    """Return the sizes of teacher, control and best student of a study, measured once for these models.

    Args:
        folder: of the study, which stores them.
        experiment: of the study.
        status: of the study.

    Returns:
        The sizes. None for a simulated study, and while they are not measured because a session runs.

    Raises:
        StudyError: no trial has finished.
        WeightsError: a file of weights is damaged.
    """
    winner = confirmed_trial(status)
    if status.simulated:
        return None
    sizes, architecture = known_sizes(folder, experiment, status), architecture_hash(experiment, winner.params)
    if sizes is not None or status.state == "running" or architecture is None:
        return sizes
    folder.sizes_file.unlink(missing_ok=True)  # of other models: measuring may fail
    sizes = measure_sizes(experiment, _files(folder, status))
    write_sizes(folder.sizes_file, architecture, sizes)
    return sizes


def known_sizes(folder: StudyFolder, experiment: Experiment, status: StudyStatus) -> ModelSizes | None:
    """Return the sizes that a study stores, if they are those of its present models. Measures nothing.

    Args:
        folder: of the study.
        experiment: of the study.
        status: of the study.

    Returns:
        The sizes. None if they were measured of other models: another architecture, other files, or before the study
        had a control.

    Raises:
        StudyError: no trial has finished.
    """
    sizes = read_sizes(folder.sizes_file, architecture_hash(experiment, confirmed_trial(status).params))
    if sizes is None:
        return None
    files = _files(folder, status)
    measured = {model.name: model.file_bytes for model in sizes.models}
    present = {name: file.stat().st_size for name, file in files.items() if file.is_file()}
    # A file may be gone, such as that of the teacher on another machine: its size stays right.
    is_current = measured.keys() <= files.keys() and all(measured.get(name) == size for name, size in present.items())
    return sizes if is_current else None


def _files(folder: StudyFolder, status: StudyStatus) -> dict[str, Path]:
    """Return the files of the weights of teacher, control and best student, as far as the study has these."""
    winner, confirmed, teacher = confirmed_trial(status), status.confirmation, folder.teacher()
    control = next((trial for trial in status.trials if trial.control and trial.outcome is Outcome.FINISHED), None)
    files = {
        "teacher": None if teacher is None else teacher.weights,
        "control": None if control is None else folder.trial(control.number).best_checkpoint,
        "student": folder.trial(winner.number).best_checkpoint
        if confirmed is None
        else folder.path / confirmed.weights,
    }
    return {name: file for name, file in files.items() if file is not None}


def measure_sizes(experiment: Experiment, files: Mapping[str, Path]) -> ModelSizes:
    """Measure detectors side by side, on the device of a trial if this machine has it, else on the CPU.

    Args:
        experiment: of the study.
        files: ``teacher``, ``control`` and ``student`` to the file of the weights. A file that does not exist is left
            out.

    Returns:
        The sizes.

    Raises:
        WeightsError: a file is damaged.
    """
    import torch

    from distune.training.checkpoint import load
    from distune.training.evaluation.model_costs import measure_side_by_side
    from distune.training.load_student import load_student
    from distune.training.precision import pick_device, visible_gpus

    has_gpu = experiment.resources.gpus_per_trial != 0 and visible_gpus() > 0
    device = pick_device("auto") if has_gpu else torch.device("cpu")
    found = {name: file for name, file in files.items() if file.is_file()}
    models = {}
    for name, file in found.items():
        classes = tuple((load(file) or {}).get("classes", ()))
        models[name] = load_student(file, experiment, classes).model
    image_size_px = experiment.data.min_size_px
    measured = measure_side_by_side(models, image_size_px=image_size_px, device=device)
    threads = torch.get_num_threads()
    cpu = "CPU, 1 thread" if threads == 1 else f"CPU, {threads} threads"
    return ModelSizes(
        device=torch.cuda.get_device_name(device) if has_gpu else cpu,
        image_size_px=image_size_px,
        models=tuple(
            ModelSize(
                name=name,
                parameters=round(costs["parameters"]),
                flops=round(costs["flops"]),
                latency_ms=costs["latency_ms"],
                file_bytes=found[name].stat().st_size,
            )
            for name, costs in measured.items()
        ),
    )
