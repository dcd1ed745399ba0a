"""The folder of a study: its files, and the lock of its session."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from distune.atomic_write import write_atomically
from distune.config.experiment import Experiment
from distune.config.load import LoadedExperiment, experiment_from_dict
from distune.config.yaml import read_yaml
from distune.errors import StudyError
from distune.records import trial_key
from distune.study.files.ablation_folder import AblationFolder
from distune.study.files.confirmation_folder import ConfirmationFolder
from distune.training.trial_folder import TrialFolder

_LOG = logging.getLogger(__name__)

Runner = Literal["ray", "local"]
RUNNERS: tuple[Runner, ...] = ("ray", "local")
StudyState = Literal["running", "finished", "interrupted", "failed"]

_FINGERPRINT = "fingerprint"
_LOCK_TIMEOUT_S = 2.0
"""Time that a session waits for its lock, because `distune status` holds it for a moment."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyIdentity:
    """Facts about a study that never change.

    Attributes:
        name: of the study.
        key: random; distinguishes this study from an earlier one of the same name.
        created_at: seconds since 1970.
        simulate: whether its learning curves are simulated.
        runner: runner of its trials.
        metric: name of the metric that is maximized, such as ``search/AP``.
        version: of distune that created it.
    """

    name: str
    key: str
    created_at: float
    simulate: bool
    runner: Runner
    metric: str
    version: str

    @property
    def tracking_key(self) -> str:
        """Tag of the study's runs: its name, and the start of its key, which distinguishes studies of the same name."""
        return f"{self.name}-{self.key[:8]}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SessionNote:
    """State of the latest session of a study.

    Attributes:
        state: ``running`` until the session ends; a killed session leaves it so.
        num_trials: requested number of searched trials, over all sessions.
        reason: why the study failed, or finished with fewer trials than requested; None otherwise.
        started_at: seconds since 1970; None for sessions of earlier versions.
    """

    state: StudyState
    num_trials: int
    reason: str | None = None
    started_at: float | None = None


@dataclasses.dataclass(frozen=True)
class StudyTeacher:
    """The teacher of a study: the file of its weights, and its metrics on the search split."""

    weights: Path
    metrics: dict[str, float]


def study_title(study: str, *, simulated: bool) -> str:
    """Return the title of tables and figures of a study."""
    return f"study {study} (simulated)" if simulated else f"study {study}"


