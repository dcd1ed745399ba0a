"""Tries every searched parameter at two of its values on a few images: one that moves nothing is dead in a study."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Iterator, Mapping

import torch

from distune.config.conditions import example
from distune.config.detector import DetectorSettings
from distune.config.load import LoadedExperiment, parse_experiment, trial_experiment
from distune.config.paths import get_path, leaf_paths
from distune.config.pretrained import is_torchvision_name
from distune.config.space import Choice, Parameter
from distune.data.dataset import Subset
from distune.data.splits import Splits
from distune.detectors.taps import Detector
from distune.distillation.objective import Objective
from distune.errors import UsageError
from distune.records import ParameterValue
from distune.training.builder import TrialBuilder
from distune.training.probe.findings import Finding, Verdict, likely_causes, shared_words, why_not_probed
from distune.training.probe.numbers import Change, Comparison, Numbers, compare, noise
from distune.training.probe.replay import Scene, load_batches, play_objective, play_training, record_scene
from distune.training.probe.sample_images import choose_images, most_of_a_class

NUM_IMAGES = 12

_ROUNDING = 1e-7
_NOISE_MARGIN = 10.0
_MOST_NOISE = 0.01
_EPOCHS_FOR_NOISE = 3
_EPOCHS_FOR_REASONS = 6
_PROTOTYPES = "distillation.prototypes."
_PER_CLASS = f"{_PROTOTYPES}per_class"
_DENSITY = f"{_PROTOTYPES}density_quantile"
_FEW = (2, 4, 8)
_Values = Mapping[str, ParameterValue]


class Probe:
    """Plays training in miniature with the parameters of a space, one at a time, the others at the experiment's values.

    Settings of distillation are tried on the objective alone, over what both models see of the images once; those of
    the student and of training on a few real steps without a teacher. Weights that would have to be downloaded are
    replaced by random ones, and so is a teacher that is not there yet: a setting that acts, acts on them as well.

    Args:
        loaded: the experiment and its space.
        splits: its data; only training images are used.
        teacher_weights: file of the teacher's weights; None for random ones.
        device: where to play.
        num_images: how many images to play with.

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
        base = self._bench({})
        self._batches = load_batches(base)
        if not self._batches:
            raise UsageError(f"{loaded.source}: none of the images of the probe can be read")
        self._student = base.detector(_from_scratch(base.experiment.student), seed=base.experiment.training.seed)
        self._teacher = _teacher(base, teacher_weights)
        self._scene: Scene | None = None
        self._tolerances: dict[str, float] = {}

    def findings(self) -> Iterator[Finding]:
        """A finding for each parameter that varies, in the order of the space."""
        for path, parameter in self._loaded.searched.items():
            yield self._examine(path, parameter)

    def _examine(self, path: str, parameter: Parameter) -> Finding:
        values = parameter.extremes
        pair = (values[0], values[-1])
        reason = why_not_probed(path, values)
        if reason is not None:
            return Finding(path=path, values=pair, verdict=Verdict.NOT_PROBED, remark=reason)
        try:
            measured: Change | None = None
            for other in reversed(values[1:]):
                found = self._compare(path, (values[0], other), {})
                measured = measured or found.measured
                if found.moved is not None:
                    return Finding(path=path, values=(values[0], other), verdict=Verdict.ACTS, moved=found.moved)
            return self._choose_fewer(path, pair) or self._explain(path, pair, measured)
        except UsageError as error:
            return Finding(path=path, values=pair, verdict=Verdict.FAILS, remark=" ".join(str(error).split()))

    def _choose_fewer(self, path: str, pair: tuple[ParameterValue, ParameterValue]) -> Finding | None:
        """Few images hold few boxes: when all of them become prototypes, it does not matter how they are chosen."""
        if not path.startswith(_PROTOTYPES) or path == _PER_CLASS:
            return None
        for number in _FEW:
            moved = self._would_move(path, pair, {_DENSITY: 0.0, _PER_CLASS: number})
            if moved is not None:
                remark = f"seen with {number} prototypes of all candidates: these images hold few boxes to choose from"
                return Finding(path=path, values=pair, verdict=Verdict.ACTS, moved=moved, remark=remark)
        return None

    def _explain(self, path: str, pair: tuple[ParameterValue, ParameterValue], measured: Change | None) -> Finding:
        """Why a parameter does nothing: looks for another setting with which it would."""
        for other, value in self._switches(path):
            moved = self._would_move(path, pair, {other: value})
            if moved is not None:
                remark = f"only with other values of {other}, such as {value}"
                return Finding(path=path, values=pair, verdict=Verdict.CONDITIONAL, moved=moved, remark=remark)
        remark = ""
        values = self._bench({}).experiment.to_dict()
        for other, value in likely_causes(path, values):
            if self._would_move(path, pair, {other: value}) is not None:
                remark = f"because {other} is {get_path(values, other)}: with {value} it would act"
                break
        else:
            remark = self._guess(path, measured)
        return Finding(path=path, values=pair, verdict=Verdict.DEAD, remark=remark)

    def _switches(self, path: str) -> list[tuple[str, ParameterValue]]:
        """Values of other searched parameters that may switch this one on: choices, and numbers that are 0 so far.

        Those that share most of its path come first.
        """
        values = self._bench({}).experiment.to_dict()
        paths = set(leaf_paths(values))
        found: list[tuple[str, ParameterValue]] = []
        for other, parameter in self._loaded.searched.items():
            own = get_path(values, other) if other in paths else None  # a setting that another kind of thing has
            if other != path and (isinstance(parameter, Choice) or own == 0):
                found += [(other, value) for value in reversed(parameter.extremes) if value != own]
        return sorted(found, key=lambda each: -shared_words(path, each[0]))

    def _would_move(self, path: str, pair: tuple[ParameterValue, ParameterValue], context: _Values) -> Change | None:
        try:
            epochs = self._loaded.experiment.distillation.start_epoch + _EPOCHS_FOR_REASONS
            return self._compare(path, pair, context, num_epochs=epochs).moved
        except UsageError:
            return None  # these values do not go together

    def _guess(self, path: str, measured: Change | None) -> str:
        if measured is not None:
            name = measured.name.partition("/")[2]
            return f"it changes what is measured ({name} {measured.first:.4g}, {measured.second:.4g}), no loss follows"
        if not path.startswith(_PROTOTYPES):
            return ""
        most = most_of_a_class(
            self._splits.train,
            list(range(len(self._indices))),
            settings=self._loaded.experiment.data,
            min_box_side_px=self._min_box_side_px,
        )
        return (
            f"no class has more than {most} boxes large enough to become prototypes on these {len(self._indices)} "
            "images; --probe-images takes more"
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
        # A parameter with a condition is tried where it acts.
        values = {**(example(self._loaded.searched, path) or {}), **context}
        first, second = (itertools.islice(self._play(section, {**values, path: value}), num_epochs) for value in pair)
        return compare(first, second, tolerance=self._tolerance(section))

    def _tolerance(self, section: str) -> float:
        """What counts as noise: none on a CPU, where equal settings give equal numbers; on a GPU they do not."""
        if section not in self._tolerances:
            epochs = self._loaded.experiment.distillation.start_epoch + _EPOCHS_FOR_NOISE
            first, second = (list(itertools.islice(self._play(section, {}), epochs)) for _ in range(2))
            self._tolerances[section] = min(max(_ROUNDING, _NOISE_MARGIN * noise(first, second)), _MOST_NOISE)
        return self._tolerances[section]

    def _play(self, section: str, values: _Values) -> Iterator[Numbers]:
        builder = self._bench(values)
        training = builder.experiment.training
        if section != "distillation":
            return play_training(builder, _from_scratch(builder.experiment.student), training, self._batches)
        if self._scene is None:
            # Copies, since the scene keeps its models on the device, and an objective is built from models on the CPU.
            models = copy.deepcopy((self._student, self._teacher))
            self._scene = record_scene(self._bench({}), *models, self._batches)
        objective: Objective = builder.objective(self._student, self._teacher, training, seed=training.seed)
        return play_objective(objective, self._scene, num_epochs=training.epochs, seed=training.seed)

    def _bench(self, values: _Values) -> TrialBuilder:
        """The builder of a trial with these values, on the images of the probe."""
        plain = trial_experiment(self._loaded.experiment, values)
        return TrialBuilder(parse_experiment(plain, source="the probe"), self._splits, self._device)


def _from_scratch(settings: DetectorSettings) -> DetectorSettings:
    return settings.model_copy(update={"weights": None, "backbone_weights": None})


def _teacher(builder: TrialBuilder, weights: str | None) -> Detector:
    given = builder.experiment.teacher.weights
    if weights is None and given is not None and not is_torchvision_name(given):
        weights = given
    if weights is not None:
        return builder.teacher(weights)
    # Another seed than the student's: were both of one kind, they would be the same network and nothing to learn.
    return builder.detector(_from_scratch(builder.experiment.teacher), seed=builder.experiment.training.seed + 1)
