"""Does distillation help, and which part of it? Paired comparison against controls over seeds.

All arms of a seed that share the training settings are one cohort: they start from the same weights, see the same
batches in the same order, have the same budget, and share one teacher. Two arms differ only in their distillation, so
their difference in AP is paired by seed. AP is that of the last epoch.

Settings are chosen on the search split with seeds 0 and 1, and results are on the test split with seeds from 10 on, by
which nothing was chosen. Seeds below 10 on the test split, and seeds from 10 on on the search split, are refused, and
stored lines of them are left out of summaries (``benchmarks/choice_and_results.py``)::

    python benchmarks/gain.py benchmarks/pairs/bccd.yaml --arms benchmarks/arms/choice.yaml --split search \\
        --set data.root=PATH/OF/BCCD --set teacher.backbone_weights=FILE --set student.backbone_weights=FILE
    python benchmarks/gain.py benchmarks/pairs/bccd.yaml --arms benchmarks/arms/parts.yaml --seeds 10 11 12 --set ...
    python benchmarks/gain.py benchmarks/pairs/bccd.yaml --summary

Each arm of each seed is one line of the results file, by default ``benchmarks/results/<experiment>.jsonl``. Lines that
are there already are not computed again, so that a run can be cut off, continued, or split over processes that share
the file. A condition, such as another budget (``--set training.epochs=16``), another teacher (``--teacher-set``), wrong
labels (``--label-noise``) or few images (``--train-fraction``), applies to all arms; its lines are kept apart from
those of other conditions. An arm whose settings differ from those of its stored lines is refused. A training that
failed has a line with the reason; remove the line to train the arm again.

The summary is a Markdown table. Intervals cover training seeds and test images (``distune.evidence.gain``). It says how
many arms were compared, and p values are corrected for their number (``benchmarks/gain_summary.py``).
``--instruments ARM`` adds what one arm's trainings reported: shares, clipping, and how features tell classes apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from choice_and_results import TEACHER, default_seeds, left_out_note, refusal, separate
from distune.cli.options import assignments
from distune.config.distillation import DistillationSettings
from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.config.load import load_experiment
from distune.config.paths import merge
from distune.config.shipped import shipped_folder
from distune.config.yaml import read_yaml
from distune.data.build import build_splits
from distune.data.dataset import DetectionDataset, Subset
from distune.data.splits import Splits
from distune.evidence.resampling import resample_runs
from distune.records import EpochReport
from distune.training.builder import TrialBuilder
from distune.training.evaluation.matching import match_predictions
from distune.training.evaluation.predict_and_score import predict, score
from distune.training.student import Student
from distune.training.teacher import prepare_teacher
from gain_summary import Values, read_instruments, summarize
from label_noise import NoisyLabels
from placebos import PLACEBOS

OFF: Values = {
    "standardize": "none",
    "filter": {"weight": "uniform"},
    **{name: {"weight": 0.0} for name in DistillationSettings().terms},
}
"""No distillation: the settings that an arm without a preset changes."""
RESAMPLES = 200
_INSTRUMENTS = ("loss/", "weight/", "share", "gradient", "filter/", "prototypes/", "features/")
_PLACES = ("root", "weights", "backbone_weights")


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm of a comparison.

    Attributes:
        experiment: with the arm's settings.
        given: the settings that its file gives.
        placebo: a name in ``PLACEBOS`` that replaces a part of the method; None for the method itself.
    """

    experiment: Experiment
    given: Values
    placebo: str | None


