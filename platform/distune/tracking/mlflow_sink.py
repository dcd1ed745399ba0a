"""Stores events in MLflow: a parent run for the study and a nested child run per trial."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from distune.records import Outcome
from distune.tracking.events import (
    EpochLogged,
    Event,
    FileLogged,
    StudyDescribed,
    StudyEnded,
    StudyLogged,
    StudyStarted,
    TrialEnded,
    TrialLogged,
    TrialReplaced,
    TrialStarted,
    ViewLogged,
)
from distune.tracking.mlflow_client import HEADLINE_TAG, is_available, is_refusal, open_client, to_sink_error
from distune.tracking.mlflow_runs import MlflowRuns
from distune.tracking.timeouts import is_connection_error
from distune.tracking.uris import redact_uri
from distune.tracking.values import end_tags, run_status, start_tags, summary_metrics

_LOG = logging.getLogger(__name__)

_STUDY_STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MlflowSink:
    """Stores one study in MLflow through its own client: MLflow's active run and global URI do not change.

    MLflow stores points with equal name, step, value and time once, so events may be applied again.

    Args:
        uri: any tracking URI that ``check_uri`` accepts.
        study: name of the study, and of the parent run.
        study_key: identifies this study among all others, also those of the same name.
        experiment: name of the MLflow experiment; created when it is missing.
        artifact_location: where a new experiment keeps its artifacts; None leaves it to the server.
        simulated: whether learning curves are simulated; every run has a tag that says so.

    Raises:
        SinkUnavailableError: the database cannot be opened.
    """

    def __init__(
        self,
        uri: str,
        *,
        study: str,
        study_key: str,
        experiment: str,
        artifact_location: str | None,
        simulated: bool = False,
    ) -> None:
        self._client = open_client(uri)
        self._runs = MlflowRuns(
            self._client,
            study=study,
            study_key=study_key,
            experiment=experiment,
            artifact_location=artifact_location,
            simulated=simulated,
        )
        self._is_replaced: dict[str, bool] = {}
        """Key of a trial to whether its latest start was that of a run that was replaced."""

    def has_runs(self) -> bool:
        """Return whether the store has a run of the study; also when it does not answer now."""
        try:
            return self._runs.has_any
        except Exception as error:
            _LOG.debug("the runs of the study cannot be read: %s", redact_uri(str(error)))
            self._runs.reset()
            return True

    def apply(self, events: Sequence[Event]) -> None:
        """See ``Sink.apply``."""
        for is_last_attempt in (False, True):
            try:
                self._apply_all(events)
                return
            except Exception as error:
                self._runs.reset()
                # A run may have been deleted, or another study has just created the experiment: try once more.
                if is_last_attempt or not is_refusal(error):
                    raise to_sink_error(error, self._client) from None

    def _apply_all(self, events: Sequence[Event]) -> None:
        epochs = [event for event in events if isinstance(event, EpochLogged)]
        if len(epochs) == len(events):
            self._log_epochs(epochs)
        else:
            for event in events:
                self._apply_one(event)

    def _apply_one(self, event: Event) -> None:
        runs = self._runs
        if isinstance(event, TrialStarted):
            self._is_replaced[event.key] = runs.is_of_replaced(event.key, event.at_ms)
        if not isinstance(event, EpochLogged) and self._has_replaced(event):
            return
        match event:
            case StudyStarted():
                runs.start("", event.at_ms, event.params, {**event.tags, "state": "running"})
            case TrialStarted():
                runs.start(event.key, event.at_ms, event.params, start_tags(event), event.names)
            case TrialReplaced():
                runs.replace(event.key, event.at_ms)
            case EpochLogged():
                self._log_epochs([event])
            case FileLogged():
                runs.log_file(event.key or "", event.at_ms, Path(event.path), event.folder)
            case TrialEnded():
                self._end_trial(event)
            case TrialLogged():
                runs.update(event.key, event.at_ms, event.step, event.metrics)
                runs.add_params(runs.get(event.key, event.at_ms), event.params)
            case ViewLogged():
                self._try(lambda: runs.set_view(event.view, event.at_ms))
            case StudyDescribed():
                run = runs.get("", event.at_ms)
                runs.log(run, tags={HEADLINE_TAG: event.headline})
                runs.set_note(run, event.note)
                self._try(runs.set_experiment_note)
            case StudyLogged():
                runs.log(runs.get("", event.at_ms), [(event.at_ms, 0, event.metrics)], tags=event.tags)
            case StudyEnded():
                run = runs.get("", event.at_ms)
                runs.log(run, tags={"state": event.state})
                runs.set_status(run, _STUDY_STATUS.get(event.state, "FAILED"), event.at_ms)

    def _try(self, write: Callable[[], None]) -> None:
        """Write what the study can do without; only an unavailable store is an error."""
        try:
            write()
        except Exception as error:
            if is_connection_error(error) or not is_available(self._client):
                raise
            _LOG.info("the tracking server refuses a tag of the experiment: %s", redact_uri(str(error)))

    def _log_epochs(self, events: Sequence[EpochLogged]) -> None:
        events = [event for event in events if not self._has_replaced(event)]
        for key in dict.fromkeys(event.key for event in events):
            own = [event for event in events if event.key == key]
            points = [(event.at_ms, event.report.epoch, event.report.metrics) for event in own]
            self._runs.log(self._runs.get(key, own[0].at_ms), points)

    def _has_replaced(self, event: Event) -> bool:
        """Return whether an event is sent again and belongs to a run that was replaced, which has it.

        The latest start of the trial tells; without one in this session the time, though the clocks of workers differ.
        """
        key = _trial_of(event)
        if key is None:
            return False
        if key not in self._is_replaced:
            return self._runs.is_of_replaced(key, event.at_ms)
        return self._is_replaced[key]

    def _end_trial(self, event: TrialEnded) -> None:
        record = event.record
        run = self._runs.get(record.key, event.at_ms)
        # The time of the best epoch is the same when the end is logged again; an interrupted trial has no summary yet.
        at_ms = event.at_ms if record.best_at is None else round(record.best_at * 1000)
        summary = {} if record.outcome is Outcome.INTERRUPTED else summary_metrics(record.metrics)
        self._runs.log(run, [(at_ms, record.epochs, summary)], tags=end_tags(record))
        self._runs.set_status(run, run_status(record.outcome), event.at_ms)


def _trial_of(event: Event) -> str | None:
    """Return the key of the trial that an event adds to; None for any other event."""
    match event:
        case TrialStarted() | EpochLogged() | FileLogged() | TrialLogged():
            return event.key
        case TrialEnded():
            return event.record.key
    return None
