"""``distune launch`` and ``distune resume``: a session of a study, new or earlier."""

from __future__ import annotations

import contextlib
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from distune.cli.live import watching
from distune.cli.options import ExperimentArgument, SetOption, StudyArgument
from distune.cli.output import out, print_alarms, progress, trial_table
from distune.cli.preparation import describe_data, open_data, ready_teacher
from distune.cli.validate import describe_plan
from distune.config.home import Home
from distune.config.load import LoadedExperiment, load
from distune.errors import StudyError, UsageError
from distune.records import Outcome, TrialState
from distune.reports.tables import trial_rows
from distune.study.creation import create_study
from distune.study.folder import StudyFolder
from distune.study.resources import check_resources
from distune.study.session import SessionResult, run_session
from distune.study.status import StudyStatus, best, find_study, read_study
from distune.tracking.build import build_tracker
from distune.tracking.tracker import NullTracker, Tracker
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
    runner: Annotated[Runner, typer.Option(help="Ray Tune, or one trial at a time in this process.")] = Runner.ray,
    address: Annotated[str | None, typer.Option(help="Ray cluster, such as ray://head:10001 or auto.")] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Make up learning curves instead of training.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Remove an earlier study of that name.")] = False,
) -> None:
    """Launch a study: prepare the teacher, search, stop poor trials early, log everything.

    Ctrl-C ends it in order; `distune resume NAME` goes on with it.

    Examples:

        distune launch quickstart

        distune launch bccd --set data.root=BCCD --set search.num_trials=30

        distune launch quickstart --simulate --name rehearsal
    """
    assignments = [*set, *([f"resources.address={address}"] if address is not None else [])]
    loaded = load(experiment, assignments)
    home = Home.from_environment()
    study = name or loaded.experiment.name
    if home.study(study).exists() and not replace:
        raise StudyError(
            f"study {study} exists already: go on with it (distune resume {study}), give this one another name "
            "(--name OTHER), or start anew (--replace)"
        )
    check_resources(loaded.experiment.resources, simulate=simulate)
    if loaded.experiment.tracking.enabled and loaded.experiment.tracking.uri is not None:
        check_uri(loaded.experiment.tracking.uri)
    splits = None if simulate else open_data(loaded.experiment)
    if splits is not None:
        progress.print(f"data: {describe_data(splits)}")
    for line in describe_plan(loaded.experiment):
        progress.print(line)
    # The teacher before the study: when it cannot be had, no half-made study is left behind.
    teacher = None if splits is None else ready_teacher(loaded.experiment, splits, home)
    folder = create_study(loaded, home, name=study, simulate=simulate, runner=runner.value, replace=replace)
    _work(folder, loaded, home, teacher, num_trials=None)


def resume(
    study: StudyArgument,
    *,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in total, over all sessions.")] = None,
) -> None:
    """Go on with a study that was interrupted, or run more trials of one that has finished.

    Trials that were running continue after their last epoch; nothing that finished is repeated. The total counts
    searched trials over all sessions: a study of 30 does 20 more with --trials 50.

    Examples:

        distune resume quickstart

        distune resume quickstart --trials 50
    """
    home = Home.from_environment()
    folder = find_study(home, study)
    loaded = folder.load()
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


def describe_rest(status: StudyStatus, *, total: int, controls: int) -> str:
    """What is left of a study: trials that go on and trials to start, out of so many in total."""
    counts = {True: 0, False: 0}
    num_open = 0
    for trial in status.trials:
        if trial.outcome is not Outcome.WAITING:
            counts[trial.control] += 1
            num_open += trial.state is TrialState.RUNNING
    to_start = max(0, total - counts[False]) + max(0, controls - counts[True])
    if num_open + to_start == 0:
        return (
            f"study {status.study}: nothing is left of {total} trials, {counts[False]} have been done; "
            f"ask for more with --trials {counts[False] + 10}"
        )
    return (
        f"study {status.study}: {len(status.trials)} trials on record, controls included; {num_open} go on, "
        f"{to_start} are to start"
    )


def _work(
    folder: StudyFolder, loaded: LoadedExperiment, home: Home, teacher: Teacher | None, *, num_trials: int | None
) -> None:
    from distune.study.summary import draw_summary  # loads matplotlib

    identity, experiment = folder.identity(), loaded.experiment
    tracker: Tracker = NullTracker()
    if experiment.tracking.enabled:
        tracker = build_tracker(
            experiment.tracking,
            home=home,
            study_folder=folder.path,
            study=folder.name,
            study_key=identity.tracking_key,
            experiment=experiment.name,
        )
    teacher_score = None if teacher is None else teacher.metrics.get(identity.metric)
    with contextlib.closing(tracker):
        with watching(experiment, identity.metric, num_trials or folder.num_trials(experiment)) as listener:
            result = run_session(
                folder,
                tracker=tracker,
                listener=listener,
                teacher_weights=None if teacher is None else teacher.weights,
                num_trials=num_trials,
            )
        status = read_study(home, folder.name)
        try:
            picture = draw_summary(folder, status, teacher=teacher_score)
        except OSError as error:
            progress.print(f"report: the picture of the study cannot be kept: {error}", markup=False)
            picture = None
        if picture is not None:
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
        winner, gain = best(status)
        compared = "" if gain is None else f", {gain:+.1f} against the control (one seed: no proof yet)"
        out.print(f"best: trial {winner.key}, {status.metric} {winner.metrics[status.metric]:.1f}{compared}")
        weights = folder.trial(winner.number).best_checkpoint
        if weights.is_file():
            out.print(f"student: {weights}")
    print_alarms(status)
    out.print(f"study {folder.name}: {result.state}, {folder.path}")
    if result.state == "interrupted":
        raise InterruptedSessionError(f"study {folder.name} was interrupted; go on with: distune resume {folder.name}")
    out.print(f"look at it: distune ui {folder.name}    distune status {folder.name}    distune best {folder.name}")


class InterruptedSessionError(UsageError):
    """The session ended before the study did."""

    exit_status = 1
