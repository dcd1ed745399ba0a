"""``distune status`` and ``distune best``: how a study stands, and what it has found."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from distune.cli.confirmation_text import explain, headline, overtaken, unconfirmed
from distune.cli.options import JsonOption, StudyArgument
from distune.cli.output import out, print_front, print_json, print_warnings, print_whether_simulated, trial_table
from distune.config.home import Home
from distune.errors import StudyError
from distune.records import TrialRecord
from distune.reports.tables import trial_rows
from distune.study.status import StudyStatus, best_trial, find_study, read_study, record_to_dict, study_names


def status(
    study: Annotated[str | None, typer.Argument(help="Name of the study; all are listed without one.")] = None,
    *,
    params: Annotated[bool, typer.Option("--params", help="Show the parameters of each trial.")] = False,
    json: JsonOption = False,
) -> None:
    """Show the trials of a study, controls first, then from best to worst.

    The gain is the best epoch's metric minus the control's, of trials that had the whole budget. Works while the
    study runs.

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
    out.print(trial_table(rows, found.metric, title=f"{found.title}: {found.state}", with_params=params))
    if found.reason is not None:
        out.print(f"reason: {found.reason}", markup=False)
    print_warnings(found)
    _print_gain(found)
    print_whether_simulated(simulated=found.simulated)


def best(study: StudyArgument, *, json: JsonOption = False) -> None:
    """Show the best trial, its gain over no distillation, and where its student is.

    After `distune confirm` that is the confirmed trial, with the interval of its gain over seeds and images. Before, it
    is the best of the search, and its gain is an estimate with the spread of a single run. Of a study with costs, also
    all trials that no other one beats in everything.

    Example: `distune best quickstart --json`
    """
    home = Home.from_environment()
    status, folder = read_study(home, study), find_study(home, study)
    leader, gain = best_trial(status)
    found = status.confirmation
    winner = leader if found is None else _record_of(status, found.winner, leader)
    weights = folder.trial(winner.number).best_checkpoint if found is None else folder.path / found.weights
    if json:
        values = {**record_to_dict(winner), "gain": gain if found is None else found.final.mean}
        confirmed = None if found is None else {**found.to_dict(), "words": found.words}
        where = str(weights) if weights.is_file() else None
        front = {"pareto_front": [record_to_dict(trial) for trial in status.pareto_front]} if status.costs else {}
        print_json({**values, "weights": where, "confirmation": confirmed, **front})
        return
    out.print(f"trial {winner.key}: {status.metric} {winner.metrics[status.metric]:.1f} after {winner.epochs} epochs")
    lines = [unconfirmed(status, gain)] if found is None else [headline(found), *explain(found, folder)]
    for line in [*lines, overtaken(status, leader)]:
        if line is not None:
            out.print(line, markup=False)
    for path, value in winner.params.items():
        out.print(f"  {path}: {value}")
    if found is None and weights.is_file():
        out.print(f"student: {weights}")
    print_front(status)
    print_whether_simulated(simulated=status.simulated)


def _print_gain(status: StudyStatus) -> None:
    """What is known about the gain, in a line; nothing as long as no trial has finished."""
    with contextlib.suppress(StudyError):
        leader, gain = best_trial(status)
        if status.confirmation is None:
            out.print(f"best: trial {leader.key}, {unconfirmed(status, gain)}", markup=False)
            return
        out.print(headline(status.confirmation), markup=False)
        later = overtaken(status, leader)
        if later is not None:
            out.print(later, markup=False)


def _record_of(status: StudyStatus, number: int, leader: TrialRecord) -> TrialRecord:
    return next((record for record in status.trials if record.number == number), leader)


def _list_studies(home: Home, *, json: bool) -> None:
    names = study_names(home)
    if json:
        print_json([{"study": name, "state": read_study(home, name).state} for name in names])
        return
    if not names:
        raise StudyError(f"there is no study in {home.studies} yet; start one with: distune launch quickstart")
    for name in names:
        found = read_study(home, name)
        out.print(f"{name}  {found.state}{'  simulated' if found.simulated else ''}")