@dataclasses.dataclass(frozen=True)
class Condition:
    """What all arms of a run share, apart from the experiment file.

    Attributes:
        overrides: path to value.
        label_noise: fraction of the student's training boxes that are wrong; the teacher's are right.
        train_fraction: fraction of the training images that students see; the teacher saw all.
        teacher_overrides: path to value in the experiment of the teacher alone.
    """

    overrides: Values
    label_noise: float
    train_fraction: float
    teacher_overrides: Values = dataclasses.field(default_factory=dict)

    def describe(self) -> Values:
        """Return what tells the lines of one condition from those of another; without places of files."""
        told = _without_places(self.overrides)
        told |= {f"teacher set: {path}": value for path, value in _without_places(self.teacher_overrides).items()}
        told |= {"label_noise": self.label_noise} if self.label_noise else {}
        return told | ({"train_fraction": self.train_fraction} if self.train_fraction < 1 else {})

    def splits(self, experiment: Experiment) -> Splits:
        """Return the data of the students."""
        splits = build_splits(experiment.data)
        if self.train_fraction < 1:
            order = np.random.default_rng(0).permutation(len(splits.train))
            kept = sorted(order[: max(1, round(self.train_fraction * len(order)))])
            splits = dataclasses.replace(splits, train=Subset(splits.train, kept))
        if self.label_noise:
            splits = dataclasses.replace(splits, train=NoisyLabels(splits.train, fraction=self.label_noise))
        return splits


def _without_places(overrides: Values) -> Values:
    return {path: value for path, value in overrides.items() if path.rpartition(".")[2] not in _PLACES}


def read_arms(paths: Sequence[Path], source: str, condition: Condition) -> dict[str, Arm]:
    """Read arms: each name has settings of the experiment that it changes, and maybe a ``placebo``."""
    arms: dict[str, Arm] = {}
    for path in paths:
        for name, given in read_yaml(path)[0].items():
            values = dict(given or {})
            placebo = values.pop("placebo", None)
            distillation = values.get("distillation", {})
            values["distillation"] = distillation if "preset" in distillation else merge(OFF, distillation)
            loaded = load_experiment(source, overrides=condition.overrides, check_space=False).experiment
            whole = merge(loaded.to_dict(), {**values, "distillation": {}})
            common = _of_small_images(whole["distillation"])
            whole["distillation"] = merge(common, values["distillation"])
            arms[name] = Arm(load_experiment(whole, check_space=False).experiment, dict(given or {}), placebo)
    return arms


def _of_small_images(distillation: Values) -> Values:
    """Keep the settings of an experiment's distillation that follow the size of its images, not the method."""
    return {
        "prototypes": {"min_box_side_px": distillation["prototypes"]["min_box_side_px"]},
        "local_knowledge": {"base_size_px": distillation["local_knowledge"]["base_size_px"]},
    }


def run_seed(
    arms: Mapping[str, Arm], seed: int, *, splits: Splits, weights: Path, split: str, curves: bool, name: str
) -> Iterator[Values]:
    """Train every arm under one seed, those with equal training side by side, and score it on the test split."""
    cohorts: dict[str, dict[str, Arm]] = {}
    for key, arm in arms.items():
        shared = arm.experiment.to_dict()
        shared.pop("distillation")
        cohorts.setdefault(json.dumps(shared, sort_keys=True), {})[key] = arm
    for cohort in cohorts.values():
        yield from _run_cohort(cohort, seed, splits=splits, weights=weights, split=split, curves=curves, name=name)


