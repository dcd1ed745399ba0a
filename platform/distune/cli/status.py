"""``distune status`` and ``distune best``: the state of a study, and its result."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Annotated

import typer

from distune.cli.completion import complete_study
from distune.cli.options import JsonOption, StudyArgument
from distune.cli.output import (
    out,
    print_damage,
    print_if_simulated,
    print_json,
    print_pareto_front,
    print_warnings,
    progress,
)
from distune.config.format_value import format_value
from distune.errors import DistuneError, StudyError, UsageError
from distune.reports.epoch_table import epoch_table
from distune.reports.model_sizes import size_lines, size_table
from distune.reports.tables import trial_rows, trial_table

if TYPE_CHECKING:
    from distune.api.study import Study
    from distune.reports.model_sizes import ModelSizes
    from distune.study.status import StudyStatus


def status(
    study: Annotated[
        str | None,
        typer.Argument(help="Name of the study. Default: list all studies.", autocompletion=complete_study),
    ] = None,
    *,
    params: Annotated[bool, typer.Option("--params", help="Show the parameters of each trial.")] = False,
    trial: Annotated[
        str | None,
        typer.Option("--trial", metavar="NUMBER", help="Show the epochs of one trial, such as 7 or control-1."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show the trials of a study, controls first, then from best to worst.

    The gain is the best epoch's metric minus the control's, for trials that had the whole budget. Works while the
    study runs. With --trial, the epochs of a trial: its score, the fraction of clipped steps, and for each term of the
    distillation its share of the gradient, delivered and asked, and the cosine to the task's gradient.

    Example: `distune status quickstart`
    """
    if study is None:
        if params or trial is not None:
            raise UsageError("--params and --trial show one study; name it")
        _list_studies(json=json)
        return
    import distune
    from distune.study.planning.time_text import describe_study_time

    handle = distune.load_study(study)
    result = handle.status
    if trial is not None:
        _show_trial(result, handle, trial, json=json)
        return
    if json:
        print_json(result.to_dict())
        return
    rows = trial_rows(result.trials, result.metric)
    out.print(trial_table(rows, result.metric, title=f"{result.title}: {result.state}", with_params=params))
    if result.reason is not None:
        out.print(f"reason: {result.reason}")
    print_warnings(result)
    if result.runs is not None:
        out.print(str(result.runs))
    if result.time is not None:
        state = result.state if result.runs is None else "interrupted"  # the search does not run
        out.print(describe_study_time(result.time, state, now=time.time()))
    if result.teacher_line is not None:
        out.print(result.teacher_line)
    _print_gain(result)
    print_if_simulated(simulated=result.simulated)


def best(study: StudyArgument, *, json: JsonOption = False) -> None:
    """Show the best trial, its gain over no distillation, and where its student is.

    After `distune confirm` that is the confirmed trial, with the interval of its gain over seeds and images. Before, it
    is the best of the search, and its gain is an estimate from a single run. With costs, also the Pareto front.

    Parameters, FLOPs, latency and file size of teacher, control and student are measured once, at the end of a session
    or here, and stored in the study's folder.

    Example: `distune best quickstart --json`
    """
    import distune
    from distune.confirmation.confirmation_text import explain, headline, overtaken, unconfirmed
    from distune.study.status import best_trial, confirmed_trial, record_to_dict

    handle = distune.load_study(study)
    status = handle.status  # read once: it opens the files of all trials
    confirmed, winner = status.confirmation, confirmed_trial(status)
    leader, gain = best_trial(status)
    weights = None
    with contextlib.suppress(StudyError):
        weights = handle.weights(winner.number) if confirmed is None else handle.best_weights
    sizes = _model_sizes(handle, status)
    if json:
        pareto_front = [record_to_dict(trial) for trial in status.pareto_front]
        print_json(
            {
                "study": study,
                "state": status.state,
                "simulated": status.simulated,
                **record_to_dict(winner),
                "gain": gain if confirmed is None else confirmed.gain.mean,
                "weights": None if weights is None else str(weights),
                "confirmation": None
                if confirmed is None
                else {**confirmed.to_dict(), "verdict": confirmed.verdict, "summary": confirmed.summary},
                "damaged_records": [str(each) for each in status.damaged],
                "sizes": None if sizes is None else sizes.to_dict(),
                **({"pareto_front": pareto_front} if status.costs else {}),
            }
        )
        return
    score = f"{status.metric} {winner.metrics[status.metric]:.1f} after {winner.epochs} epochs"
    out.print(f"{status.title}, trial {winner.key}: {score}")
    lines = (
        [unconfirmed(status, gain)] if confirmed is None else [headline(confirmed), *explain(confirmed, handle.path)]
    )
    for line in [*lines, overtaken(status, leader)]:
        if line is not None:
            out.print(line)
    print_damage(status)
    if status.state == "failed":
        out.print(f"the study failed: {status.reason}")
    for path, value in winner.params.items():
        out.print(f"  {path}: {format_value(value, digits=4)}")
    if confirmed is None and weights is not None:
        out.print(f"student: {weights}")
    if sizes is not None:
        out.print(size_table(sizes))
        for line in size_lines(sizes):
            out.print(line)
    elif status.state == "running" and not status.simulated:
        out.print("size: measured when the session has ended")
    print_pareto_front(status)
    if weights is not None:
        name = status.study
        out.print(f"to understand it: distune report {name} --open, distune explain {name}")
        out.print(f"to use it: distune predict {name} IMAGES, distune export {name}")
    print_if_simulated(simulated=status.simulated)


