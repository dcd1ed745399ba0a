"""``distune launch`` and ``distune resume``: a session of a study, new or earlier."""

from __future__ import annotations

import contextlib
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distune.cli.confirmation_text import headline
from distune.cli.live import watching
from distune.cli.options import ExperimentArgument, FixOption, SetOption, StudyArgument
from distune.cli.output import out, print_front, print_warnings, print_whether_simulated, progress, trial_table
from distune.cli.planning import describe_plan, describe_rest, describe_sizes
from distune.cli.preparation import describe_data, open_data, open_tracker, ready_teacher
from distune.config.home import Home
from distune.config.load import LoadedExperiment, load_experiment
from distune.config.yaml import read_yaml
from distune.errors import StudyError, UsageError
from distune.reports.tables import trial_rows
from distune.study.create import check_name_is_free, create_study
from distune.study.files.settings_diff import describe_changes
from distune.study.files.study_folder import StudyFolder
from distune.study.preflight import check_before_start
from distune.study.search.warm_start import warm_start as warm_start_from
from distune.study.search.warm_start import with_initial_configurations
from distune.study.session import SessionResult, run_session
from distune.study.settings_update import update_settings
from distune.study.status import best_trial, find_study, read_study
from distune.tracking.uris import check_uri

if TYPE_CHECKING:
    from distune.training.teacher import Teacher


class Runner(StrEnum):
    """What trials run on."""

    ray = "ray"
    local = "local"


def launch(
    experiment: ExperimentArgument,
    *,
    name: Annotated[str | None, typer.Option(help="Name of the study; the experiment's when missing.")] = None,
    set: SetOption = [],  # noqa: A002, B006
    fix: FixOption = [],  # noqa: B006
    warm_start: Annotated[
        str | None, typer.Option("--warm-start", metavar="STUDY", help="Try the best configurations of a study first.")
    ] = None,
    warm_start_top: Annotated[int, typer.Option(min=1, help="How many of its finished trials.")] = 5,
    runner: Annotated[Runner, typer.Option(help="Ray Tune, or one trial at a time in this process.")] = Runner.ray,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster that this machine belongs to, such as auto or head:6379.")
    ] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Make up learning curves instead of training.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Remove an earlier study of that name.")] = False,
) -> None:
    """Launch a study: prepare the teacher, search, stop poor trials early, log everything.

    Ctrl-C ends it in order; `distune resume NAME` goes on with it.

    Examples:
        distune launch quickstart

        distune launch bccd --set data.root=BCCD --set search.num_trials=30

        distune launch quickstart --simulate --name rehearsal

        distune launch mine.yaml --name second --warm-start first --fix distillation.decay=cosine
    """
    assignments = [*set, *([f"resources.address={address}"] if address is not None else [])]
    loaded = load_experiment(experiment, assignments, fixed=fix)
    home = Home.from_environment()
    study = name or loaded.experiment.name
    if not replace:
        check_name_is_free(home, study)
    check_before_start(loaded.experiment, simulate=simulate)
    if warm_start is not None:
        loaded = _warm_started(loaded, home, warm_start, top=warm_start_top)
    if loaded.experiment.tracking.enabled and loaded.experiment.tracking.uri is not None:
        check_uri(loaded.experiment.tracking.uri)
    splits = None if simulate else open_data(loaded.experiment)
    if splits is not None:
        progress.print(f"data: {describe_data(splits)}")
    for line in (*describe_plan(loaded), *describe_sizes(loaded, splits, home)):
        progress.print(line, markup=False)
    # The teacher before the study: when it cannot be had, no half-made study is left behind.
    teacher = None if splits is None else ready_teacher(loaded.experiment, splits, home)
    folder = create_study(loaded, home, name=study, simulate=simulate, runner=runner.value, replace=replace)
    _work(folder, loaded, home, teacher, num_trials=None)


def _warm_started(loaded: LoadedExperiment, home: Home, source: str, *, top: int) -> LoadedExperiment:
    found = warm_start_from(read_study(home, source), find_study(home, source).load(), loaded, top=top)
    for line in found.messages:
        progress.print(line, markup=False)
    return with_initial_configurations(loaded, found.configurations)