def _run_cohort(
    arms: Mapping[str, Arm], seed: int, *, splits: Splits, weights: Path, split: str, curves: bool, name: str
) -> Iterator[Values]:
    device = torch.device("cpu")
    builders = {key: TrialBuilder(arm.experiment, splits, device) for key, arm in arms.items()}
    any_builder = next(iter(builders.values()))
    training = any_builder.experiment.training
    teacher = any_builder.teacher(str(weights))
    stream = any_builder.stream(training, seed=seed)
    cohort = any_builder.cohort(training, stream, teacher, epochs_done=0)
    students: dict[str, Student] = {}
    for key, builder in builders.items():
        students[key] = builder.student(
            key,
            builder.experiment.student,
            training,
            seed=seed,
            steps_per_epoch=len(stream),
            teacher=teacher if builder.experiment.distillation.is_active else None,
        )
        placebo = arms[key].placebo
        if placebo is not None:
            objective = students[key].objective
            assert objective is not None, f"{key}: a placebo of distillation needs distillation"
            PLACEBOS[placebo](objective, seed)
        cohort.join(students[key])
    started, cpu_started = time.monotonic(), time.process_time()
    epochs: dict[str, dict[int, dict[str, float]]] = {key: {} for key in arms}
    for epoch in range(1, training.epochs + 1):
        if not students:
            break
        for key, result in cohort.run_epoch(evaluate=curves).items():
            if result.error is not None:
                _say(f"{name} seed {seed}: {key} failed: {result.error}")
                students.pop(key)
                yield {
                    "arm": key,
                    "seed": seed,
                    "split": split,
                    "failed": f"{type(result.error).__name__} in epoch {epoch}: {result.error}",
                    "given": arms[key].given,
                }
            epochs[key][epoch] = result.metrics
        passed_s = time.monotonic() - started
        total_s = passed_s / epoch * training.epochs
        _say(f"{name} seed {seed}: epoch {epoch}/{training.epochs}, {passed_s:.0f} s of {total_s:.0f}")
    cpu_s = time.process_time() - cpu_started
    scored = _scored(splits, split)
    for key, student in students.items():
        predictions = predict(student.evaluated_model, scored, device=device, batch_size=16)
        figures = score(predictions, scored)
        table = match_predictions(predictions, scored)
        resampled = resample_runs({seed: table}, "AP", num_resamples=RESAMPLES)
        _say(f"{name} seed {seed}: {key} AP {figures['AP']:.2f}")
        kept = sorted({1, 2, (training.epochs + 1) // 2, training.epochs})
        yield {
            "arm": key,
            "seed": seed,
            "split": split,
            "figures": _rounded(figures),
            "resampled_AP": [round(float(each), 2) for each in resampled.scores[seed][1:]],
            "images": resampled.num_images,
            "curve": [round(each["search/AP"], 2) for each in epochs[key].values()] if curves else None,
            "instruments": {str(epoch): _instruments(epochs[key][epoch]) for epoch in kept},
            "cohort": {"arms": len(arms), "cpu_s": round(cpu_s)},
            "given": arms[key].given,
        }


def _scored(splits: Splits, split: str) -> DetectionDataset:
    dataset = splits.search if split == "search" else splits.test
    assert dataset is not None, "the experiment has no test split"
    return dataset


def _instruments(metrics: Mapping[str, float]) -> Values:
    return _rounded({name: value for name, value in metrics.items() if name.startswith(_INSTRUMENTS)})


def _rounded(values: Mapping[str, float]) -> Values:
    return {name: float(f"{value:.4g}") for name, value in values.items()}


def _name_of(source: str) -> str:
    """The name of an experiment, without a check of the rest: a summary needs neither data nor weights."""
    path = Path(source)
    file = path if path.suffix else shipped_folder("experiments") / f"{source}.yaml"
    return str(read_yaml(file)[0]["name"])


def main() -> None:
    """Runs what is missing, then prints the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", help="an experiment file, or the name of a shipped experiment")
    parser.add_argument("--arms", type=Path, nargs="*", default=[], help="YAML files of arms: name to settings")
    parser.add_argument("--only", nargs="*", default=[], help="run, or show, only these arms")
    parser.add_argument(
        "--seeds", type=int, nargs="*", help="0 and 1 on the search split, 10 to 17 on the test split if not given"
    )
    parser.add_argument("--set", metavar="PATH=VALUE", action="append", default=[], dest="overrides")
    parser.add_argument(
        "--teacher-set",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="a setting of the teacher's experiment alone, such as data.num_train=1200",
    )
    parser.add_argument("--label-noise", type=float, default=0.0, help="fraction of the students' boxes that are wrong")
    parser.add_argument("--train-fraction", type=float, default=1.0, help="fraction of the images that students see")
    parser.add_argument(
        "--split",
        choices=("search", "test"),
        default="test",
        help="the images that arms are scored on: search chooses settings, test gives results",
    )
    parser.add_argument(
        "--curves", action="store_true", help="also score the search split after every epoch: no results"
    )
    parser.add_argument("--results", type=Path)
    parser.add_argument("--base", help="the arm that additions are compared with, beside the control")
    parser.add_argument("--metric", default="AP", help="of the summary: AP50, AP_small, or AP/CLASS of one class")
    parser.add_argument("--instruments", metavar="ARM", help="also show the readings of this arm's trainings")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--summary", action="store_true", help="run nothing")
    options = parser.parse_args()
    seeds = default_seeds(options.split) if options.seeds is None else options.seeds
    if (refused := refusal(options.split, seeds)) is not None:
        sys.exit(refused)
    torch.set_num_threads(options.threads)
    condition = Condition(
        assignments("--set", options.overrides),
        options.label_noise,
        options.train_fraction,
        assignments("--teacher-set", options.teacher_set),
    )
    name = _name_of(options.experiment)
    results = options.results or Path(__file__).parent / "results" / f"{name}.jsonl"
    if not options.summary:
        experiment = load_experiment(options.experiment, overrides=condition.overrides, check_space=False).experiment
        teacher_overrides = {**condition.overrides, **condition.teacher_overrides}
        of_teacher = load_experiment(options.experiment, overrides=teacher_overrides, check_space=False).experiment
        arms = read_arms(options.arms, options.experiment, condition)
        arms = {name: arm for name, arm in arms.items() if not options.only or name in options.only}
        if (changed := changed_arms(arms, _read(results, condition, options.split))) is not None:
            sys.exit(f"{results}: {changed}")
        run(
            experiment,
            of_teacher,
            arms,
            condition,
            seeds,
            results=results,
            split=options.split,
            curves=options.curves,
        )
    lines, left_out = separate(_read(results, condition, options.split))
    use = "these figures choose settings and are no results" if options.split == "search" else "results"
    print(f"{name}, {options.split} split {json.dumps(condition.describe())}: {use}\n")
    print(summarize(lines, base=options.base, metric=options.metric, arms=options.only))
    if left_out:
        print(f"\n{left_out_note(left_out, options.split)}")
    if options.instruments:
        trained = [line for line in lines if line["arm"] == options.instruments and "failed" not in line]
        print(f"\n{read_instruments(trained)}")


def run(
    experiment: Experiment,
    of_teacher: Experiment,
    arms: Mapping[str, Arm],
    condition: Condition,
    seeds: Sequence[int],
    *,
    results: Path,
    split: str,
    curves: bool,
) -> None:
    """Prepare the teacher, run the arms and seeds that the results lack, and append a line for each."""
    told = condition.describe()
    teacher_splits = build_splits(of_teacher.data)
    ready = prepare_teacher(
        of_teacher,
        teacher_splits,
        home=Home.from_environment(),
        device=torch.device("cpu"),
        on_progress=_tell_teacher,
    )
    if not any(line["arm"] == TEACHER for line in _read(results, condition, split)):
        scored = _scored(teacher_splits, split)
        model = TrialBuilder(of_teacher, teacher_splits, torch.device("cpu")).teacher(str(ready.weights)).model
        figures = score(predict(model, scored, device=torch.device("cpu"), batch_size=16), scored)
        _append(results, {"arm": TEACHER, "seed": 0, "split": split, "figures": _rounded(figures), "condition": told})
    splits = condition.splits(experiment)
    for seed in seeds:
        done = {line["arm"] for line in _read(results, condition, split) if line["seed"] == seed}
        missing = {name: arm for name, arm in arms.items() if name not in done}
        for line in run_seed(
            missing, seed, splits=splits, weights=ready.weights, split=split, curves=curves, name=experiment.name
        ):
            _append(results, {**line, "condition": told})


def changed_arms(arms: Mapping[str, Arm], lines: Sequence[Values]) -> str | None:
    """Return a sentence that names the arms whose stored lines have other settings than their files; None without any.

    Stored lines without settings are accepted.
    """
    given = {name: json.loads(json.dumps(arm.given)) for name, arm in arms.items()}
    stored = [(line["arm"], line["given"]) for line in lines if "given" in line]
    changed = [name for name, values in stored if name in given and values != given[name]]
    if not changed:
        return None
    return (
        f"the stored lines of {', '.join(dict.fromkeys(changed))} were computed with other settings; give the arm "
        "another name, or use another --results file"
    )


def _append(path: Path, line: Values) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, condition: Condition, split: str) -> list[Values]:
    """Return the lines of a condition and split; the last one where an arm has several for a seed."""
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    found = [line for line in lines if line["condition"] == condition.describe() and line["split"] == split]
    return list({(line["arm"], line["seed"]): line for line in found}.values())


def _tell_teacher(report: EpochReport, epochs: int) -> None:
    _say(f"teacher: epoch {report.epoch}/{epochs}, AP {report.metrics['search/AP']:.1f}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
