"""Trials on several GPUs: the number of their processes, and what must hold for it."""

from __future__ import annotations

from typing import Literal


def is_whole_or_fraction(gpus: float) -> bool:
    """Return whether a trial can have this number of GPUs: a fraction of one, or whole ones."""
    return gpus <= 1 or gpus == int(gpus)


def processes_of_trial(gpus: float | Literal["auto"]) -> int:
    """Return the number of processes that train one trial: one for each GPU, and one in all other cases."""
    return 1 if gpus == "auto" else max(1, int(gpus))


def several_gpus_incompatibilities(
    gpus: float | Literal["auto"], *, batch_size: int, cohort: int | Literal["auto"]
) -> list[str]:
    """Return the problems of an experiment whose trials have several GPUs.

    Args:
        gpus: ``resources.gpus_per_trial``.
        batch_size: ``training.batch_size``.
        cohort: ``resources.cohort``.

    Returns:
        The problems, each as ``path = value<tab>message``.
    """
    number = processes_of_trial(gpus)
    if number == 1:
        return []
    problems: list[str] = []
    if batch_size % number:
        nearest = max(1, round(batch_size / number)) * number
        problems.append(
            f"training.batch_size = {batch_size}\tmust be a multiple of resources.gpus_per_trial = {number}, because "
            f"each GPU gets as many images of every batch; such as {nearest}"
        )
    if cohort not in ("auto", 1):
        problems.append(
            f"resources.cohort = {cohort}\tmust be auto or 1 with resources.gpus_per_trial = {number}: a "
            "trial on several GPUs is trained alone; trials of a cohort share one GPU"
        )
    return problems
