"""``distune evaluate``: score a student of a study, or a checkpoint, on a split."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from distune.cli.options import JsonOption, SetOption, SplitName, load
from distune.cli.output import out, print_json
from distune.errors import UsageError

_TRIAL = re.compile(r"\d+|control(-\d+)?|teacher")


def evaluate(
    study: Annotated[
        str, typer.Argument(help="Name of a study; or an experiment, with a checkpoint after it.", show_default=False)
    ],
    trial: Annotated[
        str | None,
        typer.Argument(
            help="Trial such as 7, control or control-1, or teacher; or a checkpoint, such as a trial's best.pt. "
            "Default: the confirmed trial, before a confirmation the best one.",
            show_default=False,
        ),
    ] = None,
    *,
    split: Annotated[SplitName, typer.Option(help="The split to score on.")] = SplitName.search,
    set: SetOption = [],  # noqa: A002, B006
    json: JsonOption = False,
) -> None:
    """Score a student of a study, or its teacher, with the settings of the study.

    With an experiment and a checkpoint, score that file on the data of the experiment; --set changes the experiment.

    The test split is meant for confirmed students alone: choosing by it makes it a search split. Evaluations of a study
    on it are counted, as those of confirmations are.

    Examples:

        distune evaluate quickstart

        distune evaluate quickstart 7 --split test

        distune evaluate quickstart teacher

        distune evaluate quickstart runs/studies/quickstart/trials/3/best.pt
    """
    import distune

    is_study = study in distune.list_studies()
    if means_checkpoint(study, trial, is_study=is_study, is_experiment=_is_experiment(study)):
        assert trial is not None
        figures = distune.evaluate(load(study, set, check_space=False), Path(trial), split=split.value)
        _print(figures, json=json)
        return
    if set:
        raise UsageError(f"--set has no effect here: study {study} is scored with its own settings; remove it")
    result = distune.load_study(study).evaluation(trial, split=split.value)
    previous = result.previous_test_evaluations
    if json:
        counted = {} if previous is None else {"previous_test_evaluations": previous}
        print_json({"study": study, "trial": result.name, "weights": str(result.weights), **result.metrics, **counted})
        return
    out.print(f"study {study}, {'' if result.name == 'teacher' else 'trial '}{result.name}: {result.weights}")
    _print(result.metrics, json=False)
    if previous is not None:
        others = {0: "no other evaluation", 1: "1 other evaluation"}.get(previous, f"{previous} other evaluations")
        out.print(f"test split: {others} on record in this study; this one is recorded")


def means_checkpoint(first: str, second: str | None, *, is_study: bool, is_experiment: bool) -> bool:
    """Decide whether two arguments are an experiment and a checkpoint, or a study and a trial.

    Args:
        first: name of a study, or an experiment.
        second: a trial, or a checkpoint; None without one.
        is_study: ``first`` is the name of a study.
        is_experiment: ``first`` is the name or the file of an experiment.

    Returns:
        True for an experiment and a checkpoint.

    Raises:
        UsageError: the arguments are neither, or could be both.
    """
    if not is_study and not is_experiment:
        raise UsageError(f"{first}: there is no such study and no such experiment; distune status lists the studies")
    if second is None:
        if not is_study:
            raise UsageError(f"{first} is an experiment, and no study has this name: name a checkpoint after it")
        return False
    is_file, is_trial = Path(second).is_file(), _TRIAL.fullmatch(second) is not None
    if is_file and is_trial and is_study and is_experiment:
        raise UsageError(
            f"{second} is a file, and names a trial of study {first} as well: write ./{second} for the file, or run "
            f"the command in another folder for the trial"
        )
    if is_experiment and (is_file or not is_study):
        return True
    if not is_trial:
        what = "a file, and needs an experiment before it" if is_file else "no file"
        raise UsageError(
            f"{second} is {what}, and no trial of study {first}: name a trial such as 7, control-1, or teacher"
        )
    return False


def _is_experiment(name: str) -> bool:
    from distune.config.shipped import find_file

    try:
        return find_file(name, "experiments").is_file()
    except UsageError:
        return False


def _print(figures: dict[str, float], *, json: bool) -> None:
    if json:
        print_json(figures)
        return
    for name, value in figures.items():
        out.print(f"{name:<24} {value:.1f}")
