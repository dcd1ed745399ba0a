"""The probe: compares two values of every searched parameter on a few images, and finds those without an effect."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Iterator, Mapping

import torch

from distune.config.conditions import example
from distune.config.load import LoadedExperiment, parse_experiment, trial_experiment
from distune.config.paths import get_path, leaf_paths
from distune.config.space import Choice, Parameter
from distune.data.dataset import Subset
from distune.data.splits import Splits
from distune.distillation.objective import Objective
from distune.errors import UsageError
from distune.records import ParameterValue
from distune.training.builder import TrialBuilder
from distune.training.probe.comparison import Change, Comparison, EpochValues, compare, larger, noise
from distune.training.probe.findings import (
    EVALUATION_ONLY,
    Finding,
    Verdict,
    likely_causes,
    num_common_parts,
    reason_not_to_probe,
    verdict_of,
)
from distune.training.probe.replay import (
    NUM_STEPS,
    RecordedTaps,
    load_batches,
    record_taps,
    replay_objective,
    replay_student,
)
from distune.training.probe.sample_images import choose_images, max_boxes_per_class

NUM_IMAGES = 12

_ROUNDING = 16 * torch.finfo(torch.float32).eps
"""Sums over more prototypes, most of them zeros, round differently: 2e-7 between 500 and 600 a class was seen."""
_NOISE_MARGIN = 10.0
_MAX_NOISE = 0.01
_EPOCHS_FOR_NOISE = 3
_EPOCHS_FOR_CAUSES = 6
_PROTOTYPES = "distillation.prototypes."
_PER_CLASS = f"{_PROTOTYPES}per_class"
_DENSITY = f"{_PROTOTYPES}density_quantile"
_FEW_PER_CLASS = (2, 4, 8)
_Values = Mapping[str, ParameterValue]


class Probe:
    """Probes the parameters of a search space one at a time, the others at the experiment's values.

    Settings of distillation are probed on the objective alone, over taps of both models that are recorded once. Those
    of the student and of training are probed on a few real steps without a teacher. Random weights replace weights that
    would have to be downloaded, and a teacher that is not trained yet: a setting with an effect has it there as well.

    Args:
        loaded: the experiment and its space.
        splits: its data; only training images are used.
        teacher_weights: file of the teacher's weights; None for random ones.
        device: of the models.
        num_images: number of training images.

    Raises:
        UsageError: student and teacher do not fit each other, or no image can be read.
    """

    def __init__(
        self,
        loaded: LoadedExperiment,
        splits: Splits,
        *,
        teacher_weights: str | None,
        device: torch.device,
        num_images: int = NUM_IMAGES,
    ) -> None:
        self._loaded = loaded
        self._device = device
        self._min_box_side_px = loaded.experiment.distillation.prototypes.min_box_side_px
        self._indices = choose_images(
            splits.train, num_images, settings=loaded.experiment.data, min_box_side_px=self._min_box_side_px
        )
        self._splits = dataclasses.replace(splits, train=Subset(splits.train, self._indices))
        base = self._builder({})
        self._batches = load_batches(base)
        if not self._batches:
            raise UsageError(f"{loaded.source}: none of the images of the probe can be read")
        self._student = base.detector(base.experiment.student.from_scratch(), seed=base.experiment.training.seed)
        self._teacher = base.teacher_or_random(teacher_weights)
        self._recorded: RecordedTaps | None = None
        self._tolerances: dict[str, float] = {}

    def findings(self) -> Iterator[Finding]:
        """Yield a finding for each searched parameter, in the order of the space."""
        for path, parameter in self._loaded.searched.items():
            yield self._probe(path, parameter)

    def _probe(self, path: str, parameter: Parameter) -> Finding:
        values = parameter.extremes
        pair = (values[0], values[-1])
        reason = reason_not_to_probe(path, values)
        if reason is not None:
            return Finding(path=path, values=pair, verdict=Verdict.NOT_PROBED, remark=reason)
        if path in EVALUATION_ONLY:
            remark = "no loss and no gradient depends on it; it changes what the student detects"
            return Finding(path=path, values=pair, verdict=Verdict.EVALUATION, remark=remark)
        try:
            weak: Finding | None = None
            measured: Change | None = None
            for other in reversed(values[1:]):
                found = self._compare(path, (values[0], other), {})
                measured = measured or found.measured
                if found.change is None:
                    continue
                finding = _finding(path, (values[0], other), found.change)
                if finding.verdict is Verdict.EFFECT:
                    return finding
                if weak is None or larger(weak.change, found.change) is found.change:
                    weak = finding
            return weak or self._probe_with_fewer(path, pair) or self._explain(path, pair, measured)
        except UsageError as error:
            return Finding(path=path, values=pair, verdict=Verdict.FAILS, remark=" ".join(str(error).split()))

    def _probe_with_fewer(self, path: str, pair: tuple[ParameterValue, ParameterValue]) -> Finding | None:
        """Probe with fewer prototypes per class: a few images may have too few boxes to choose from."""
        if not path.startswith(_PROTOTYPES) or path == _PER_CLASS:
            return None
        for number in _FEW_PER_CLASS:
            change = self._change(path, pair, {_DENSITY: 0.0, _PER_CLASS: number})
            if change is not None:
                remark = f"with {number} prototypes from all candidates: these images have few boxes to choose from"
                return _finding(path, pair, change, remark=remark)
        return None

    def _explain(self, path: str, pair: tuple[ParameterValue, ParameterValue], measured: Change | None) -> Finding:
        """Explain a parameter without effect: find another setting with which it has one."""
        for other, value in self._switches(path):
            change = self._change(path, pair, {other: value})
            if change is not None:
                remark = f"only with other values of {other}, such as {value}"
                return Finding(path=path, values=pair, verdict=Verdict.CONDITIONAL, change=change, remark=remark)
        values = self._builder({}).experiment.to_dict()
        for other, value in likely_causes(path, values):
            if self._change(path, pair, {other: value}) is not None:
                remark = f"because {other} is {get_path(values, other)}; it would have an effect with {value}"
                break
        else:
            remark = self._guess(path, measured)
        return Finding(path=path, values=pair, verdict=Verdict.NO_EFFECT, remark=remark)

    def _switches(self, path: str) -> list[tuple[str, ParameterValue]]:
        """List values of other searched parameters that may enable this one: choices, and numbers that are 0.

        Those with the most common path parts come first.
        """
        values = self._builder({}).experiment.to_dict()
        paths = set(leaf_paths(values))
        found: list[tuple[str, ParameterValue]] = []
        for other, parameter in self._loaded.searched.items():
            current = get_path(values, other) if other in paths else None  # None: a setting of another kind
            if other != path and (isinstance(parameter, Choice) or current == 0):
                found += [(other, value) for value in reversed(parameter.extremes) if value != current]
        return sorted(found, key=lambda each: -num_common_parts(path, each[0]))

    def _change(self, path: str, pair: tuple[ParameterValue, ParameterValue], context: _Values) -> Change | None:
        try:
            epochs = self._loaded.experiment.distillation.start_epoch + _EPOCHS_FOR_CAUSES
            return self._compare(path, pair, context, num_epochs=epochs).change
        except UsageError:
            return None  # these values are incompatible

    def _guess(self, path: str, measured: Change | None) -> str:
        if measured is not None:
            name = measured.name.partition("/")[2]
            return f"it changes {name} ({measured.first:.4g}, {measured.second:.4g}), but no loss"
        if not path.startswith(_PROTOTYPES):
            return ""
        most = max_boxes_per_class(
            self._splits.train,
            list(range(len(self._indices))),
            settings=self._loaded.experiment.data,
            min_box_side_px=self._min_box_side_px,
        )
        return (
            f"no class has more than {most} boxes large enough to become prototypes on these {len(self._indices)} "
            "images; use more with --probe-images"
        )

    def _compare(
        self,
        path: str,
        pair: tuple[ParameterValue, ParameterValue],
        context: _Values,
        *,
        num_epochs: int | None = None,
    ) -> Comparison:
        section = path.split(".")[0]
        # A parameter with a condition is probed where the condition holds.
        values = {**(example(self._loaded.searched, path) or {}), **context}
        first, second = (itertools.islice(self._replay(section, {**values, path: value}), num_epochs) for value in pair)
        return compare(first, second, tolerance=self._tolerance(section))

    def _tolerance(self, section: str) -> float:
        """Return the largest difference that counts as noise. On a CPU, replays of equal settings are equal."""
        if section not in self._tolerances:
            epochs = self._loaded.experiment.distillation.start_epoch + _EPOCHS_FOR_NOISE
            first, second = (list(itertools.islice(self._replay(section, {}), epochs)) for _ in range(2))
            self._tolerances[section] = min(max(_ROUNDING, _NOISE_MARGIN * noise(first, second)), _MAX_NOISE)
        return self._tolerances[section]

    def _replay(self, section: str, values: _Values) -> Iterator[EpochValues]:
        builder = self._builder(values)
        training = builder.experiment.training
        if section != "distillation":
            return replay_student(builder, builder.experiment.student.from_scratch(), training, self._batches)
        if self._recorded is None:
            # Copies, because recording moves the models to the device, but objectives are built from models on the CPU.
            models = copy.deepcopy((self._student, self._teacher))
            self._recorded = record_taps(self._builder({}), *models, self._batches)
        objective: Objective = builder.objective(self._student, self._teacher, training, seed=training.seed)
        return replay_objective(objective, self._recorded, num_epochs=training.epochs, seed=training.seed)

    def _builder(self, values: _Values) -> TrialBuilder:
        """Return the builder of a trial with these values, on the images of the probe."""
        plain = trial_experiment(self._loaded.experiment, values)
        return TrialBuilder(parse_experiment(plain, source="the probe"), self._splits, self._device)


def _finding(path: str, pair: tuple[ParameterValue, ParameterValue], change: Change, *, remark: str = "") -> Finding:
    verdict = verdict_of(change)
    if verdict is Verdict.WEAK and not path.startswith("distillation."):
        remark = f"in the {NUM_STEPS} steps of a probe; it may add up in a whole training"
    return Finding(path=path, values=pair, verdict=verdict, change=change, remark=remark)
