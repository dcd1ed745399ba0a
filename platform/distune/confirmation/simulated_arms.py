"""Simulated arms: simulated learning curves instead of training, and matches instead of detections."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from distune.evidence.matches import VOC_PART, ClassMatches, MatchTable
from distune.records import EpochReport, TrialSpec
from distune.study.runners.simulation import SimulatedTrial
from distune.training.trial_folder import TrialFolder

_NUM_IMAGES, _BOXES_PER_IMAGE = 150, 2
_COMMON = 0.9
"""Fraction of a box's difficulty that is the same in every training."""


class SimulatedRun:
    """Several simulated trials, trained one epoch each in turn. See ``ArmsRun``."""

    def __init__(self, specs: Sequence[TrialSpec]) -> None:
        self._trials = {spec.key: SimulatedTrial(spec) for spec in specs}
        self._budgets = {spec.key: spec.num_epochs for spec in specs}
        self._dropped: set[str] = set()

    @property
    def notes(self) -> Mapping[str, Sequence[str]]:
        """Always empty."""
        return {}

    @property
    def behind(self) -> tuple[str, ...]:
        """Keys of the trials that have epochs left."""
        return tuple(
            key
            for key, trial in self._trials.items()
            if key not in self._dropped and trial.epochs_done < self._budgets[key]
        )

    def run_epoch(self) -> dict[str, EpochReport | Exception]:
        """Run an epoch of the trials with the fewest epochs."""
        behind = self.behind
        epoch = min(self._trials[key].epochs_done for key in behind)
        answers: dict[str, EpochReport | Exception] = {}
        for key in behind:
            if self._trials[key].epochs_done == epoch:
                try:
                    answers[key] = self._trials[key].run_epoch()
                except Exception as error:
                    answers[key] = error
                    self.drop(key)
        return answers

    def drop(self, key: str) -> None:
        """End a trial."""
        self._dropped.add(key)

    def close(self) -> None:
        """Do nothing."""


def simulated_matches(spec: TrialSpec, split: str) -> MatchTable:
    """Return matches whose average precision is close to the metric of the trial's best epoch.

    The boxes of a split are equally hard for all arms and seeds, with little noise.
    """
    metric = spec.metric
    scores = [report.metrics[metric] for report in TrialFolder.of(spec).reports()]
    score = min(0.99, max(0.01, max(score for score in scores if math.isfinite(score)) / 100.0))
    shape = (_NUM_IMAGES, _BOXES_PER_IMAGE)
    common_IB = _random(split).standard_normal(shape)
    random = _random(f"{split} {spec.seed} {spec.key}")
    hardness_IB = math.sqrt(_COMMON) * common_IB + math.sqrt(1 - _COMMON) * random.standard_normal(shape)
    from scipy import special  # slow to load, and only needed here

    hits_IB = hardness_IB < special.ndtri(score)
    truths_I = np.full(_NUM_IMAGES, _BOXES_PER_IMAGE, np.int32)
    images_N = np.nonzero(hits_IB)[0].astype(np.int32)
    parts = {}
    for name, num_thresholds in (("all", 10), ("small", 10), ("medium", 10), ("large", 10), (VOC_PART, 1)):
        hits_TN = np.ones((num_thresholds, len(images_N)), np.bool_)
        parts[name] = (ClassMatches(images_N, hits_TN, np.zeros_like(hits_TN), truths_I),)
    return MatchTable(np.arange(_NUM_IMAGES), parts)


def _random(key: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))
