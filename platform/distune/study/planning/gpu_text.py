"""The GPUs of a study as text: those that were found, and those that a trial uses."""

from __future__ import annotations

from distune.config.search import ResourceSettings, gpus_of_trial
from distune.study.resources import available_gpus
from distune.tracking.uris import redact_uri


def plan_gpus(settings: ResourceSettings, *, simulate: bool = False) -> str:
    """Describe the GPUs before a study starts. Counts those of this machine, but connects to no cluster.

    Args:
        settings: of the experiment.
        simulate: whether trials are simulated.

    Returns:
        One line.
    """
    if simulate:
        return "GPUs: none used, since trials are simulated"
    if settings.address is not None:
        where = f"the cluster at {redact_uri(settings.address)}"
        if settings.gpus_per_trial == "auto":
            return f"GPUs: 1 per trial if {where} has GPUs when the study starts, else none"
        return f"GPUs: {settings.gpus_per_trial:g} per trial, of {where}"
    found = available_gpus()
    return describe_gpus(settings, found=found, per_trial=gpus_of_trial(settings.gpus_per_trial, found=found))


def describe_gpus(settings: ResourceSettings, *, found: float, per_trial: float) -> str:
    """Describe the GPUs that were found and their use.

    Args:
        settings: of the experiment.
        found: GPUs in total, of this machine or of the cluster.
        per_trial: GPUs of a trial, see ``gpus_of_trial``.

    Returns:
        One line, such as ``GPUs: 1 trial per GPU, 2 found``.
    """
    if per_trial > found and settings.address is None:
        return f"warning: GPUs: {per_trial:g} per trial, but {found:g} found: distune launch refuses this here"
    if per_trial > 0:
        return f"GPUs: {_ratio(per_trial)}, {found:g} found"
    if found == 0:
        return "no GPU found: trials run on the CPU"
    return (
        f"GPUs: {found:g} found, but not used: resources.gpus_per_trial = 0, so trials run on the CPU; with auto each "
        f"trial gets one"
    )


def _ratio(per_trial: float) -> str:
    if per_trial > 1:
        return f"{per_trial:g} per trial"
    trials = int(1 / per_trial + 1e-6)
    return "1 trial per GPU" if trials == 1 else f"{trials} trials per GPU"
