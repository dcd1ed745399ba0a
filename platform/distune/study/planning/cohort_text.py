"""The cohorts of a study as text: workers, and the trials that each of them trains side by side."""

from __future__ import annotations

from distune.config.search import ResourceSettings
from distune.config.several_gpus import processes_of_trial
from distune.study.cohort_plan import CohortPlan, largest_cohort

_SHARED = "side by side, which share batches and the teacher's forward pass (resources.cohort)"


def describe_cohorts(plan: CohortPlan) -> str:
    """Return such as ``2 workers train 3 trials each side by side, ...``."""
    if plan.num_at_start is not None:
        return (
            f"at most {plan.num_trials} trials at a time (resources.max_concurrent), on {plan.num_at_start} of "
            f"{plan.num_workers} workers, for which the cluster has room now; each trains up to {plan.size} {_SHARED}"
        )
    workers = "1 worker trains" if plan.num_workers == 1 else f"{plan.num_workers} workers train"
    each = "" if plan.num_workers == 1 else " each"
    bound = "; more would not fit into the memory, by an estimate" if plan.is_bounded_by_memory else ""
    return f"{workers} {plan.size} trials{each} {_SHARED}{bound}"


def describe_cluster_cohorts(settings: ResourceSettings, *, num_trials: int) -> str | None:
    """Describe the cohorts on a cluster whose machines are not known yet.

    Args:
        settings: of the experiment.
        num_trials: searched trials over all sessions.

    Returns:
        The text. None where it does not depend on the machines: without a cluster, where each trial is trained alone,
        and where the settings give the numbers of workers and of trials.
    """
    bound, size = settings.max_concurrent, settings.cohort
    if settings.address is None or processes_of_trial(settings.gpus_per_trial) > 1 or size == 1:
        return None
    if size != "auto":
        return None if bound is not None else f"each worker of the cluster trains {size} trials {_SHARED}"
    most = largest_cohort(num_trials, num_workers=1)
    if bound is None:
        few = f"up to {most} trials {_SHARED}: with more workers fewer, so that a quarter of the trials run at a time"
        return None if most == 1 else f"each worker of the cluster trains {few}"
    most = min(most, bound)
    if most == 1:
        return None
    return (
        f"at most {bound} trials at a time (resources.max_concurrent), on {bound} workers if the cluster has room for "
        f"them; on fewer, each trains up to {most} {_SHARED}"
    )
