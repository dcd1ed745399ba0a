"""Opens the MLflow UI of a study, and waits for the first records of one that has just been started."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from distune.config.home import Home
from distune.errors import StudyError
from distune.study.files.study_folder import StudyFolder
from distune.tracking.build import follow_home, store_file
from distune.tracking.links import StudyLinks
from distune.tracking.run_names import experiment_name
from distune.tracking.server import NoRunsError, UiServer, start_ui, study_links, ui_address
from distune.tracking.uris import is_server

_POLL_S = 0.5
_LONGEST_WAIT_S = 120.0


@contextlib.contextmanager
def open_ui(
    folder: StudyFolder, home: Home, *, host: str, port: int, on_message: Callable[[str], None] | None
) -> Iterator[tuple[StudyLinks, UiServer | None]]:
    """Serve the MLflow UI of a study; see ``Study.mlflow_ui``.

    Args:
        folder: of the study.
        home: has the default store.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        on_message: receives a line before each wait.

    Yields:
        The pages of the study, and the server; None when the study is tracked on an MLflow server.

    Raises:
        StudyError: the experiment has ``tracking.enabled = false``.
        UsageError: the port is no port, or in use, or the study has no records there.
    """
    experiment, identity = folder.load().experiment, folder.identity()
    if not experiment.tracking.enabled:
        raise StudyError(f"study {folder.name}: there is nothing to open, since tracking.enabled = false")
    uri = experiment.tracking.uri or home.tracking_uri
    name = experiment_name(experiment.tracking.experiment, experiment.name, simulated=identity.simulate)
    wait = _Wait(folder, on_message)

    def links(address: str) -> StudyLinks:
        while True:
            try:
                return study_links(
                    uri, base_url=address, experiment=name, study_key=identity.tracking_key, metric=identity.metric
                )
            except NoRunsError:
                if not wait.may_continue():
                    raise

    if is_server(uri):
        yield links(ui_address(uri)), None
        return
    file = store_file(uri)
    while file is not None and not _has_content(file) and wait.may_continue():
        pass
    if experiment.tracking.uri is None:
        follow_home(home)
    with start_ui(uri, artifacts=home.artifacts, host=host, port=port, on_message=on_message) as server:
        yield links(server.url), server


def _has_content(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


class _Wait:
    """Waits for the session of a study to make its store and to send its first records, as long as it runs."""

    def __init__(self, folder: StudyFolder, on_message: Callable[[str], None] | None) -> None:
        self._folder, self._on_message = folder, on_message
        self._deadline: float | None = None

    def may_continue(self) -> bool:
        """Wait a moment. Return False, without waiting, when no records are expected any more."""
        if not self._folder.is_locked() or time.monotonic() > (self._deadline or float("inf")):
            return False
        if self._deadline is None:
            self._deadline = time.monotonic() + _LONGEST_WAIT_S
            if self._on_message is not None:
                self._on_message(f"waiting for the first records of study {self._folder.name}")
        time.sleep(_POLL_S)
        return True
