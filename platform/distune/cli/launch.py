"""``distune launch`` and ``distune resume``: run a session of a new or an earlier study."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from distune.cli.completion import complete_experiment, complete_study
from distune.cli.options import (
    OPTIONS,
    ExperimentArgument,
    FixOption,
    RunnerName,
    SetOption,
    StudyArgument,
    assignments,
    load,
)
from distune.cli.output import out, print_if_simulated, print_pareto_front, print_warnings
from distune.errors import StudyError, UsageError
from distune.reports.tables import trial_rows, trial_table

if TYPE_CHECKING:
    from distune.api.study import Study

_WARM_START_TOP = 5


class InterruptedSessionError(UsageError):
    """The session ended before the study did."""

    exit_status = 1


def launch(
    experiment: ExperimentArgument,
    *,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the study. Default: the experiment's, with -simulated after it for a simulated study."
        ),
    ] = None,
    set: SetOption = [],  # noqa: A002, B006
    fix: FixOption = [],  # noqa: B006
    warm_start: Annotated[
        str | None,
        typer.Option(
            "--warm-start",
            metavar="STUDY",
            help="Try the best configurations of a study first.",
            autocompletion=complete_study,
        ),
    ] = None,
    warm_start_top: Annotated[
        int | None,
        typer.Option(min=1, help=f"How many of its best finished trials to try. Default: {_WARM_START_TOP}."),
    ] = None,
    runner: Annotated[RunnerName, typer.Option(help="Ray Tune, or one worker in this process.")] = RunnerName.ray,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster that this machine belongs to, such as auto or head:6379.")
    ] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Simulate learning curves instead of training.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Remove an earlier study of that name.")] = False,
) -> None:
    """Launch a study: prepare the teacher, search, stop poor trials early, log everything.

    Ctrl-C ends the session; `distune resume NAME` continues it.

    Examples:

        distune launch quickstart

        distune launch bccd --set data.root=BCCD --set search.num_trials=30

        distune launch quickstart --simulate

        distune launch mine.yaml --name second --warm-start first --fix distillation.decay=cosine
    """
    import distune

    if warm_start is None and warm_start_top is not None:
        raise UsageError("--warm-start-top has no effect without --warm-start STUDY")
    if address is not None and runner is RunnerName.local:
        raise UsageError("--address has no effect with --runner local, which trains in this process; leave out one")
    given = [*set, *([f"resources.address={address}"] if address is not None else [])]
    loaded = load(experiment, given, fixed=fix)
    study = distune.launch(
        loaded,
        name=name,
        warm_start=warm_start,
        warm_start_top=_WARM_START_TOP if warm_start_top is None else warm_start_top,
        runner=runner.value,
        simulate=simulate,
        replace=replace,
    )
    _print_result(study)


def resume(
    study: StudyArgument,
    *,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in total, over all sessions.")] = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            "--experiment",
            help="Continue with the settings of this file. Refused if trials would not be comparable.",
            autocompletion=complete_experiment,
        ),
    ] = None,
    set: SetOption = [],  # noqa: A002, B006
) -> None:
    """Continue a study that was interrupted, or run more trials of one that has finished.

    Trials that were running continue after their last epoch; nothing that finished is repeated. The total counts
    searched trials over all sessions: a study of 30 runs 20 more with --trials 50.

    A study continues with the settings it was launched with, which are in its folder. Settings that were changed
    there, or are given with --experiment or --set, are listed; changes that would make trials incomparable are refused.

    Examples:

        distune resume quickstart

        distune resume quickstart --trials 50

        distune resume quickstart --set resources.max_concurrent=2
    """
    import distune

    handle = distune.load_study(study)
    settings = handle.load_settings(experiment, overrides=assignments(OPTIONS[0], set), options=OPTIONS)
    _print_result(handle.resume(num_trials=trials, experiment=settings))


def _print_result(study: Study) -> None:
    from distune.confirmation.confirmation_text import headline
    from distune.study.status import best_trial

    status = study.status
    title = status.title if status.simulated else None
    out.print(trial_table(trial_rows(status.trials, status.metric), status.metric, title=title))
    if status.teacher_line is not None:
        out.print(status.teacher_line)
    with contextlib.suppress(StudyError):
        winner, gain = best_trial(status)
        compared = "" if gain is None else f", {gain:+.1f} against the control in this one run"
        out.print(f"best: trial {winner.key}, {status.metric} {winner.metrics[status.metric]:.1f}{compared}")
        out.print(f"student: {study.weights(winner.number)}")
    print_pareto_front(status)
    print_warnings(status)
    out.print(f"{status.title}: {status.state}, {study.path}")
    if status.reason is not None:
        out.print(f"reason: {status.reason}")
    if status.state == "interrupted":
        raise InterruptedSessionError(f"study {study.name} was interrupted; continue with: distune resume {study.name}")
    if study.experiment.search.confirm == "race" and status.confirmation is None:
        raise InterruptedSessionError(
            f"the confirmation of study {study.name} was interrupted; continue with: distune resume {study.name}"
        )
    out.print(f"next: distune best {study.name}    distune status {study.name}    distune ui {study.name}")
    if status.confirmation is None:
        out.print(f"to test the gain on new seeds: distune confirm {study.name}")
    else:
        out.print(headline(status.confirmation))
    print_if_simulated(simulated=status.simulated)
