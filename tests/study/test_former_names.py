"""A study of an earlier version, which has former names of settings and values in its files and in its trials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distune.config.home import Home
from distune.config.load import experiment_from_dict
from distune.config.yaml import read_yaml, write_yaml
from distune.errors import StudyError
from distune.study.create import create_study
from distune.study.files.study_folder import StudyFolder
from distune.study.search.warm_start import warm_start
from distune.study.session import run_session
from distune.study.settings_update import update_settings
from distune.study.status import read_study
from study.harness import EXPERIMENT, MakeLoaded, Witness

KIND, FORMER_SCALE, SCALE = (
    f"distillation.{name}" for name in ("prototypes.source.kind", "standardise", "standardize")
)
SPACE: dict[str, Any] = {
    "name": "old",
    "parameters": {
        KIND: {"kind": "choice", "values": ["sweep", "harvest"]},
        FORMER_SCALE: {"kind": "choice", "values": ["none", "level", "channel"]},
    },
}
PRESENT_SPACE: dict[str, Any] = {
    "name": "new",
    "parameters": {
        KIND: {"kind": "choice", "values": ["feature_pass", "queue"]},
        SCALE: {"kind": "choice", "values": ["none", "level", "channel"]},
    },
}
SOURCES = {"sweep": "feature_pass", "harvest": "queue"}


def with_former_names(experiment: dict[str, Any]) -> dict[str, Any]:
    if "standardise" in experiment["distillation"]:
        return experiment
    distillation, search = dict(experiment["distillation"]), dict(experiment["search"])
    distillation["standardise"] = distillation.pop("standardize")
    soft_labels = dict(distillation["soft_labels"])
    soft_labels["normaliser"] = soft_labels.pop("reduction")
    prototypes = {**distillation["prototypes"], "source": {"kind": "harvest", "max_instances": 99}}
    search["first"] = search.pop("initial_configurations")
    return {
        **experiment,
        "distillation": {**distillation, "soft_labels": soft_labels, "prototypes": prototypes},
        "search": search,
    }


def rewrite(study: StudyFolder) -> None:
    """Put former names into all files of a study."""
    study.experiment_file.write_text(write_yaml(with_former_names(read_yaml(study.experiment_file)[0])))
    if study.record_file.is_file():
        record = json.loads(study.record_file.read_bytes())
        record["experiment"] = with_former_names(record["experiment"])
        study.record_file.write_text(json.dumps(record))


@pytest.fixture
def study(tmp_path: Path) -> StudyFolder:
    values = {
        **EXPERIMENT,
        "training": {"epochs": 1},
        "search": {
            "num_trials": 3,
            "scheduler": {"kind": "none"},
            "initial_configurations": [{KIND: "sweep", FORMER_SCALE: "none"}],
        },
    }
    loaded = experiment_from_dict(values, source="old", space=SPACE, saved=True)
    created = create_study(loaded, Home(tmp_path / "home"), name="old", simulate=True, runner="local", replace=False)
    rewrite(created)
    return created


def run(study: StudyFolder, num_trials: int) -> Witness:
    witness = Witness()
    run_session(study, tracker=witness, callback=witness, teacher_weights=None, num_trials=num_trials)
    return witness


def test_it_is_resumed_and_its_trials_are_trained_under_the_present_names(study: StudyFolder, tmp_path: Path) -> None:
    specs = run(study, 3).specs
    rewrite(study)
    resumed = run(study, 5)
    assert resumed.messages == [], "no setting has changed"
    assert len(resumed.specs) == 2
    trials = [spec for spec in (*specs, *resumed.specs) if not spec.control]
    assert trials[0].params[KIND] == "harvest", "the experiment's own value, in the words of the study"
    assert trials[1].params == {KIND: "sweep", FORMER_SCALE: "none"}
    for spec in trials:
        distillation = spec.experiment["distillation"]
        assert distillation["prototypes"]["source"]["kind"] == SOURCES[str(spec.params[KIND])]
        assert distillation["standardize"] == spec.params[FORMER_SCALE]
    assert read_study(Home(tmp_path / "home"), "old").state == "finished"


def test_it_does_not_continue_with_the_present_names_of_its_choices(study: StudyFolder) -> None:
    run(study, 2)
    loaded = study.load()
    renamed = experiment_from_dict(loaded.experiment.to_dict() | {"search": {}}, source="new", space=PRESENT_SPACE)
    with pytest.raises(StudyError, match="other values of a choice within a study"):
        update_settings(study, renamed)


def test_a_new_study_starts_with_its_best_trials(study: StudyFolder, make_loaded: MakeLoaded, tmp_path: Path) -> None:
    run(study, 3)
    target = make_loaded(space=PRESENT_SPACE)
    found = warm_start(read_study(Home(tmp_path / "home"), "old"), study.load(), target, top=9)
    assert {KIND: "feature_pass", SCALE: "none"} in found.configurations
    assert all(set(values) == {KIND, SCALE} for values in found.configurations)
