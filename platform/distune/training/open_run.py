"""Opens a trial for training: in this process, or in one process for each of its GPUs."""

from __future__ import annotations

from collections.abc import Sequence

from distune.config.several_gpus import processes_of_trial
from distune.records import TrialSpec
from distune.training.processes.process_run import ProcessRun
from distune.training.solo_run import open_trial
from distune.training.trial_protocol import TrialRun


def open_run(spec: TrialSpec, *, stream_epochs: Sequence[int] = (), num_processes: int | None = None) -> TrialRun:
    """Open a trial from its specification alone. If its folder holds a checkpoint, training resumes after that epoch.

    Args:
        spec: of the trial.
        stream_epochs: see ``SoloRun``; to repeat a trial that joined others later.
        num_processes: processes that share each batch; None is one for each GPU of the trial. For tests on CPUs.

    Returns:
        The trial in progress.

    Raises:
        DistuneError: data, weights or checkpoint are missing or do not fit.
    """
    number = (
        processes_of_trial(spec.experiment["resources"]["gpus_per_trial"]) if num_processes is None else num_processes
    )
    if number == 1:
        return open_trial(spec, stream_epochs=stream_epochs)
    return ProcessRun(spec, num_processes=number, stream_epochs=stream_epochs)
