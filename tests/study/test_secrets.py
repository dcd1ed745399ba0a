"""Users, passwords and tokens in addresses stay out of logs, runs, notes and errors; studies stay in their folder."""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from distune.cli.main import SecretFreeFormatter
from distune.config.home import Home
from distune.confirmation.confirmation_plan import plan_confirmation
from distune.confirmation.confirmation_session import run_confirmation
from distune.errors import UsageError
from distune.records import ParameterValue
from distune.study.create import create_study
from distune.study.files.study_folder import StudyFolder
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from distune.study.session import run_session
from distune.study.settings_update import update_settings
from distune.study.status import find_study, read_study
from study.harness import MakeLoaded, Witness
from support.command_line import run
from support.experiments import small_values

URI = "https://ann:hunter2@127.0.0.1:9/mlflow?access_token=hunter3"


def holds_secret(text: str | bytes) -> bool:
    return "hunter" in (text if isinstance(text, str) else text.decode(errors="replace"))


class Everything(Witness):
    """Keeps the content of all files that the tracker gets."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def start_study(self, params: Mapping[str, ParameterValue], tags: Mapping[str, str]) -> None:
        self.texts += [repr(params), repr(tags)]

    def log_file(self, key: str | None, path: Path, folder: str) -> None:
        super().log_file(key, path, folder)
        self.texts.append(f"{path.name} {path.read_text(errors='replace')}")


def test_a_tracking_address_reaches_neither_runs_nor_workers(
    tmp_path: Path, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": {"1": {"epoch": 1, "kind": "error"}}}))
    home = Home(tmp_path)
    loaded = make_loaded(tracking={"uri": URI}, search={"num_trials": 2})
    study = create_study(loaded, home, name="one", simulate=True, runner="local", replace=False)
    witness = Everything()
    run_session(study, tracker=witness, callback=witness, teacher_weights=None)
    assert {name for key, name, _ in witness.files if key is None} == {"experiment.yaml", "space.yaml"}
    assert {"trial.json", "error.txt"} <= {name for key, name, _ in witness.files if key is not None}
    assert not any(holds_secret(text) for text in witness.texts)
    assert any("https://***@127.0.0.1:9/mlflow?***" in text for text in witness.texts)
    assert not any(holds_secret(repr(spec)) for spec in witness.specs)

    holders = [path.name for path in study.path.rglob("*") if path.is_file() and holds_secret(path.read_bytes())]
    assert holders == ["experiment.yaml"], "which needs it to resume"
    assert stat.S_IMODE(study.experiment_file.stat().st_mode) == 0o600
    assert study.load().experiment.tracking.uri == URI
    assert not holds_secret(json.dumps(read_study(home, "one").to_dict()))


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://ann:hunt'er2@db/x",
        "postgresql://ann:#hunter2: @db/x",
        "postgresql://ann:hunter 2/ 3@db/x",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3Dhunter2",
        "https://store/x?sig=hunter2",
        "https://store/x?anything=hunter2",
        "postgresql://ann:5432/hunter2@db/x",
    ],
)
def test_files_with_addresses_are_private_and_artifacts_have_no_secrets(
    tmp_path: Path, make_loaded: MakeLoaded, uri: str
) -> None:
    loaded = make_loaded(tracking={"uri": uri}, search={"num_trials": 1, "controls": 0})
    study = create_study(loaded, Home(tmp_path), name="one", simulate=True, runner="local", replace=False)
    witness = Everything()
    run_session(study, tracker=witness, callback=witness, teacher_weights=None)
    assert not any("hunt" in text for text in witness.texts)
    assert stat.S_IMODE(study.experiment_file.stat().st_mode) == 0o600
    holders = [path.name for path in study.path.rglob("*") if path.is_file() and b"hunt" in path.read_bytes()]
    assert holders == ["experiment.yaml"]


def test_the_files_of_a_study_in_a_shared_storage_are_private(tmp_path: Path, make_loaded: MakeLoaded) -> None:
    for name, storage, is_private in (("here", "journal", False), ("there", "postgresql://ann:hunter2@db/x", True)):
        study = StudyFolder(tmp_path / name)
        update_settings(study, make_loaded(search={"storage": storage}))
        for path in (study.experiment_file, study.record_file):
            assert (stat.S_IMODE(path.stat().st_mode) == 0o600) is is_private, path


def test_a_confirmation_shows_no_tracking_address(tmp_path: Path, make_loaded: MakeLoaded) -> None:
    home, witness = Home(tmp_path), Everything()
    loaded = make_loaded(tracking={"uri": URI}, search={"num_trials": 1})
    study = create_study(loaded, home, name="one", simulate=True, runner="local", replace=False)
    run_session(study, tracker=Witness(), callback=Witness(), teacher_weights=None)
    status, experiment = read_study(home, "one"), study.load().experiment
    plan = plan_confirmation(study, status, experiment, top=1, num_seeds=1, teacher_weights=None)
    run_confirmation(study, plan, metric="AP", has_test=True, state=status.state, tracker=witness, callback=witness)
    assert sum(name == "trial.json" for key, name, _ in witness.files if key is not None) == 2
    assert not any(holds_secret(text) for text in [*witness.texts, *map(repr, witness.specs)])
    assert not any(holds_secret(path.read_bytes()) for path in study.confirmation.path.rglob("*") if path.is_file())


def test_files_of_a_study_without_secrets_are_public(tmp_path: Path, make_loaded: MakeLoaded) -> None:
    study = create_study(make_loaded(), Home(tmp_path), name="one", simulate=True, runner="local", replace=False)
    assert stat.S_IMODE(study.experiment_file.stat().st_mode) & stat.S_IRUSR
    assert study.experiment_file.stat().st_mode == study.space_file.stat().st_mode


def test_the_command_line_shows_no_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not answer, invalid settings, and a study that is resumed."""
    monkeypatch.setenv("DISTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(small_values({"tracking": {"uri": URI}, "search": {"num_trials": 1}})))
    answers = [
        run(capsys, monkeypatch, "launch", str(path), "--name", "small", "--simulate", "--runner", "local"),
        run(capsys, monkeypatch, "status", "small", "--json"),
        run(capsys, monkeypatch, "ui", "small"),
        run(capsys, monkeypatch, "resume", "small", "--trials", "2"),
        run(capsys, monkeypatch, "launch", str(path), "--set", f"tracking.url={URI}"),
        run(capsys, monkeypatch, "launch", str(path), "--set", f"training.epochs={URI}"),
        run(capsys, monkeypatch, "launch", str(path), "--set", f"tracking.uri={URI.replace('https', 'ftp')}"),
    ]
    assert [answer.status for answer in answers] == [0, 0, 2, 0, 2, 2, 2]
    for answer in answers:
        assert not holds_secret(answer.out + answer.err), answer
    spool = (tmp_path / "home" / "studies" / "small" / "spool.jsonl").read_text()
    assert not holds_secret(spool)


def test_the_log_shows_no_secrets_of_any_library() -> None:
    formatter = SecretFreeFormatter("%(levelname)s %(message)s")
    try:
        raise ConnectionError(f"cannot reach {URI}")
    except ConnectionError as error:
        record: Any = logging.LogRecord(
            "urllib3", logging.WARNING, "x.py", 1, "to %s", (URI,), (type(error), error, None)
        )
    assert not holds_secret(formatter.format(record))
    assert "https://***@127.0.0.1:9/mlflow" in formatter.format(record)


@pytest.mark.parametrize(
    "name", ["..", ".", "", "a/b", "../up", "/etc", "a\\b", ".hidden", "a b", "a\n", "é", "a" * 101, "a/../../b", "~"]
)
def test_a_study_cannot_leave_its_folder(tmp_path: Path, make_loaded: MakeLoaded, name: str) -> None:
    home = Home(tmp_path / "home")
    with pytest.raises(UsageError, match="a name must start with a letter or digit"):
        create_study(make_loaded(), home, name=name, simulate=True, runner="local", replace=True)
    with pytest.raises(UsageError, match="a name must start with a letter or digit"):
        find_study(home, name)
    assert not home.root.exists()
