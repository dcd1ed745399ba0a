"""``distune train``: train one student without a search, or a trial of a study again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distune.cli.completion import complete_experiment
from distune.cli.options import JsonOption, SetOption, load
from distune.cli.output import out, print_json
from distune.errors import UsageError


def train(
    experiment: Annotated[
        str | None,
        typer.Argument(
            help="Name of a shipped experiment, or path of a YAML file.",
            show_default=False,
            autocompletion=complete_experiment,
        ),
    ] = None,
    *,
    set: SetOption = [],  # noqa: A002, B006
    control: Annotated[bool, typer.Option("--control", help="Train without distillation.")] = False,
    trial: Annotated[
        str | None,
        typer.Option(
            metavar="STUDY/TRIAL",
            help="Instead of an experiment: train this trial of a study again, alone and on the same batches.",
            show_default=False,
        ),
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="New folder of the trial, or that of an interrupted one to continue.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train one student with an experiment's own values, without a search.

    With --trial, a trial of a study is trained again, for the epochs that it has on record. On the CPU the result is
    the same to the last bit; on a GPU it may differ a little.

    Examples:

        distune train quickstart --set training.epochs=4

        distune train --trial quickstart/5
    """
    import distune

    if trial is not None:
        if experiment is not None or set or control:
            raise UsageError(
                "--trial repeats a trial with its own settings: leave out the experiment, --set, --control"
            )
        _repeat(trial, out_folder, json=json)
        return
    if experiment is None:
        raise UsageError("name an experiment, such as quickstart, or a trial with --trial STUDY/TRIAL")
    trained = distune.train(load(experiment, set, check_space=False), control=control, folder=out_folder)
    best = trained.best
    if json:
        print_json({"folder": str(trained.folder), "weights": str(trained.weights), "best": best.to_dict()})
    else:
        out.print(f"best {trained.metric} {best.metrics[trained.metric]:.1f} in epoch {best.epoch}: {trained.weights}")


def _repeat(name: str, folder: Path | None, *, json: bool) -> None:
    import distune
    from distune.api.study_models import split_student_name

    study, trial = split_student_name(name)
    result = distune.load_study(study).repeat_trial(trial, folder=folder)
    if json:
        print_json(
            {
                "trial": result.name,
                "folder": str(result.folder),
                "epochs": result.num_epochs,
                "largest_difference": result.largest_difference,
            }
        )
        return
    if result.largest_difference == 0:
        verdict = f"equal to the record: {result.metric} of every epoch"
    else:
        verdict = f"{result.metric} differs from the record by up to {result.largest_difference:.2g} points"
    epochs = "1 epoch" if result.num_epochs == 1 else f"{result.num_epochs} epochs"
    out.print(f"trial {result.name}, {epochs} again: {verdict}; {result.folder}")