def resume(
    study: StudyArgument,
    *,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in total, over all sessions.")] = None,
    experiment: Annotated[
        str | None, typer.Option("--experiment", help="Go on with the settings of this file, if the study can.")
    ] = None,
    set: SetOption = [],  # noqa: A002, B006
) -> None:
    """Go on with a study that was interrupted, or run more trials of one that has finished.

    Trials that were running continue after their last epoch; nothing that finished is repeated. The total counts
    searched trials over all sessions: a study of 30 does 20 more with --trials 50.

    A study goes on with the settings it was launched with, which lie in its folder. What has been changed there, or is
    given with --experiment or --set, is named; changes that would make its trials incomparable are refused.

    Examples:
        distune resume quickstart

        distune resume quickstart --trials 50

        distune resume quickstart --set resources.max_concurrent=2
    """
    home = Home.from_environment()
    folder = find_study(home, study)
    loaded = load_experiment(
        folder.experiment_file if experiment is None else experiment,
        set,
        space=_space_of(folder, experiment),
        saved=experiment is None,
    )
    check_before_start(loaded.experiment, simulate=folder.identity().simulate)
    with folder.lock():
        changes = update_settings(folder, loaded)
    for line in describe_changes(changes):
        progress.print(line, markup=False)
    progress.print(
        describe_rest(
            read_study(home, study),
            total=folder.num_trials(loaded.experiment) if trials is None else trials,
            controls=loaded.experiment.search.controls,
        )
    )
    teacher = None
    if not folder.identity().simulate:
        teacher = ready_teacher(loaded.experiment, open_data(loaded.experiment), home)
    _work(folder, loaded, home, teacher, num_trials=trials)


def _space_of(folder: StudyFolder, experiment: str | None) -> dict[str, Any] | None:
    """The study's own space; another experiment comes with its own."""
    return read_yaml(folder.space_file)[0] if experiment is None else None


def _work(
    folder: StudyFolder, loaded: LoadedExperiment, home: Home, teacher: Teacher | None, *, num_trials: int | None
) -> None:
    from distune.study.study_figures import draw_pareto_front, draw_summary  # loads matplotlib

    identity, experiment = folder.identity(), loaded.experiment
    tracker = open_tracker(folder, experiment, home)
    teacher_score = None if teacher is None else teacher.metrics.get(identity.metric)
    with contextlib.closing(tracker):
        with watching(experiment, identity.metric, num_trials or folder.num_trials(experiment)) as callback:
            result = run_session(
                folder,
                tracker=tracker,
                callback=callback,
                teacher_weights=None if teacher is None else teacher.weights,
                num_trials=num_trials,
            )
        status = read_study(home, folder.name)
        try:
            pictures = [draw_summary(folder, status, teacher=teacher_score), draw_pareto_front(folder, status)]
        except OSError as error:
            progress.print(f"report: the pictures of the study cannot be kept: {error}", markup=False)
            pictures = []
        for picture in filter(None, pictures):
            tracker.log_file(None, picture, "report")
        if teacher_score is not None:
            tracker.log_study({f"teacher/{experiment.search.metric}": teacher_score}, {})
        progress.print("sending what is left to MLflow")
    _say_how_it_ended(home, folder, result, teacher_score)


def _say_how_it_ended(home: Home, folder: StudyFolder, result: SessionResult, teacher: float | None) -> None:
    status = read_study(home, folder.name)
    out.print(trial_table(trial_rows(status.trials, status.metric), status.metric))
    if teacher is not None:
        out.print(f"teacher: {status.metric} {teacher:.1f}")
    with contextlib.suppress(StudyError):
        winner, gain = best_trial(status)
        compared = "" if gain is None else f", {gain:+.1f} against the control in this one run"
        out.print(f"best: trial {winner.key}, {status.metric} {winner.metrics[status.metric]:.1f}{compared}")
        weights = folder.trial(winner.number).best_checkpoint
        if weights.is_file():
            out.print(f"student: {weights}")
    print_front(status)
    print_warnings(status)
    out.print(f"{status.title}: {result.state}, {folder.path}")
    if result.reason is not None:
        out.print(f"reason: {result.reason}", markup=False)
    if result.state == "interrupted":
        raise InterruptedSessionError(f"study {folder.name} was interrupted; go on with: distune resume {folder.name}")
    out.print(f"look at it: distune ui {folder.name}    distune status {folder.name}    distune best {folder.name}")
    if status.confirmation is None:
        out.print(f"is the gain real? distune confirm {folder.name}")
    else:
        out.print(headline(status.confirmation), markup=False)
    print_whether_simulated(simulated=status.simulated)


class InterruptedSessionError(UsageError):
    """The session ended before the study did."""

    exit_status = 1