@dataclasses.dataclass(frozen=True)
class StudyFolder:
    """The files of one study."""

    path: Path

    @property
    def name(self) -> str:
        """The name of the study."""
        return self.path.name

    @property
    def experiment_file(self) -> Path:
        """The experiment with all defaults."""
        return self.path / "experiment.yaml"

    @property
    def space_file(self) -> Path:
        """The search space."""
        return self.path / "space.yaml"

    @property
    def study_file(self) -> Path:
        """The identity of the study. A folder that has one is a study."""
        return self.path / "study.json"

    @property
    def session_file(self) -> Path:
        """The note of the latest session."""
        return self.path / "session.json"

    @property
    def record_file(self) -> Path:
        """Experiment and space of the latest session, to detect edits of the files."""
        return self.path / "settings.json"

    @property
    def teacher_file(self) -> Path:
        """The metrics of the teacher, once a session has prepared it."""
        return self.path / "teacher.json"

    @property
    def data_card_file(self) -> Path:
        """The content of the data when the study was launched; absent in a simulated study."""
        return self.path / "report" / "data_card.json"

    @property
    def detections(self) -> Path:
        """Detections of the study's detectors, a file for each detector and split."""
        return self.path / "report" / "detections"

    @property
    def sizes_file(self) -> Path:
        """Measured sizes of teacher, control and best student."""
        return self.path / "sizes.json"

    @property
    def changes_file(self) -> Path:
        """A line for each session with changed settings."""
        return self.path / "changes.jsonl"

    @property
    def database(self) -> Path:
        """Optuna's storage, with the study and its controls."""
        return self.path / "optuna.db"

    @property
    def journal(self) -> Path:
        """Optuna's storage when the experiment asks for a journal."""
        return self.path / "optuna.journal"

    @property
    def trials(self) -> Path:
        """Holds one folder per trial."""
        return self.path / "trials"

    @property
    def confirmation(self) -> ConfirmationFolder:
        """Trials trained again with new seeds, and the result."""
        return ConfirmationFolder(self.path / "confirmation")

    @property
    def ablation(self) -> AblationFolder:
        """A trial trained again without one of its terms, and the result."""
        return AblationFolder(self.path / "ablation")

    def trial(self, number: int) -> TrialFolder:
        """Return the folder of a trial."""
        return TrialFolder(self.trials / trial_key(number))

    def identity(self) -> StudyIdentity:
        """Read the identity of the study. Raises ``StudyError`` when the file is damaged."""
        values = _read_json(self.study_file)
        try:
            return StudyIdentity(**values)
        except TypeError as error:
            raise StudyError(f"{self.study_file} does not describe a study: {error}") from None

    def load(self) -> LoadedExperiment:
        """Read the experiment and its space. Raises ``ConfigError`` when the files are damaged."""
        values, lines = read_yaml(self.experiment_file)
        space, _ = read_yaml(self.space_file)
        return experiment_from_dict(values, source=str(self.experiment_file), lines=lines, space=space, saved=True)

    def session(self) -> SessionNote | None:
        """Read the note of the latest session; None before the first session, and when the file is damaged."""
        if not self.session_file.is_file():
            return None
        try:
            return SessionNote(**_read_json(self.session_file))
        except (StudyError, TypeError):
            _LOG.warning("%s is damaged and ignored; give the number of trials again with --trials", self.session_file)
            return None

    def write_session(self, note: SessionNote) -> None:
        """Replace the note of the session."""
        write_atomically(self.session_file, json.dumps(dataclasses.asdict(note)).encode())

    def write_data_card(self, values: Mapping[str, Any], *, fingerprint: str) -> None:
        """Record the content of the data, and its fingerprint."""
        self.data_card_file.parent.mkdir(parents=True, exist_ok=True)
        card = {**values, _FINGERPRINT: fingerprint}
        write_atomically(self.data_card_file, json.dumps(card, indent=1).encode())

    def data_fingerprint(self) -> str | None:
        """Read the fingerprint of the data; None in simulated studies, those of earlier versions, and if damaged."""
        try:
            found = _read_json(self.data_card_file).get(_FINGERPRINT)
        except StudyError:
            return None
        return found if isinstance(found, str) else None

    def write_teacher(self, weights: Path, metrics: Mapping[str, float]) -> None:
        """Record the teacher: the file of its weights, and its metrics on the search split."""
        values = {"weights": str(weights), "metrics": dict(metrics)}
        write_atomically(self.teacher_file, json.dumps(values, indent=1).encode())

    def teacher(self) -> StudyTeacher | None:
        """Read the record of the teacher; None before the first session, in simulated studies, and if damaged."""
        if not self.teacher_file.is_file():
            return None
        try:
            values = _read_json(self.teacher_file)
            return StudyTeacher(
                Path(values["weights"]), {str(key): float(each) for key, each in values["metrics"].items()}
            )
        except (StudyError, KeyError, TypeError, ValueError, AttributeError):
            _LOG.warning("%s is damaged and ignored", self.teacher_file)
            return None

    def num_trials(self, experiment: Experiment) -> int:
        """Return the number of searched trials: that of the latest session, or before the first, of the experiment."""
        note = self.session()
        return experiment.search.num_trials if note is None else note.num_trials

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of the study.

        Raises:
            StudyError: another session holds it.
        """
        lock = FileLock(self.path / "session.lock", timeout=_LOCK_TIMEOUT_S)
        try:
            lock.acquire()
        except Timeout:
            raise StudyError(f"study {self.name} is running in another process; wait for it or stop it") from None
        try:
            yield
        finally:
            lock.release()

    def is_locked(self) -> bool:
        """Return whether a session holds the lock."""
        try:
            with FileLock(self.path / "session.lock", timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            # No session can work in a folder that cannot be written to.
            return False


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from None
    return values
