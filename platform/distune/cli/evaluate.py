"""``distune evaluate``: score a checkpoint on a split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distune.cli.options import ExperimentArgument, JsonOption, SetOption, SplitName, load
from distune.cli.output import out, print_json


def evaluate(
    experiment: ExperimentArgument,
    checkpoint: Annotated[Path, typer.Argument(help="A distune checkpoint, such as a trial's best.pt.")],
    *,
    split: Annotated[SplitName, typer.Option(help="The split to score on.")] = SplitName.search,
    set: SetOption = [],  # noqa: A002, B006
    json: JsonOption = False,
) -> None:
    """Score a checkpoint, student or teacher, on the data of an experiment.

    The test split is meant for confirmed students alone: choosing by it makes it a search split.

    Example: `distune evaluate quickstart runs/studies/quickstart/trials/3/best.pt`
    """
    import distune

    loaded = load(experiment, set, check_space=False)
    figures = distune.evaluate(loaded, checkpoint, split=split.value)
    if json:
        print_json(figures)
        return
    for name, value in figures.items():
        out.print(f"{name:<24} {value:.1f}")
