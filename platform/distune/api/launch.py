"""Launch, load and list studies in Python. What only a launch needs is imported there, so that listing is quick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from distune.api.progress import open_callbacks
from distune.api.study import Study
from distune.config.home import Home
from distune.config.load import ExperimentLike, SpaceLike, load_experiment
from distune.errors import StudyError
from distune.records import ParameterValue
from distune.study.callback import StudyCallback
from distune.study.files.study_folder import Runner
from distune.study.status import study_names


def launch(
    experiment: ExperimentLike,
    *,
    name: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    fixed: Mapping[str, ParameterValue] | None = None,
    space: SpaceLike | None = None,
    warm_start: str | None = None,
    warm_start_top: int = 5,
    runner: Runner = "ray",
    simulate: bool = False,
    replace: bool = False,
    callbacks: Sequence[StudyCallback] | None = None,
    home: str | PathLike[str] | None = None,
) -> Study:
    """Launch a study: prepare the teacher, search, stop poor trials early, train a control, log everything.

    Ctrl-C and SIGTERM end the session; ``Study.resume`` continues it.

    Args:
        experiment: a shipped experiment's name, a YAML file, plain data, or an ``Experiment``.
        name: name of the study; the experiment's when None, followed by ``-simulated`` when it is simulated.
        overrides: path to value, such as ``{"training.epochs": 6}``, applied over the experiment.
        fixed: searched path to value: parameters of the search space that are not searched.
        space: the search space; the experiment's ``search.space`` when None.
        warm_start: name of a study whose best configurations are tried first.
        warm_start_top: number of its finished trials at most.
        runner: ``ray`` runs trials in parallel with Ray Tune; ``local`` runs one at a time in this process.
        simulate: simulate learning curves instead of training, to try the settings in seconds.
        replace: remove an earlier study of that name. A simulated study replaces no other than a simulated one.
        callbacks: receive the events; None shows progress on standard error, an empty list shows nothing.
        home: folder of all studies; ``$DISTUNE_HOME`` or ``./runs`` when None.

    Returns:
        The study. ``Study.state`` says whether it has finished or was interrupted.

    Raises:
        ConfigError: the experiment or the search space is wrong; all problems are listed.
        DataError: images or annotations are missing or too damaged.
        WeightsError: weights that the experiment names are missing or do not fit.
        StudyError: a study of that name exists already, or ``warm_start`` is simulated and this study is not.
        ResourceError: this machine does not have what a trial asks for, or no Ray answers at ``resources.address``.
        StudyFailedError: no trial has finished, because they failed, or too many in a row failed for the same reason.
            ``load_study`` gives the study, whose ``status`` has the reason.

    Example:
        >>> study = distune.launch("quickstart", name="first", simulate=True, runner="local")
        >>> study.best_params
    """
    from distune.api.preparation import check_all_weights, data_card, describe_data, open_data, ready_teacher
    from distune.api.time_estimate import estimate_time
    from distune.study.create import check_name_and_runner, create_study, default_name
    from distune.study.planning.plan_text import describe_plan, describe_sizes
    from distune.study.planning.time_plan import describe_time_plan
    from distune.study.preflight import check_before_start
    from distune.study.runners.ray_address import check_address
    from distune.study.search.warm_start import warm_start as warm_start_from
    from distune.study.search.warm_start import with_initial_configurations
    from distune.tracking.build import check_tracking

    with open_callbacks(callbacks) as callback:
        loaded = load_experiment(experiment, overrides=overrides, fixed=fixed, space=space)
        root = Home.at(home)
        study = name or default_name(loaded.experiment.name, simulate=simulate)
        check_name_and_runner(root, study, runner, replace=replace, simulate=simulate)
        check_before_start(loaded.experiment, simulate=simulate)
        check_address(loaded.experiment.resources.address, runner=runner)
        check_tracking(loaded.experiment.tracking, root)
        if warm_start is not None:
            source = load_study(warm_start, home=home)
            if source.is_simulated and not simulate:
                raise StudyError(
                    f"study {warm_start} is simulated, so its best configurations are not better than others; "
                    f"warm-start from a study that was trained"
                )
            found = warm_start_from(source.status, source.load_settings(), loaded, top=warm_start_top)
            for line in found.messages:
                callback.on_message(line)
            loaded = with_initial_configurations(loaded, found.configurations)
        if simulate:
            callback.on_message(f"study {study} is simulated: nothing is trained, and its scores mean nothing")
        card = None
        splits = None if simulate else open_data(loaded.experiment, on_message=callback.on_message)
        if splits is not None:
            callback.on_message(f"data: {describe_data(splits)}")
            card = data_card(loaded.experiment, splits)
            for warning in card.warnings:
                callback.on_message(f"data: warning: {warning}")
            check_all_weights(loaded.experiment, splits, download=True, on_message=callback.on_message)
        is_local = runner == "local"
        plan = describe_plan(loaded, simulate=simulate, is_local=is_local)
        for line in (*plan, *describe_sizes(loaded, splits, root, is_local=is_local)):
            callback.on_message(line)
        if splits is not None:
            for line in describe_time_plan(estimate_time(loaded, splits, root, is_local=is_local)):
                callback.on_message(line)
        # The teacher comes before the study: when it fails, no half-made study is left behind.
        teacher = None
        if splits is not None:
            teacher = ready_teacher(loaded.experiment, splits, root, on_message=callback.on_message)
        create_study(loaded, root, name=study, simulate=simulate, runner=runner, replace=replace)
        handle = Study(root, study)
        if card is not None and splits is not None:
            handle._folder.write_data_card(card.to_dict(), fingerprint=splits.fingerprint)
        handle._run_session(loaded, teacher, callback, num_trials=None)
        return handle


def load_study(name: str, *, home: str | PathLike[str] | None = None) -> Study:
    """Load a study.

    Args:
        name: name of the study.
        home: folder of all studies; ``$DISTUNE_HOME`` or ``./runs`` when None.

    Returns:
        The study.

    Raises:
        StudyError: there is no study of that name; the message lists the known ones.
    """
    return Study(Home.at(home), name)


def list_studies(*, home: str | PathLike[str] | None = None) -> list[str]:
    """List the studies.

    Args:
        home: folder of all studies; ``$DISTUNE_HOME`` or ``./runs`` when None.

    Returns:
        Their names, sorted.
    """
    return study_names(Home.at(home))
