"""Optuna storages besides the SQLite file: a journal for network disks, and a shared database."""

from __future__ import annotations

import signal
import warnings
from pathlib import Path

import optuna
import pytest

from distune.config.home import Home
from distune.errors import StudyError, UsageError
from distune.records import Outcome, TrialRecord
from distune.study.create import create_study
from distune.study.files.study_folder import StudyFolder
from distune.study.session import run_session
from distune.study.status import read_study
from distune.study.storage.storage_url import check_storage, open_storage, optuna_name, shown_storage
from distune.study.trial_spec import SpecMaker
from distune.tracking.build import build_tracker
from distune.tracking.mlflow_client import find_study_runs, open_client
from study.harness import MakeLoaded, Witness
from study.test_session import SignalAfter

METRIC = "search/AP"
NUM_TRIALS = 5


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def create(home: Home, make_loaded: MakeLoaded, storage: str | None, name: str = "one") -> StudyFolder:
    loaded = make_loaded(search={"num_trials": NUM_TRIALS, "storage": storage})
    return create_study(loaded, home, name=name, simulate=True, runner="local", replace=False)


def run(folder: StudyFolder, witness: Witness | None = None) -> Witness:
    witness = witness or Witness()
    run_session(folder, tracker=witness, callback=witness, teacher_weights=None)
    return witness


def finished_trials(home: Home, name: str = "one") -> list[TrialRecord]:
    status = read_study(home, name)
    assert status.state == "finished"
    return status.trials


def same(mine: list[TrialRecord], theirs: list[TrialRecord]) -> bool:
    return [(trial.key, trial.params, trial.outcome, trial.metrics.get(METRIC)) for trial in mine] == [
        (trial.key, trial.params, trial.outcome, trial.metrics.get(METRIC)) for trial in theirs
    ]


def append_partial_line(folder: StudyFolder) -> None:
    """Append the start of an entry without its end, as after a power failure."""
    with folder.journal.open("ab") as file:
        file.write(b'{"op_code":8,"worker_id":"a-')


def test_a_study_in_a_journal_is_the_same_study(home: Home, make_loaded: MakeLoaded) -> None:
    run(create(home, make_loaded, None, "plain"))
    folder = create(home, make_loaded, "journal")
    first = SignalAfter(9, signal.SIGTERM)
    run(folder, first)
    append_partial_line(folder)
    assert read_study(home, "one").state == "interrupted", "a partial line does not prevent reading"
    run(folder)
    assert same(finished_trials(home), finished_trials(home, "plain"))
    assert not folder.database.exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("nonsense", "a database URL"),
        ("ftp://host/x", "a database URL"),
        ("sqlite:///a.db", "to use an SQLite file"),
    ],
)
def test_an_invalid_storage_is_refused_and_nothing_is_written(
    home: Home, make_loaded: MakeLoaded, setting: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        create(home, make_loaded, setting)
    assert not home.root.exists()


def test_the_message_about_a_missing_driver_has_no_password() -> None:
    with pytest.raises(UsageError, match="driver of this database") as caught:
        check_storage("oracle://ann:hunter2@host/x")
    assert "hunter" not in str(caught.value)


@pytest.mark.server
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_optuna_and_mlflow_share_a_postgresql_database(home: Home, make_loaded: MakeLoaded, database: str) -> None:
    """Two homes, a study of one name in each, both databases' tables side by side, an interruption in between."""
    run(create(home, make_loaded, None, "plain"))
    folders = []
    for root in (home, Home(home.root.with_name("other"))):
        loaded = make_loaded(
            search={"num_trials": NUM_TRIALS, "storage": database}, tracking={"uri": database, "experiment": "cells"}
        )
        folder = create_study(loaded, root, name="one", simulate=True, runner="local", replace=False)
        folders.append(folder)
        for callback in (SignalAfter(9, signal.SIGTERM), Witness()):
            tracker = build_tracker(
                loaded.experiment.tracking,
                home=root,
                study_folder=folder.path,
                study=folder.name,
                study_key=folder.identity().tracking_key,
                experiment="unused",
            )
            run_session(folder, tracker=tracker, callback=callback, teacher_weights=None)
            tracker.close()
        assert same(finished_trials(root), finished_trials(home, "plain")), (
            "the other home's study of that name is another one"
        )
        assert not folder.database.exists()
    for folder in folders:
        key = folder.identity().tracking_key
        found = find_study_runs(database, experiment="cells", study_key=key)
        assert found is not None
        assert len(found.trial_run_ids) == NUM_TRIALS + 1
        client = open_client(database)
        for record in read_study(Home(folder.path.parents[1]), "one").trials:
            run_id = found.trial_run_ids[record.key]
            stored = client.get_run(run_id)
            assert stored.data.tags["distune.outcome"] == record.outcome.value
            assert stored.info.status in ("FINISHED", "FAILED")
            steps = [point.step for point in client.get_metric_history(run_id, METRIC)]
            assert steps == list(range(1, record.epochs + 1)), "each epoch once"
            assert record.outcome in (Outcome.FINISHED, Outcome.STOPPED)
        with open_storage(folder, database) as storage:
            optuna.load_study(storage=storage, study_name=optuna_name(folder.identity(), database))


def test_the_journal_gives_no_warnings(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_storage(StudyFolder(tmp_path), "journal") as storage:
            assert storage.get_all_studies() == []


def test_a_study_cannot_move_to_another_storage(home: Home, make_loaded: MakeLoaded) -> None:
    folder = create(home, make_loaded, None)
    run(folder)
    text = folder.experiment_file.read_text()
    folder.experiment_file.write_text(text.replace("storage: null", "storage: journal"))
    with pytest.raises(StudyError, match=r"search.storage = journal: its trials are in optuna\.db"):
        run(folder)
    folder.experiment_file.write_text(text)
    assert run(folder).records == []


def test_the_address_of_a_database_stays_out_of_trials(make_loaded: MakeLoaded, tmp_path: Path) -> None:
    loaded = make_loaded(search={"storage": "postgresql://ann:hunter2@host/x"})
    maker = SpecMaker(study="one", experiment=loaded.experiment, trials_folder=tmp_path, teacher_weights=None)
    assert "hunter" not in repr(maker.make(0, {})[0])
    assert "hunter" not in str(shown_storage(loaded.experiment.search.storage))
