"""``distune evaluate``: score a checkpoint on a split."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from distune.cli.options import ExperimentArgument, JsonOption, SetOption
from distune.cli.output import out, print_json
from distune.cli.preparation import open_data
from distune.config.load import load_experiment
from distune.errors import DataError


class Split(StrEnum):
    """What to score on."""

    search = "search"
    test = "test"


def evaluate(
    experiment: ExperimentArgument,
    checkpoint: Annotated[Path, typer.Argument(help="A distune checkpoint, such as a trial's best.pt.")],
    *,
    split: Annotated[Split, typer.Option(help="The split to score on.")] = Split.search,
    set: SetOption = [],  # noqa: A002, B006
    json: JsonOption = False,
) -> None:
    """Score a checkpoint, student or teacher, on the data of an experiment.

    The test split is meant for the confirmed students alone: whoever looks at it while searching searches on it.

    Example: `distune evaluate quickstart runs/studies/quickstart/trials/3/best.pt`
    """
    from distune.training.evaluation.checkpoint_score import open_student
    from distune.training.evaluation.known_classes import evaluate_known
    from distune.training.precision import autocast_dtype, pick_device

    loaded = load_experiment(experiment, set, check_space=False).experiment
    splits = open_data(loaded)
    dataset = splits.search if split is Split.search else splits.test
    if dataset is None:
        raise DataError(f"{experiment}: the experiment names no test split")
    device = pick_device(loaded.resources.gpus_per_trial)
    detector = open_student(checkpoint, loaded, tuple(splits.classes))
    detector.model.to(device)
    figures = evaluate_known(
        detector,
        dataset,
        device=device,
        batch_size=loaded.training.batch_size,
        autocast_dtype=autocast_dtype(loaded.training.precision, device),
    )
    if json:
        print_json({f"{split}/{name}": value for name, value in figures.items()})
        return
    for name, value in figures.items():
        out.print(f"{split}/{name:<24} {value:.1f}")
