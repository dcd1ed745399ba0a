"""The folder of a study: its files, and the lock of its session."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from distune.atomic_write import write_atomically
from distune.bounded_read import check_bounded, read_bounded
from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.config.load import LoadedExperiment, experiment_from_dict
from distune.config.yaml import read_yaml
from distune.errors import ConfigError, StudyError
from distune.records import trial_key
from distune.study.files.ablation_folder import AblationFolder
from distune.study.files.confirmation_folder import ConfirmationFolder
from distune.study.files.study_lock import hold_lock, is_lock_held
from distune.training.trial_folder import TrialFolder

_LOG = logging.getLogger(__name__)

Runner = Literal["ray", "local"]
RUNNERS: tuple[Runner, ...] = ("ray", "local")
StudyState = Literal["running", "finished", "interrupted", "failed"]

_FINGERPRINT = "fingerprint"


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

    @classmethod
    def checked(cls, **values: Any) -> StudyIdentity:
        """Return the identity of values from a file. Raises ``TypeError`` and ``ValueError`` for others."""
        found = cls(**values)
        texts = {name: values[name] for name in ("name", "key", "runner", "metric", "version")}
        odd = [f"{name} = {value!r}" for name, value in texts.items() if not isinstance(value, str) or not value]
        odd += [] if isinstance(values["simulate"], bool) else [f"simulate = {found.simulate!r}"]
        odd += [] if _is_time(found.created_at) else [f"created_at = {found.created_at!r}"]
        odd += [] if odd or found.runner in RUNNERS else [f"runner = {found.runner!r}"]
        if odd:
            raise ValueError(", ".join(odd))
        return found

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

    @classmethod
    def checked(cls, **values: Any) -> SessionNote:
        """Return the note of values from a file. Raises ``TypeError`` and ``ValueError`` for others."""
        note = cls(**values)
        total, reason, started_at = values["num_trials"], values.get("reason"), values.get("started_at")
        is_number = isinstance(total, int) and not isinstance(total, bool) and total >= 0
        is_time = started_at is None or _is_time(started_at)
        if note.state not in get_args(StudyState) or not (is_number and isinstance(reason, str | None) and is_time):
            raise ValueError("a value has another type")
        return note


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
    def lock_file(self) -> Path:
        """Locked while a session works on the study."""
        return self.path / "session.lock"

    @property
    def record_file(self) -> Path:
        """Experiment and space of the latest session, to detect edits of the files."""
        return self.path / "settings.json"

    @property
    def runs_file(self) -> Path:
        """The progress of a confirmation or an ablation, while one runs."""
        return self.path / "runs.json"

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
            return StudyIdentity.checked(**values)
        except (TypeError, ValueError) as error:
            raise StudyError(f"{self.study_file} does not describe a study: {error}; restore it from a copy") from None

    def write_identity(self, identity: StudyIdentity) -> None:
        """Replace the identity of the study."""
        write_atomically(self.study_file, json.dumps(dataclasses.asdict(identity), indent=1).encode())

    def copied_from(self) -> str | None:
        """Return the study of the same home that this folder was copied from; None for one that has its own key.

        Both would write into the same runs of the tracking server. A folder that was renamed is no copy.
        """
        identity = self.identity()
        if identity.name == self.name:
            return None
        same = [path for path in self.path.absolute().parent.iterdir() if _has_key(path, identity.key)]
        names = [path.name for path in sorted(same, key=lambda path: (path / "study.json").stat().st_ctime_ns)]
        original = identity.name if identity.name in names else names[0]  # a copy is younger
        return None if original == self.name else original

    def load(self) -> LoadedExperiment:
        """Read the experiment and its space. Raises ``ConfigError`` when the files are damaged."""
        for file in (self.experiment_file, self.space_file):
            _check_regular(file)
        values, lines = read_yaml(self.experiment_file)
        space, _ = read_yaml(self.space_file)
        return experiment_from_dict(values, source=str(self.experiment_file), lines=lines, space=space, saved=True)

    def session(self) -> SessionNote | None:
        """Read the note of the latest session; None before the first session, and when the file is damaged."""
        if not self.session_file.is_file():
            return None
        try:
            return SessionNote.checked(**_read_json(self.session_file))
        except (StudyError, TypeError, ValueError):
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
        """Record the teacher: the file of its weights, relative to the home, and its metrics on the search split."""
        home = Home.around(self.path.absolute())
        values = {"weights": str(weights) if home is None else home.relative(str(weights)), "metrics": dict(metrics)}
        write_atomically(self.teacher_file, json.dumps(values, indent=1).encode())

    def teacher(self) -> StudyTeacher | None:
        """Read the record of the teacher; None before the first session, in simulated studies, and if damaged."""
        if not self.teacher_file.is_file():
            return None
        try:
            values = _read_json(self.teacher_file)
            metrics = {str(key): float(each) for key, each in values["metrics"].items()}
            return StudyTeacher(self._in_home(Path(values["weights"])), metrics)
        except (StudyError, KeyError, TypeError, ValueError, AttributeError):
            _LOG.warning("%s is damaged and ignored", self.teacher_file)
            return None

    def _in_home(self, weights: Path) -> Path:
        """Return the place of a teacher's weights. Earlier versions recorded absolute ones; the home may have moved."""
        home = Home.around(self.path.absolute())
        if home is None:
            return weights
        moved = home.teachers / weights.parent.name / weights.name
        if weights.is_absolute() and not weights.is_file() and moved.is_file():
            return moved
        return home.root / weights

    def num_trials(self, experiment: Experiment) -> int:
        """Return the number of searched trials: that of the latest session, or before the first, of the experiment."""
        note = self.session()
        return experiment.search.num_trials if note is None else note.num_trials

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of the study.

        Raises:
            StudyError: another session holds it, or the file cannot be locked.
        """
        with hold_lock(self.lock_file, self.name):
            yield

    def is_locked(self) -> bool:
        """Return whether a session holds the lock. Writes nothing."""
        return is_lock_held(self.lock_file)


def _has_key(path: Path, key: str) -> bool:
    if path.name.startswith("."):
        return False
    try:
        return bool(_read_json(path / "study.json").get("key") == key)
    except StudyError:
        return False


def _check_regular(file: Path) -> None:
    try:
        check_bounded(file)
    except FileNotFoundError:
        return  # reading it says so
    except OSError as error:
        raise ConfigError(str(file), [f"cannot be read: {error}"]) from None


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e11


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = dict(json.loads(read_bounded(path)))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from None
    return values
