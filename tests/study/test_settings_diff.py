"""A study that continues with changed settings: changes are listed, and refused when trials would be incomparable."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from distune.config.home import Home
from distune.config.load import experiment_from_dict
from distune.config.paths import merge
from distune.config.yaml import read_yaml, write_yaml
from distune.errors import ConfigError, ResourceError, StudyError
from distune.records import ParameterValue
from distune.study.create import create_study
from distune.study.files.settings_diff import compare_settings, describe_changes
from distune.study.files.study_folder import StudyFolder
from distune.study.session import run_session
from distune.study.settings_update import update_settings
from distune.study.status import read_study
from study.harness import SPACE, MakeLoaded, Witness

WEIGHT, DECAY = "distillation.global_knowledge.weight", "distillation.decay"
TRIED: list[dict[str, ParameterValue]] = [
    {WEIGHT: 1.0, DECAY: "linear"},
    {WEIGHT: 10.0, DECAY: "cosine"},
    {WEIGHT: 40.0, DECAY: "cosine"},
]


def space(**parameters: dict[str, Any]) -> dict[str, Any]:
    names = {"weight": WEIGHT, "decay": DECAY}
    changes = {names.get(name, name): value for name, value in parameters.items()}
    return {**SPACE, "parameters": {**SPACE["parameters"], **changes}}


def test_equal_settings_have_no_changes(make_loaded: MakeLoaded) -> None:
    assert compare_settings(make_loaded(), make_loaded(), TRIED) == []
    assert describe_changes([]) == []


def test_tracking_may_change_at_any_time_and_its_address_is_not_recorded(make_loaded: MakeLoaded) -> None:
    assert compare_settings(make_loaded(), make_loaded(tracking={"uri": "https://me:secret@example.org"}), TRIED) == []


@pytest.mark.parametrize(
    "section",
    [
        {"resources": {"max_concurrent": 2}},
        {"search": {"controls": 3}},
        {"search": {"sampler": {"kind": "random"}}},
        {"search": {"scheduler": {"kind": "none"}}},
        {"search": {"num_trials": 99}},
    ],
)
def test_settings_that_do_not_affect_trials_may_change(make_loaded: MakeLoaded, section: dict[str, Any]) -> None:
    changes = compare_settings(make_loaded(), make_loaded(**section), TRIED)
    assert changes
    assert all(change.refusal is None for change in changes)


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"training": {"epochs": 3}}, "training.epochs"),
        ({"data": {"seed": 3}}, "data.seed"),
        ({"teacher": {"fpn_channels": 64}}, "teacher.fpn_channels"),
        ({"distillation": {"start_epoch": 1}}, "distillation.start_epoch"),
        ({"search": {"metric": "AP50"}}, "search.metric"),
        ({"search": {"fixed": {DECAY: "cosine"}}}, "search.fixed"),
        ({"name": "other"}, "name"),
    ],
)
def test_a_change_that_makes_trials_incomparable_is_refused(
    make_loaded: MakeLoaded, section: dict[str, Any], path: str
) -> None:
    sections = {name: value for name, value in section.items() if name != "name"}
    after = make_loaded(**sections)
    if "name" in section:
        renamed = after.experiment.model_copy(update={"name": "other"})
        after = type(after)(experiment=renamed, space=after.space, source=after.source)
    (change,) = compare_settings(make_loaded(), after, TRIED)
    assert change.path == path
    assert change.refusal is not None


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"weight": {"kind": "float", "low": 5.0, "high": 50.0, "log": True}}, None),
        ({"weight": {"kind": "float", "low": 0.5, "high": 50.0}}, "another scale"),
        ({"weight": {"kind": "int", "low": 1, "high": 50}}, "another kind"),
        ({"weight": {"kind": "float", "low": 0.5, "high": 50.0, "log": True, "when": {DECAY: "linear"}}}, "condition"),
        ({"decay": {"kind": "choice", "values": ["linear", "cosine"]}}, "other values of a choice"),
        ({"distillation.soft_labels.weight": {"kind": "float", "low": 0.5, "high": 5.0}}, "have no such parameter"),
    ],
)
def test_changes_of_the_space(make_loaded: MakeLoaded, parameters: dict[str, Any], expected: str | None) -> None:
    (change,) = compare_settings(make_loaded(), make_loaded(space=space(**parameters)), TRIED)
    if expected is None:
        assert change.refusal is None
        assert change.remark == (
            "2 of 3 trials are inside; from now on it is sampled independently of the other parameters"
        )
        assert (change.old, change.new) == ("0.5 to 50, log", "5 to 50, log")
    else:
        assert expected in (change.refusal or "")


def test_a_parameter_that_is_gone_is_refused(make_loaded: MakeLoaded) -> None:
    left = {path: parameter for path, parameter in SPACE["parameters"].items() if path != DECAY}
    (change,) = compare_settings(make_loaded(), make_loaded(space={**SPACE, "parameters": left}), TRIED)
    assert "have searched it" in (change.refusal or "")


def test_a_range_that_a_sampler_could_not_follow_is_refused(make_loaded: MakeLoaded) -> None:
    wider = space(weight={"kind": "float", "low": 0.1, "high": 50.0, "log": True})
    gp = {"sampler": {"kind": "gp", "startup_trials": 4}}
    (change,) = compare_settings(make_loaded(search=gp), make_loaded(space=wider, search=gp), TRIED)
    assert "gp would sample it at random" in (change.refusal or "")
    conditional = {"kind": "float", "low": 1.0, "high": 9.0, "when": {DECAY: "linear"}}
    soft = {"distillation.soft_labels.weight": conditional}
    (change,) = compare_settings(
        make_loaded(space=space(**soft)),
        make_loaded(space=merge(wider, space(**soft)) | {"parameters": {**wider["parameters"], **soft}}),
        TRIED,
    )
    assert "tpe would keep the former range" in (change.refusal or "")


def test_another_name_of_the_space_is_refused_when_the_space_stays(make_loaded: MakeLoaded) -> None:
    (change,) = compare_settings(make_loaded(), make_loaded(search={"space": "prototypes"}), TRIED)
    assert (change.path, change.refusal) == ("search.space", "the study uses its own space.yaml; edit that file")
    wider = space(weight={"kind": "float", "low": 0.1, "high": 50.0, "log": True})
    changes = compare_settings(make_loaded(), make_loaded(space=wider, search={"space": "wider.yaml"}), TRIED)
    assert [(change.path, change.refusal) for change in changes] == [("search.space", None), (f"space: {WEIGHT}", None)]


@pytest.fixture
def study(tmp_path: Path, make_loaded: MakeLoaded) -> StudyFolder:
    loaded = make_loaded(training={"epochs": 1}, search={"num_trials": 2, "scheduler": {"kind": "none"}})
    home = Home(tmp_path / "home")
    return create_study(loaded, home, name="one", simulate=True, runner="local", replace=False)


def edit(path: Path, changes: dict[str, Any]) -> None:
    path.write_text(write_yaml(merge(read_yaml(path)[0], changes)))


def test_the_next_session_detects_an_edited_file(study: StudyFolder) -> None:
    edit(study.experiment_file, {"training": {"epochs": 2}})
    with pytest.raises(StudyError, match=r"training\.epochs +1 +2 +trials before and after .*\n.*--warm-start one"):
        run_session(study, tracker=Witness(), callback=Witness(), teacher_weights=None)
    assert not study.trials.exists()

    edit(study.experiment_file, {"training": {"epochs": 1}, "search": {"controls": 2}})
    witness = Witness()
    run_session(study, tracker=witness, callback=witness, teacher_weights=None)
    assert witness.messages == ["setting          was  is now", "search.controls  1    2"]
    assert sum(spec.control for spec in witness.specs) == 2
    (line,) = study.changes_file.read_text().splitlines()
    assert json.loads(line)["changes"][0]["path"] == "search.controls"
    assert update_settings(study, study.load()) == [], "what was accepted is on record"


@pytest.mark.parametrize("tracking", [{"pictures": 0}, {"uri": "https://ann:hunter2@db/x"}])
def test_other_settings_of_tracking_are_stored_and_are_no_changes(study: StudyFolder, tracking: dict[str, Any]) -> None:
    values = merge(read_yaml(study.experiment_file)[0], {"tracking": tracking})
    loaded = experiment_from_dict(values, source="option", space=read_yaml(study.space_file)[0], saved=True)
    assert study.load().experiment.tracking != loaded.experiment.tracking
    assert update_settings(study, loaded) == []
    assert study.load().experiment == loaded.experiment
    assert not study.changes_file.exists()
    assert "hunter2" not in study.record_file.read_text()
    is_private = stat.S_IMODE(study.experiment_file.stat().st_mode) == 0o600
    assert is_private is ("uri" in tracking)


def test_files_are_not_written_again_without_a_change(study: StudyFolder) -> None:
    before = study.experiment_file.stat().st_ino
    assert update_settings(study, study.load()) == []
    assert study.experiment_file.stat().st_ino == before


def test_a_damaged_file_is_replaced_by_given_settings(study: StudyFolder) -> None:
    loaded = study.load()
    study.experiment_file.write_text("name: [")
    assert update_settings(study, loaded) == []
    assert study.load().experiment == loaded.experiment


def test_a_sampler_that_is_not_installed_is_no_change(study: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distune.study.search.samplers._PACKAGES", {"nsga2": "no_such_package"})
    edit(study.experiment_file, {"search": {"sampler": {"kind": "nsga2"}}})
    record = study.record_file.read_bytes()
    with pytest.raises(ResourceError, match="needs the package no_such_package"):
        run_session(study, tracker=Witness(), callback=Witness(), teacher_weights=None)
    assert study.record_file.read_bytes() == record


def test_a_study_continues_with_a_changed_range_in_the_same_optuna_study(study: StudyFolder, tmp_path: Path) -> None:
    run_session(study, tracker=Witness(), callback=Witness(), teacher_weights=None)
    edit(study.space_file, {"parameters": {WEIGHT: {"low": 20.0, "high": 90.0}}})
    witness = Witness()
    run_session(study, tracker=witness, callback=witness, teacher_weights=None, num_trials=4)
    assert [20.0 <= float(spec.params[WEIGHT] or 0) <= 90.0 for spec in witness.specs] == [True, True]
    assert "0.5 to 50, log" in witness.messages[1]
    for kind in ("gp", "nsga2"):
        edit(study.experiment_file, {"search": {"sampler": {"kind": kind}}})
        with pytest.raises(StudyError, match=f"range of {WEIGHT} has changed: {kind} would sample it at random"):
            update_settings(study, study.load())
    edit(study.experiment_file, {"search": {"sampler": {"kind": "random"}}})
    assert [change.path for change in update_settings(study, study.load())] == ["search.sampler"]
    status = read_study(Home(tmp_path / "home"), "one")
    assert status.state == "finished"
    assert len(status.trials) == 5


def test_a_range_that_excludes_an_initial_configuration_names_the_remedy(study: StudyFolder) -> None:
    edit(study.experiment_file, {"search": {"initial_configurations": [{WEIGHT: 40.0}]}})
    run_session(study, tracker=Witness(), callback=Witness(), teacher_weights=None)
    edit(study.space_file, {"parameters": {WEIGHT: {"high": 30.0}}})
    with pytest.raises(
        ConfigError,
        match=r"initial_configurations\[0\]: .* = 40\.0 +is not in the space; .* can be removed from search\.i",
    ):
        study.load()
    edit(study.experiment_file, {"search": {"initial_configurations": []}})
    witness = Witness()
    run_session(study, tracker=witness, callback=witness, teacher_weights=None, num_trials=3)
    assert len(witness.specs) == 1


def test_a_study_of_an_earlier_version_has_no_record_and_continues(study: StudyFolder) -> None:
    study.record_file.unlink()
    edit(study.experiment_file, {"description": "edited before there was a record"})
    assert update_settings(study, study.load()) == []
    edit(study.experiment_file, {"description": "edited again"})
    assert [change.path for change in update_settings(study, study.load())] == ["description"]
