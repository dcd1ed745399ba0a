"""Probes of tests: the small experiment with a space of its own."""

from __future__ import annotations

from typing import Any

import torch

from distune.config.load import LoadedExperiment, experiment_from_dict
from distune.data.build import build_splits
from distune.training.probe.findings import Finding
from distune.training.probe.probe import Probe
from support.experiments import small_values

Parameters = dict[str, dict[str, Any]]


def load_small(parameters: Parameters, changes: dict[str, Any] | None = None) -> LoadedExperiment:
    """The small experiment, with a space of these parameters."""
    space = {"name": "given", "parameters": parameters}
    return experiment_from_dict(small_values(changes), source="small.yaml", space=space)


def probe_loaded(loaded: LoadedExperiment, *, num_images: int = 6) -> dict[str, Finding]:
    """Return the findings of a probe with random teacher weights, by path."""
    splits = build_splits(loaded.experiment.data)
    probe = Probe(loaded, splits, teacher_weights=None, device=torch.device("cpu"), num_images=num_images)
    return {finding.path: finding for finding in probe.findings()}


def probe_small(
    parameters: Parameters, changes: dict[str, Any] | None = None, *, num_images: int = 6
) -> dict[str, Finding]:
    """Probe the small experiment with a space of these parameters."""
    return probe_loaded(load_small(parameters, changes), num_images=num_images)