def _model_sizes(handle: Study, status: StudyStatus) -> ModelSizes | None:
    """Return the sizes of the models; print why they cannot be measured."""
    try:
        return handle.model_sizes(status)
    except (DistuneError, OSError, RuntimeError) as error:  # such as a device without free memory
        progress.print(f"sizes: not measured: {error}", style="yellow")
        return None


def _show_trial(status: StudyStatus, handle: Study, key: str, *, json: bool) -> None:
    """Print the epochs of a trial, and the warnings about it."""
    from distune.study.status import finite_or_none, record_to_dict

    record = next((each for each in status.trials if each.key == key), None)
    if record is None:
        known = ", ".join(each.key for each in status.trials)
        raise StudyError(f"study {status.study}: there is no trial {key}; known are {known}")
    reports = handle.epochs(record.number)
    if json:
        epochs = [{"epoch": each.epoch, "metrics": finite_or_none(each.metrics)} for each in reports]
        print_json(
            {"study": status.study, "simulated": status.simulated, **record_to_dict(record), "all_epochs": epochs}
        )
        return
    title = f"{status.title}, trial {record.key}: {record.outcome}"
    out.print(epoch_table(reports, status.metric, title=title))
    for text in record.warnings.values():
        out.print(f"warning: {text}", style="yellow")
    print_if_simulated(simulated=status.simulated)


def _print_gain(status: StudyStatus) -> None:
    """Print the gain in a line; nothing while no trial has finished."""
    from distune.confirmation.confirmation_text import headline, overtaken, unconfirmed
    from distune.study.status import best_trial

    with contextlib.suppress(StudyError):
        leader, gain = best_trial(status)
        if status.confirmation is None:
            score = f"{status.metric} {leader.metrics[status.metric]:.1f}"
            out.print(f"best: trial {leader.key}, {score}, {unconfirmed(status, gain)}")
            return
        out.print(headline(status.confirmation))
        later = overtaken(status, leader)
        if later is not None:
            out.print(later)


def _list_studies(*, json: bool) -> None:
    import distune
    from distune.config.home import Home

    studies, names = [], distune.list_studies()
    for name in names:
        try:
            studies.append(distune.load_study(name).status)
        except DistuneError as error:  # the others are shown
            progress.print(f"{name}: {error}", style="yellow")
    if json:
        print_json(
            [
                {"study": each.study, "state": each.state, "simulated": each.simulated, "reason": each.reason}
                for each in studies
            ]
        )
        return
    if not names:
        home = Home.from_environment()
        raise StudyError(f"there is no study in {home.studies}{home.origin}; start one with: distune launch quickstart")
    for status in studies:
        out.print(f"{status.study}  {status.state}{'  simulated' if status.simulated else ''}")
