"""The records of a study: settings, trials, result and students. Nothing here changes a study.

Whatever loads Optuna, matplotlib or torch is imported where it is used: ``distune status`` needs none of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.config.space import SearchSpace
from distune.errors import StudyError
from distune.evidence.confirmation_result import ConfirmationResult
from distune.records import EpochReport, ParameterValue, TrialRecord
from distune.reports.model_sizes import ModelSizes
from distune.study.files.study_folder import StudyState
from distune.study.status import StudyStatus, best_trial, confirmed_trial, find_study, read_study

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    import torch
    from torch import nn


class StudyResults:
    """The part of a ``Study`` that only reads.

    Nothing is cached: each property reads the study's folder, so it also works while another process runs the study.

    Args:
        home: keeps all studies.
        name: name of the study.

    Attributes:
        name: name of the study.
        path: folder of the study.
    """

    def __init__(self, home: Home, name: str) -> None:
        self._home = home
        self._folder = find_study(home, name)
        self.name = name
        self.path: Path = self._folder.path

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, state={self.state!r}, path={str(self.path)!r})"

    @property
    def experiment(self) -> Experiment:
        """The experiment, with every default filled in."""
        return self._folder.load().experiment

    @property
    def search_space(self) -> SearchSpace:
        """The search space."""
        return self._folder.load().space

    @property
    def is_simulated(self) -> bool:
        """True when the learning curves are simulated."""
        return self._folder.identity().simulate

    @property
    def metric(self) -> str:
        """The metric that is maximized, such as ``search/AP``, in points from 0 to 100."""
        return self._folder.identity().metric

    @property
    def num_trials(self) -> int:
        """Searched trials in total that were asked for, over all sessions."""
        return self._folder.num_trials(self.experiment)

    @property
    def status(self) -> StudyStatus:
        """The state of the study and all its trials."""
        return read_study(self._home, self.name)

    @property
    def state(self) -> StudyState:
        """``running``, ``finished``, ``interrupted`` or ``failed``."""
        return self.status.state

    @property
    def trials(self) -> list[TrialRecord]:
        """The searched trials, in the order in which they were started."""
        return [trial for trial in self.status.trials if not trial.control]

    @property
    def controls(self) -> list[TrialRecord]:
        """The trials without distillation."""
        return [trial for trial in self.status.trials if trial.control]

    @property
    def pareto_front(self) -> list[TrialRecord]:
        """With ``search.costs``: the finished trials that no other one beats in metric and costs. Else empty."""
        return self.status.pareto_front

    @property
    def best_trial(self) -> TrialRecord:
        """The confirmed trial; before a confirmation, the best trial of the search.

        Raises:
            StudyError: no trial has finished.
        """
        return confirmed_trial(self.status)

    @property
    def best_params(self) -> dict[str, ParameterValue]:
        """Path to value of the best trial. Raises ``StudyError`` when no trial has finished."""
        return self.best_trial.params

    @property
    def best_value(self) -> float:
        """The best trial's metric at its best epoch. Raises ``StudyError`` when no trial has finished."""
        return self.best_trial.metrics[self.metric]

    @property
    def gain(self) -> float | None:
        """Gain of the best trial over no distillation, in points of the metric.

        The confirmed gain, else the difference to the controls of the search, which is an estimate from one seed. None
        while no control has finished.

        Raises:
            StudyError: no trial has finished.
        """
        status = self.status
        return best_trial(status)[1] if status.confirmation is None else status.confirmation.gain.mean

    @property
    def confirmation(self) -> ConfirmationResult | None:
        """The result of the latest ``confirm``, None before."""
        return self._folder.confirmation.read()

    @property
    def best_weights(self) -> Path:
        """File of the best student's weights. Raises ``StudyError`` when there is none."""
        result = self.confirmation
        return self.weights(self.best_trial.number) if result is None else self._existing(self.path / result.weights)

    def model_sizes(self, status: StudyStatus | None = None) -> ModelSizes | None:
        """Return parameters, FLOPs, latency and file size of the teacher, the control and the best student.

        They are measured side by side, once for their architectures, and stored in the study's folder: at the end of a
        session, or by the first call after it.

        Args:
            status: of the study, as read before; None reads it.

        Returns:
            The sizes. None for a simulated study, and while they are not measured because a session runs.

        Raises:
            StudyError: no trial has finished.
            WeightsError: a file of weights is damaged.
        """
        from distune.api.measure_sizes import study_sizes

        return study_sizes(self._folder, self.experiment, self.status if status is None else status)

    def weights(self, trial: int) -> Path:
        """Return the file of a trial's student at its best epoch.

        Args:
            trial: its number; controls are -1, -2, ...

        Returns:
            Path of a checkpoint that ``torch.load(..., weights_only=True)`` reads.

        Raises:
            StudyError: the trial has no student: it was stopped early, has not finished, or does not exist.
        """
        return self._existing(self._folder.trial(trial).best_checkpoint)

    def epochs(self, trial: int) -> list[EpochReport]:
        """Return the epochs of a trial with all their metrics, in order.

        Args:
            trial: its number; controls are -1, -2, ...

        Returns:
            A report per epoch; none if the trial has not trained an epoch, or does not exist.
        """
        return self._folder.trial(trial).reports()

    def trials_dataframe(self) -> pd.DataFrame:
        """Return a table with a row per trial, controls included; see ``distune.reports.dataframes``."""
        from distune.reports.dataframes import trials_dataframe

        status = self.status
        return trials_dataframe(status.trials, status.metric)

    def curves_dataframe(self) -> pd.DataFrame:
        """Return all metrics of all epochs, controls included; see ``distune.reports.dataframes``."""
        from distune.reports.dataframes import curves_dataframe

        return curves_dataframe((trial, self._folder.trial(trial.number).reports()) for trial in self.status.trials)

    def optuna_study(self) -> optuna.Study:
        """Return the searched trials as an Optuna study in memory, for ``optuna.visualization`` and importances.

        A copy: changes to it have no effect on the study. Controls are not in it.
        """
        from distune.study.storage.copy_study import copy_search_study

        copy: optuna.Study = copy_search_study(self._folder, self.experiment.search.storage)
        return copy

    def best_model(self, *, device: str | torch.device = "cpu") -> nn.Module:
        """Load the best student: a torchvision detector in evaluation mode.

        Args:
            device: where to put it.

        Returns:
            A module that takes a list of images of shape (3, H, W), values in [0, 1], and returns for each a dictionary
            of ``boxes`` (N, 4; xyxy, pixels), ``labels`` (N; 1 is the first class) and ``scores`` (N).

        Raises:
            StudyError: no trial has finished, or the study is simulated.
            WeightsError: the file is damaged.
        """
        return self._open_model(None, device)

    def load_model(self, trial: int, *, device: str | torch.device = "cpu") -> nn.Module:
        """Load the student of a trial at its best epoch; see ``best_model``.

        Args:
            trial: its number; controls are -1, -2, ...
            device: where to put it.

        Returns:
            The detector in evaluation mode.

        Raises:
            StudyError: the trial has no student: it was stopped early, has not finished, or does not exist.
        """
        return self._open_model(trial, device)

    def _existing(self, file: Path) -> Path:
        if file.is_file():
            return file
        why = "the study is simulated, so nothing was trained" if self.is_simulated else f"{file} does not exist"
        raise StudyError(f"study {self.name}: there is no student to load: {why}")

    def _open_model(self, trial: int | None, device: str | torch.device) -> nn.Module:
        from distune.api.study_models import find_model

        model = find_model(self._folder, self._home, self.status, trial)
        return model.load().model.to(device).eval()
