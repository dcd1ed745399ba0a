"""A study in Python: the calls that continue, confirm, explain and export it.

Whatever loads Optuna, MLflow, matplotlib or torch is imported where it is used: ``distune status`` needs none of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from distune.api.progress import open_callbacks
from distune.api.study_results import StudyResults
from distune.config.home import Home
from distune.config.load import ExperimentLike, LoadedExperiment, load_experiment
from distune.confirmation.defaults import DEFAULT_TOP
from distune.errors import UsageError
from distune.evidence.confirmation_result import ConfirmationResult
from distune.study.callback import StudyCallback

if TYPE_CHECKING:
    from distune.api.evaluation import Evaluation, SplitChoice
    from distune.api.export_student import Export, FormatName
    from distune.api.prediction import Predictions
    from distune.api.repair_study import Repair
    from distune.api.repeat_trial import RepeatedTrial
    from distune.evidence.ablation_result import AblationResult
    from distune.explanation.explanation import Explanation
    from distune.tracking.links import StudyLinks
    from distune.tracking.logged_student import LoggedStudent
    from distune.tracking.server import UiServer
    from distune.training.teacher import Teacher


class Study(StudyResults):
    """A study: its trials, its result, and the calls that continue it. Returned by ``launch`` and ``load_study``.

    Nothing is cached: each property reads the study's folder, so it also works while another process runs the study.

    Args:
        home: keeps all studies.
        name: name of the study.

    Attributes:
        name: name of the study.
        path: folder of the study.
        teacher_value: the teacher's metric, once ``launch`` or ``resume`` in this process has prepared it; else None.
    """

    def __init__(self, home: Home, name: str) -> None:
        super().__init__(home, name)
        self.teacher_value: float | None = None

    def load_settings(
        self,
        experiment: ExperimentLike | None = None,
        *,
        overrides: Mapping[str, Any] | None = None,
        options: tuple[str, str] = ("overrides", "fixed"),
    ) -> LoadedExperiment:
        """Load the settings that ``resume`` continues with.

        Args:
            experiment: other settings than those in the study's folder.
            overrides: path to value.
            options: see ``load_experiment``.

        Returns:
            The settings with their search space.

        Raises:
            ConfigError: they are not valid.
        """
        if experiment is not None:
            return load_experiment(experiment, overrides=overrides, options=options)
        file, space = self._folder.experiment_file, self._folder.load().space
        return load_experiment(file, overrides=overrides, space=space, saved=True, options=options)

    def resume(
        self,
        *,
        num_trials: int | None = None,
        experiment: ExperimentLike | None = None,
        overrides: Mapping[str, Any] | None = None,
        callbacks: Sequence[StudyCallback] | None = None,
    ) -> Study:
        """Continue a study that was interrupted, or run more trials of one that has finished.

        Trials that were running continue after their last epoch. Changed settings are named; changes that would make
        trials incomparable are refused.

        Args:
            num_trials: searched trials in total, over all sessions; as before when None.
            experiment: continue with other settings than those in the study's folder.
            overrides: path to value, such as ``{"resources.max_concurrent": 2}``.
            callbacks: receive the events; None shows progress on standard error, an empty list shows nothing.

        Returns:
            The study itself. ``state`` says whether it has finished or was interrupted.

        Raises:
            StudyError: another session runs the study, it cannot continue with these settings, or ``num_trials`` is
                less than the trials that were started already.
            StudyFailedError: no trial has finished, because they failed, or too many in a row failed for the same
                reason; also when such a study has nothing left to run.
            ResourceError: this machine does not have what a trial asks for, or no Ray answers at its address.
        """
        from distune.api.study_session import prepare_to_resume

        with open_callbacks(callbacks) as callback:
            loaded = self.load_settings(experiment, overrides=overrides)
            teacher = prepare_to_resume(self._folder, self._home, loaded, num_trials=num_trials, callback=callback)
            self._run_session(loaded, teacher, callback, num_trials=num_trials)
            return self

    def repair(self, *, new_key: bool = False) -> Repair:
        """Find what is damaged or missing in the study's records, and repair it. A healthy study is not changed.

        Args:
            new_key: give the study a key of its own although it is not known to be a copy, such as in a home that was
                copied to another machine and shares a tracking server with the first one.

        Returns:
            The faults, the changes, and the faults that remain.

        Raises:
            StudyError: a session runs the study, or a file that nothing can restore is damaged.
        """
        from distune.api.repair_study import repair_study

        return repair_study(self._folder, self._home, new_key=new_key)

    def confirm(
        self,
        *,
        top: int = DEFAULT_TOP,
        seeds: int | None = None,
        teachers: int = 1,
        metric: str | None = None,
        until_decided: bool = False,
        max_seeds: int | None = None,
        margin: float | None = None,
        callbacks: Sequence[StudyCallback] | None = None,
    ) -> ConfirmationResult | None:
        """Train the best trial again on fresh seeds beside its control, and measure the gain with an interval.

        Of several trials one is chosen first, by other seeds and on the search split. It is compared with its control
        on the test split. An interval that is computed again with more seeds is wider, so that all of them together
        miss the true gain in at most 5% of cases.

        Args:
            top: number of trials of which one is chosen, the best of the search.
            seeds: fresh seeds for it and its control; those on record, or 5, when None.
            teachers: train the teacher again under other seeds, up to this number; the seeds share them in turn, and
                the interval covers teachers.
            metric: of the gains; the study's metric when None.
            until_decided: add seeds until there is a gain, a loss, or no gain of more than ``margin``.
            max_seeds: most seeds then; 20 when None.
            margin: gains below it, in points, do not matter then; 0.5 when None.
            callbacks: receive the events; None shows progress on standard error, an empty list shows nothing.

        Returns:
            The result; None when a signal stopped the session. The same call continues it then.

        Raises:
            StudyError: another session runs the study, no trial has finished, or more seeds are on record.
            UsageError: the metric is unknown, or the numbers of seeds do not fit.
            ResourceError: no Ray answers at ``resources.address``.
        """
        from distune.api.confirm_study import confirm_study
        from distune.api.study_session import update_study_settings

        with open_callbacks(callbacks) as callback:
            loaded = self._folder.load()
            update_study_settings(self._folder, loaded, callback, command="confirm")
            return confirm_study(
                self._folder,
                loaded,
                self.status,
                self._home,
                top=top,
                seeds=seeds,
                teachers=teachers,
                metric=metric,
                until_decided=until_decided,
                max_seeds=max_seeds,
                margin=margin,
                callback=callback,
            )

    def report(
        self, output: str | PathLike[str] | None = None, *, callbacks: Sequence[StudyCallback] | None = None
    ) -> Path:
        """Write the report of the study: one HTML page that loads nothing from the network.

        Args:
            output: the file; ``report/report.html`` in the study's folder when None.
            callbacks: receive messages; None shows them on standard error, an empty list shows nothing.

        Returns:
            The file.

        Raises:
            StudyError: the study cannot be read.
            UsageError: the file cannot be written.
        """
        from distune.api.report_study import write_report

        with open_callbacks(callbacks) as callback:
            return write_report(self._folder, self._home, output=output, on_message=callback.on_message)

    def explain(self, *, callbacks: Sequence[StudyCallback] | None = None) -> Explanation:
        """Explain why distillation helped or did not: checks of the records, and tables that show where the gain is.

        Teacher, control and student run on the search split, and the student on some training images. Their detections
        are kept in the study's folder. The test split is never used.

        Args:
            callbacks: receive messages; None shows them on standard error, an empty list shows nothing.

        Returns:
            A finding for each check, problems first, and the tables. Whatever the study does not hold is unknown.
        """
        from distune.api.explain import explain_study

        with open_callbacks(callbacks) as callback:
            return explain_study(self._folder, self._home, self.status, on_message=callback.on_message)

    def ablate(
        self, *, seeds: int | None = None, callbacks: Sequence[StudyCallback] | None = None
    ) -> AblationResult | None:
        """Train the best trial again without each of its terms, and measure the effect of each on the search split.

        The seeds are those of ``confirm``, which shares its runs of the trial and its control.

        Args:
            seeds: number of seeds; those on record, or 3, when None.
            callbacks: receive the events; None shows progress on standard error, an empty list shows nothing.

        Returns:
            The result; None when a signal stopped the session. The same call continues it then.

        Raises:
            StudyError: another session runs the study, no trial has finished, or more seeds are on record.
            ResourceError: no Ray answers at ``resources.address``.
        """
        from distune.api.ablate_study import ablate_study
        from distune.api.study_session import update_study_settings

        with open_callbacks(callbacks) as callback:
            loaded = self._folder.load()
            update_study_settings(self._folder, loaded, callback, command="explain --ablate")
            return ablate_study(self._folder, loaded, self.status, self._home, seeds=seeds, callback=callback)

    def evaluate(
        self,
        trial: int | str | None = None,
        split: SplitChoice = "search",
        *,
        callbacks: Sequence[StudyCallback] | None = None,
    ) -> dict[str, float]:
        """Score a student of the study, or its teacher, with the study's own settings.

        The test split is meant for confirmed students alone: choosing by it makes it a search split. Evaluations on it
        are counted with those of ``confirm``.

        Args:
            trial: number or key of a trial, such as 7 or ``control-1``; ``control`` is the first control; ``teacher``;
                None is the confirmed student, before a confirmation that of the best trial.
            split: the split to score on.
            callbacks: receive messages; None shows them on standard error, an empty list shows nothing.

        Returns:
            Metric to value, such as ``{"search/AP": 31.4}``, in points from 0 to 100.

        Raises:
            StudyError: there is no such trial, or it has no student.
            DataError: the experiment names no test split, or its data is damaged.
        """
        return self.evaluation(trial, split, callbacks=callbacks).metrics

    def evaluation(
        self,
        trial: int | str | None = None,
        split: SplitChoice = "search",
        *,
        callbacks: Sequence[StudyCallback] | None = None,
    ) -> Evaluation:
        """Score a student as ``evaluate`` does, and return its file and the number of test evaluations as well.

        Args:
            trial: see ``evaluate``.
            split: the split to score on.
            callbacks: see ``evaluate``.

        Returns:
            The scores.

        Raises:
            StudyError: there is no such trial, or it has no student.
            DataError: the experiment names no test split, or its data is damaged.
            UsageError: there is no such split.
        """
        from distune.api.evaluation import SplitChoice, evaluate_student

        if split not in get_args(SplitChoice):
            raise UsageError(f"split {split}: must be one of {', '.join(get_args(SplitChoice))}")
        with open_callbacks(callbacks) as callback:
            return evaluate_student(self._folder, self._home, self.status, trial, split=split, callback=callback)

    def predict(
        self,
        images: Sequence[str | PathLike[str]],
        trial: int | str | None = None,
        *,
        output: str | PathLike[str] | None = None,
        min_score: float = 0.3,
        beside: Sequence[str] = (),
        pictures: bool = True,
        callbacks: Sequence[StudyCallback] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Predictions:
        """Run a student on images, and write its boxes as COCO JSON and pictures.

        Args:
            images: files and folders; subfolders are included.
            trial: see ``evaluate``.
            output: folder of the results, ``predictions/STUDY-TRIAL`` when None; files of before are replaced.
            min_score: boxes with a lower score are left out.
            beside: ``teacher``, ``control``, or both: drawn beside the student.
            pictures: write a picture for each image.
            callbacks: receive messages; None shows them on standard error, an empty list shows nothing.
            on_progress: receives the numbers of images done and in total.

        Returns:
            The files, and the images that could not be read.

        Raises:
            StudyError: there is no such trial, or it has no student.
            UsageError: an image does not exist.
            DataError: none of the images can be read.
        """
        from distune.api.prediction import predict_images

        with open_callbacks(callbacks) as callback:
            return predict_images(
                self._folder,
                self._home,
                self.status,
                trial,
                images,
                output=None if output is None else Path(output),
                min_score=min_score,
                beside=beside,
                with_pictures=pictures,
                callback=callback,
                on_progress=on_progress or (lambda _done, _total: None),
            )

    def repeat_trial(
        self,
        trial: int | str | None = None,
        *,
        folder: str | PathLike[str] | None = None,
        callbacks: Sequence[StudyCallback] | None = None,
    ) -> RepeatedTrial:
        """Train a trial again, alone and on the same batches, for the epochs that it has on record.

        On the CPU the result is the same to the last bit. The study does not change.

        Args:
            trial: number or key; the best one when None.
            folder: new folder; ``HOME/trained/STUDY-TRIAL`` when None.
            callbacks: receive the events; None shows progress on standard error, an empty list shows nothing.

        Returns:
            The new training, and how far it is from the recorded one.

        Raises:
            StudyError: the study is simulated, there is no such trial, or it has no epoch on record.
            UsageError: the folder is not empty.
        """
        from distune.api.repeat_trial import repeat_trial

        output = None if folder is None else Path(folder)
        with open_callbacks(callbacks) as callback:
            return repeat_trial(self._folder, self._home, self.status, trial, output=output, callback=callback)

    def export(
        self,
        format: FormatName,  # noqa: A002
        trial: int | str | None = None,
        folder: str | Path | None = None,
        *,
        replace: bool = False,
        split: SplitChoice = "search",
        max_images: int = 500,
        license: str | None = None,  # noqa: A002
        callbacks: Sequence[StudyCallback] | None = None,
    ) -> Export:
        """Write a detector of the study as files that run without distune, and compare them with it.

        Args:
            format: ``torchvision`` or ``onnx``.
            trial: see ``evaluate``.
            folder: for the files; None is ``exports/<trial>-<format>`` in the study's folder.
            replace: replace an export in this folder.
            split: the split on which file and detector are compared; ``test`` is recorded as an evaluation.
            max_images: images of it, at most.
            license: for the model card.
            callbacks: see ``evaluate``.

        Returns:
            The folder, and the comparison.

        Raises:
            UsageError: the format is unknown, a package is missing, or the folder exists.
            StudyError: there is no such trial, or it has no student.
            DataError: the experiment names no test split, or its data is damaged.
            ExportError: the detector cannot be exported in this format, or its file gives other detections.
        """
        from distune.api.export_student import ExportOptions, export_student

        target = None if folder is None else Path(folder)
        options = ExportOptions(
            format=format,
            trial=trial,
            folder=target,
            replace=replace,
            split=split,
            max_images=max_images,
            license=license,
        )
        with open_callbacks(callbacks) as callback:
            return export_student(self._folder, self._home, self.status, options, callback=callback)

    def log_model(
        self,
        export: Export,
        *,
        register: str | None = None,
        alias: str | None = None,
        callbacks: Sequence[StudyCallback] | None = None,
    ) -> LoggedStudent:
        """Log an exported student to MLflow as a model, linked to the run of its trial.

        The model takes RGB images, uint8 (N, H, W, 3), and returns a row for each box. It needs torchvision, and not
        distune.

        Args:
            export: of format ``torchvision``.
            register: name in the model registry, where the version gets the verdict as a tag; None does not register.
            alias: of the registered version, such as ``champion``.
            callbacks: receive messages; None shows them on standard error, an empty list shows nothing.

        Returns:
            The model in MLflow.

        Raises:
            StudyError: the study is not tracked.
            UsageError: the export has another format, is of the teacher, or MLflow does not take the model.
        """
        from distune.api.log_student import log_student_model

        with open_callbacks(callbacks) as callback:
            return log_student_model(
                self._folder, self._home, self.status, export, register=register, alias=alias, callback=callback
            )

    @contextlib.contextmanager
    def mlflow_ui(
        self, *, host: str = "127.0.0.1", port: int = 5000, on_message: Callable[[str], None] | None = None
    ) -> Iterator[tuple[StudyLinks, UiServer | None]]:
        """Serve the MLflow UI, and give the addresses of the study's pages.

        Args:
            host: address to listen on. Anyone who reaches it can change runs.
            port: port to listen on; 0 takes a free one.
            on_message: receives a line before each wait: for the server, and for the first records of a new study.

        Yields:
            The pages, and the server; None when the study is tracked on an MLflow server.

        Raises:
            StudyError: the experiment has ``tracking.enabled = false``.
            UsageError: the port is no port, or in use.
        """
        from distune.api.open_ui import open_ui

        with open_ui(self._folder, self._home, host=host, port=port, on_message=on_message) as opened:
            yield opened

    def _run_session(
        self, loaded: LoadedExperiment, teacher: Teacher | None, callback: StudyCallback, *, num_trials: int | None
    ) -> None:
        from distune.api.study_session import run_study_session

        if teacher is not None:  # known also when the session is interrupted
            self.teacher_value = teacher.metrics.get(self.metric)
        run_study_session(self._folder, self._home, loaded, teacher, num_trials=num_trials, callback=callback)
