"""Does a training recipe lift the baseline? Students without distillation, each arm with other settings, over seeds.

An arm is a list of overrides in a YAML file: a name, and the path and value of each setting of the experiment that it
changes. The first one is the control, which the others are compared with, paired by seed. All have the same images, the
same number of epochs and the same initial weights. AP is that of the last epoch, of the averaged weights where
``training.ema`` is on. No teacher is needed::

    python benchmarks/recipe.py benchmarks/pairs/chess.yaml --arms benchmarks/arms/training_recipes.yaml \\
        --set data.root=PATH/OF/CHESS --set student.backbone_weights=FILE --set training.epochs=24
    python benchmarks/recipe.py benchmarks/pairs/chess.yaml --set training.epochs=24 --summary

Each arm of each seed is one line of ``benchmarks/results/recipe.jsonl``. Lines that are there already are not computed
again, so that a run can be cut off and continued. Lines of another experiment or under other ``--set`` are kept apart.

Splits and seeds are those of ``benchmarks/choice_and_results.py``: 0 and 1 on the search split choose, 10 and up on the
test split give results. The table has the mean difference and its interval over seeds and images, and p values that are
corrected for the number of arms (``benchmarks/gain_summary.py``).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from choice_and_results import default_seeds, left_out_note, refusal, separate
from distune.cli.options import assignments
from distune.config.experiment import Experiment
from distune.config.load import load_experiment
from distune.config.paths import with_path
from distune.config.yaml import read_yaml
from distune.data.build import build_splits
from distune.evidence.resampling import resample_runs
from distune.training.builder import TrialBuilder
from distune.training.evaluation.matching import match_predictions
from distune.training.evaluation.predict_and_score import predict, score
from gain_summary import CONTROL, summarize

Values = dict[str, Any]

RESAMPLES = 200
_NUM_SEEDS = 3
_PLACES = ("root", "backbone_weights", "weights")
_EVALUATION_BATCH = 16


def experiment_of(source: Path, overrides: Mapping[str, Any]) -> Experiment:
    """Return the experiment of an arm. The teacher is not used, so it is the student: its weights are not needed."""
    values = dict(read_yaml(source)[0])
    for path, value in overrides.items():
        values = with_path(values, path, value)
    values["teacher"] = values["student"]
    return load_experiment(values, check_space=False).experiment


def train(experiment: Experiment, seed: int, *, split: str, name: str) -> Values:
    """Train a student without distillation, and score it after the last epoch on a split."""
    device = torch.device("cpu")
    splits = build_splits(experiment.data)
    scored = splits.search if split == "search" else splits.test
    assert scored is not None, "the experiment has no test split"
    builder, training = TrialBuilder(experiment, splits, device), experiment.training
    stream = builder.stream(training, seed=seed)
    student = builder.student(name, experiment.student, training, seed=seed, steps_per_epoch=len(stream), teacher=None)
    cohort = builder.cohort(training, stream, None, epochs_done=0)
    cohort.join(student)
    started, cpu_started = time.monotonic(), time.process_time()
    for epoch in range(1, training.epochs + 1):
        result = cohort.run_epoch(evaluate=False)[name]
        if result.error is not None:
            raise result.error
        passed_s = time.monotonic() - started
        loss = result.metrics["loss/total"]
        _say(f"{name}, seed {seed}: epoch {epoch}/{training.epochs}, loss {loss:.3f}, {passed_s:.0f} s")
    stream.close()
    predictions = predict(student.evaluated_model, scored, device=device, batch_size=_EVALUATION_BATCH)
    table = match_predictions(predictions, scored)
    resampled = resample_runs({seed: table}, "AP", num_resamples=RESAMPLES)
    figures = {metric: float(f"{value:.4g}") for metric, value in score(predictions, scored).items()}
    _say(f"{name}, seed {seed}: AP {figures['AP']:.2f}")
    return {
        "figures": figures,
        "resampled_AP": [round(float(each), 2) for each in resampled.scores[seed][1:]],
        "images": resampled.num_images,
        "cpu_s": round(time.process_time() - cpu_started),
    }


def condition_of(source: Path, overrides: Mapping[str, Any]) -> Values:
    """Return what tells the lines of one run from those of another; without places of files."""
    told = {path: value for path, value in overrides.items() if path.rpartition(".")[2] not in _PLACES}
    return {"experiment": source.stem, **told}


def run(
    source: Path,
    arms: Mapping[str, Mapping[str, Any]],
    overrides: Mapping[str, Any],
    seeds: Sequence[int],
    *,
    split: str,
    results: Path,
) -> None:
    """Train the arms and seeds that the results lack, and append a line for each."""
    condition = condition_of(source, overrides)
    for seed in seeds:
        for name, given in arms.items():
            if any((line["arm"], line["seed"]) == (name, seed) for line in read(results, condition, split)):
                continue
            found = train(experiment_of(source, {**overrides, **given}), seed, split=split, name=name)
            line = {"arm": name, "seed": seed, "split": split, **found, "given": dict(given), "condition": condition}
            results.parent.mkdir(parents=True, exist_ok=True)
            with results.open("a") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())


def read(path: Path, condition: Mapping[str, Any], split: str) -> list[Values]:
    """Return the stored lines of a condition and split."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return [line for line in lines if line["condition"] == condition and line["split"] == split]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Runs what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path, help="an experiment file, such as benchmarks/pairs/chess.yaml")
    parser.add_argument("--arms", type=Path, default=Path(__file__).parent / "arms" / "training_recipes.yaml")
    parser.add_argument("--only", nargs="*", default=[], help="run only these arms")
    parser.add_argument("--seeds", type=int, nargs="*", help="three of those of the split if not given, on test")
    parser.add_argument("--set", metavar="PATH=VALUE", action="append", default=[], dest="overrides")
    parser.add_argument("--split", choices=("search", "test"), default="test")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "recipe.jsonl")
    parser.add_argument("--metric", default="AP", help="of the table, such as AP50 or AP_small")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--summary", action="store_true", help="run nothing")
    options = parser.parse_args()
    seeds = default_seeds(options.split)[:_NUM_SEEDS] if options.seeds is None else options.seeds
    if (refused := refusal(options.split, seeds)) is not None:
        sys.exit(refused)
    torch.set_num_threads(options.threads)
    overrides = assignments("--set", options.overrides)
    if not options.summary:
        arms = {name: given or {} for name, given in read_yaml(options.arms)[0].items()}
        if CONTROL not in arms:
            sys.exit(f"{options.arms}: has no arm {CONTROL}, which the others are compared with")
        arms = {name: given for name, given in arms.items() if not options.only or name in options.only}
        run(options.experiment, arms, overrides, seeds, split=options.split, results=options.results)
    condition = condition_of(options.experiment, overrides)
    lines, left_out = separate(read(options.results, condition, options.split))
    print(f"{options.split} split {json.dumps(condition)}\n")
    print(summarize(lines, base=None, metric=options.metric))
    if left_out:
        print(f"\n{left_out_note(left_out, options.split)}")


if __name__ == "__main__":
    main()
