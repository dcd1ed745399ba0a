"""The weights that the robust filter of a trained student gives to instances of training images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distune.detectors.taps import Detector
from distune.training.builder import TrialBuilder
from distune.training.precision import autocast, autocast_dtype
from distune.training.rng_state import RngState


@torch.no_grad()
def filter_weights(
    builder: TrialBuilder, state: dict[str, Any], teacher: Detector, *, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the weight of each instance of all training images of a builder, not augmented.

    Args:
        builder: settings of the trial, and the images.
        state: a training checkpoint of the trial, ``last.pt``.
        teacher: of the trial.
        seed: of the trial.

    Returns:
        ``origin_N2``: index of the image and of the box of each instance that has prototypes. ``weights_N``: its weight
        in the local terms, the mean over the levels that have prototypes.

    Raises:
        KeyError: the checkpoint does not fit the settings.
        RuntimeError: likewise.
    """
    experiment = builder.experiment
    student = builder.detector(experiment.student.from_scratch(), seed=seed)
    objective = builder.objective(student, teacher, experiment.training, seed=seed)
    student.model.load_state_dict(state["model"])
    objective.load_state_dict(state["objective"])
    student.model.to(builder.device).train()
    teacher.model.to(builder.device).eval()
    objective.to(builder.device)
    stream = builder.stream(experiment.training, seed=seed, with_masks=experiment.student.learns_masks)
    origins, weights = [np.zeros((0, 2), np.int64)], [np.zeros(0)]
    dtype = autocast_dtype(experiment.training.precision, builder.device)
    with RngState(seed, builder.device).active():
        for batch in stream.plain_batches(range(len(builder.splits.train))):
            there = batch.to(builder.device)
            with autocast(builder.device, dtype):
                taps = student.forward_train(there.images, there.targets)
                views = taps.view, teacher.forward_teacher(there.images_for_teacher).view
            found = objective.instance_weights(*views, taps.instances)
            known_LN = found.has_prototypes_LN
            mean_N = (found.local_LN * known_LN).sum(dim=0) / known_LN.sum(dim=0).clamp(min=1)
            is_known_N = known_LN.any(dim=0).cpu().numpy()
            origins.append(taps.instances.origin_N2.cpu().numpy()[is_known_N])
            weights.append(mean_N.double().cpu().numpy()[is_known_N])
    return np.concatenate(origins), np.concatenate(weights)
