"""``distune confirm``: is the best student really better than no distillation?"""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from distune.cli.confirmation_text import explain, headline
from distune.cli.launch import InterruptedSessionError
from distune.cli.live import watching
from distune.cli.options import JsonOption, StudyArgument
from distune.cli.output import out, print_json, print_whether_simulated, progress
from distune.cli.preparation import open_data, open_tracker, ready_teacher
from distune.config.home import Home
from distune.confirmation.confirmation_plan import DEFAULT_SEEDS, DEFAULT_TOP, ConfirmationPlan, plan_confirmation
from distune.confirmation.confirmation_session import run_confirmation
from distune.errors import UsageError
from distune.evidence.confirmation_result import ConfirmationResult
from distune.evidence.matches import METRICS
from distune.study.files.settings_diff import describe_changes
from distune.study.files.study_folder import StudyFolder
from distune.study.settings_update import update_settings
from distune.study.status import find_study, read_study


def confirm(
    study: StudyArgument,
    *,
    top: Annotated[int, typer.Option(min=1, help="Trials to train again, the best of the search.")] = DEFAULT_TOP,
    seeds: Annotated[int, typer.Option(min=1, help="Fresh seeds for each of them and its control.")] = DEFAULT_SEEDS,
    metric: Annotated[
        str | None, typer.Option(help=f"What gains are measured in: {', '.join(METRICS)}. The study's when missing.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train the best trials again on fresh seeds beside controls, and say whether there is a gain.

    The arms of a seed are trained side by side, for the whole budget. The best on the search split then meets its
    control on the test split, once. Ctrl-C ends it in order; the same command goes on with it and computes nothing
    twice.

    Examples:
        distune confirm quickstart

        distune confirm quickstart --top 1 --seeds 8
    """
    home = Home.from_environment()
    folder = find_study(home, study)
    loaded = folder.load()
    experiment, is_simulated = loaded.experiment, folder.identity().simulate
    chosen = metric or experiment.search.metric
    if chosen not in METRICS:
        raise UsageError(f"--metric {chosen}: must be one of {', '.join(METRICS)}")
    with folder.lock():  # nothing is begun while another session works on the study
        changes = update_settings(folder, loaded)
    for line in describe_changes(changes):
        progress.print(line, markup=False)
    status = read_study(home, study)
    teacher, has_test = None, True
    plan = plan_confirmation(folder, status, experiment, top=top, num_seeds=seeds, teacher_weights=None)
    if not is_simulated:
        splits = open_data(experiment)
        has_test = splits.test is not None
        teacher = ready_teacher(experiment, splits, home)
        plan = plan_confirmation(
            folder,
            status,
            experiment,
            top=top,
            num_seeds=seeds,
            teacher_weights=teacher.weights,
            data_fingerprint=splits.fingerprint,
        )
    if status.state != "finished":
        progress.print(f"study {study} is {status.state}: what is best so far is confirmed")
    progress.print(_describe(plan))
    with contextlib.closing(open_tracker(folder, experiment, home)) as tracker:
        with watching(experiment, folder.identity().metric, len(plan.specs) - experiment.search.controls) as callback:
            found = run_confirmation(
                folder,
                plan,
                metric=chosen,
                has_test=has_test,
                state=status.state,
                tracker=tracker,
                callback=callback,
            )
        progress.print("sending what is left to MLflow")
    if found is None:
        raise InterruptedSessionError(f"the confirmation was interrupted; go on with: distune confirm {study}")
    if json:
        print_json({**found.to_dict(), "verdict": found.verdict, "words": found.words})
        return
    _say(folder, found)


def _describe(plan: ConfirmationPlan) -> str:
    trials = ", ".join(arm.name for arm in plan.arms.trials)
    runs = len(plan.specs)
    return (
        f"confirmation: trial {trials} and {len(plan.arms.controls)} control(s) on seeds {plan.seeds[0]} to "
        f"{plan.seeds[-1]}: {runs} runs, {plan.num_epochs} epochs to train"
    )


def _say(folder: StudyFolder, found: ConfirmationResult) -> None:
    for candidate in found.candidates:
        words = "not compared"
        if candidate.search is not None:
            gain = candidate.describe(candidate.search, num_seeds=len(found.seeds))
            words = f"{found.metric} {candidate.search.student:.1f}, {gain}"
        out.print(f"trial {candidate.number}, search split: {words}", markup=False)
        for line in candidate.failures if candidate.number != found.winner else ():  # the winner's are said below
            out.print(f"  {line}", markup=False)
    out.print(headline(found), markup=False)
    for line in explain(found, folder):
        out.print(line, markup=False)
    out.print(f"picture: {folder.confirmation.picture_file}", markup=False)
    print_whether_simulated(simulated=folder.identity().simulate)
