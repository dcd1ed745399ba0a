"""``distune train``: train one student without a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distune.cli.options import ExperimentArgument, JsonOption, SetOption, load
from distune.cli.output import out, print_json


def train(
    experiment: ExperimentArgument,
    *,
    set: SetOption = [],  # noqa: A002, B006
    control: Annotated[bool, typer.Option("--control", help="Train without distillation.")] = False,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="New folder of the trial, or that of an interrupted one to continue.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train one student with an experiment's own values, without a search.

    Example: `distune train quickstart --set training.epochs=4`
    """
    import distune

    trained = distune.train(
        load(experiment, set, check_space=False),
        control=control,
        folder=out_folder,
    )
    best = trained.best
    if json:
        print_json({"folder": str(trained.folder), "weights": str(trained.weights), "best": best.to_dict()})
    else:
        out.print(f"best {trained.metric} {best.metrics[trained.metric]:.1f} in epoch {best.epoch}: {trained.weights}")
