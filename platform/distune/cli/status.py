"""``distune status`` and ``distune best``: how a study stands, and what it has found."""

from __future__ import annotations

from typing import Annotated

import typer

from distune.cli.options import JsonOption, StudyArgument
from distune.cli.output import out, print_alarms, print_front, print_json, trial_table
from distune.config.home import Home
from distune.errors import StudyError
from distune.reports.tables import trial_rows
from distune.study.status import best as best_trial
from distune.study.status import find_study, read_study, record_to_dict, study_names


def status(
    study: Annotated[str | None, typer.Argument(help="Name of the study; all are listed without one.")] = None,
    *,
    params: Annotated[bool, typer.Option("--params", help="Show the parameters of each trial.")] = False,
    json: JsonOption = False,
) -> None:
    """Show the trials of a study, controls first, then from best to worst.

    The gain is the best epoch's metric minus the control's. Works while the study runs.

    Example: `distune status quickstart`
    """
    home = Home.from_environment()
    if study is None:
        _list_studies(home, json=json)
        return
    found = read_study(home, study)
    if json:
        print_json(found.to_dict())
        return
    rows = trial_rows(found.trials, found.metric)
    out.print(trial_table(rows, found.metric, title=f"study {found.study}: {found.state}", with_params=params))
    if found.reason is not None:
        out.print(f"reason: {found.reason}", markup=False)
    print_alarms(found)


def best(study: StudyArgument, *, json: JsonOption = False) -> None:
    """Show the best finished trial, its gain over the control, and where its student is.

    Of a study with costs, also all trials that no other one beats in everything.

    One seed is no proof: the gain of a single control is an estimate with the spread of a single run.

    Example: `distune best quickstart --json`
    """
    home = Home.from_environment()
    found = read_study(home, study)
    winner, gain = best_trial(found)
    weights = find_study(home, study).trial(winner.number).best_checkpoint
    if json:
        front = {"front": [record_to_dict(trial) for trial in found.front]} if found.costs else {}
        where = str(weights) if weights.is_file() else None
        print_json({**record_to_dict(winner), "gain": gain, "weights": where, **front})
        return
    out.print(f"trial {winner.key}: {found.metric} {winner.metrics[found.metric]:.1f} after {winner.epochs} epochs")
    if gain is None:
        out.print("gain: unknown, no control has finished yet")
    else:
        out.print(f"gain: {gain:+.1f} against the control, seed {winner.seed} alone: not yet confirmed on other seeds")
    for path, value in winner.params.items():
        out.print(f"  {path}: {value}")
    if weights.is_file():
        out.print(f"student: {weights}")
    print_front(found)


def _list_studies(home: Home, *, json: bool) -> None:
    names = study_names(home)
    if json:
        print_json([{"study": name, "state": read_study(home, name).state} for name in names])
        return
    if not names:
        raise StudyError(f"there is no study in {home.studies} yet; start one with: distune launch quickstart")
    for name in names:
        out.print(f"{name}  {read_study(home, name).state}")
