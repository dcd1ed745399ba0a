"""Former names of settings and values: errors in a user's files, read in the files of a study."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from distune.cli.options import load
from distune.config import renamed
from distune.config.distillation import FeaturePassSettings
from distune.config.experiment import Experiment
from distune.config.load import (
    LoadedExperiment,
    experiment_from_dict,
    load_experiment,
    parse_space,
    prepare_experiment,
    trial_experiment,
)
from distune.config.paths import get_path, merge, with_path
from distune.errors import ConfigError
from distune.study.search.initial_configurations import default_values
from support.experiments import small_values

KIND = "distillation.prototypes.source.kind"
SCALE = "distillation.standardise"
OLD_SPACE: dict[str, Any] = {
    "name": "old",
    "parameters": {
        KIND: {"kind": "choice", "values": ["sweep", "harvest"]},
        SCALE: {"kind": "choice", "values": ["none", "level"]},
        "distillation.prototypes.per_class": {"kind": "int", "low": 2, "high": 4, "when": {KIND: "sweep"}},
    },
}
OLD: dict[str, Any] = {
    "distillation": {
        "preset": "gkd_released",
        "standardise": "none",
        "soft_labels": {"normaliser": "mean"},
        "localization": {"kind": "smooth_l1", "weight": 2.0},
        "prototypes": {"source": {"kind": "harvest", "max_instances": 99}},
    },
    "search": {"first": [{KIND: "sweep"}]},
}


def without_former_names() -> dict[str, Any]:
    """As ``OLD``, with the present names; the configurations keep the words of the space."""
    return {
        "distillation": {
            "preset": "gkd_raw",
            "standardize": "none",
            "soft_labels": {"reduction": "mean", "sites": "positive"},
            "localization": {"form": "smooth_l1", "weight": 2.0},
            "prototypes": {"source": {"kind": "queue", "max_instances": 99}},
        },
        "search": {"initial_configurations": [{KIND: "sweep"}]},
    }


def saved(space: dict[str, Any] = OLD_SPACE, **changes: Any) -> LoadedExperiment:
    return experiment_from_dict(small_values(merge(OLD, changes)), source="saved", space=space, saved=True)


def message(values: dict[str, Any], folder: Path, *sets: str, fixed: tuple[str, ...] = ()) -> str:
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    with pytest.raises(ConfigError) as caught:
        load(path, sets, fixed=fixed)
    return " ".join(str(caught.value).split())


def test_every_former_name_leads_to_a_setting() -> None:
    values = Experiment.model_validate(small_values()).to_dict()
    for former, path in renamed.SETTINGS.items():
        get_path(values, path)
        with pytest.raises(KeyError):
            get_path(values, former)
    for path, names in renamed.VALUES.items():
        for former, name in names.items():
            group, _, setting = path.rpartition(".")
            for value, is_valid in ((name, True), (former, False)):
                change: Any = {setting: value}
                for part in reversed(group.split(".")):
                    change = {part: change}
                try:
                    Experiment.model_validate(small_values(change))
                except ValueError:
                    assert not is_valid
                else:
                    assert is_valid


def test_former_names_in_a_file_are_errors_with_line_and_present_name(tmp_path: Path) -> None:
    text = message(small_values(merge(OLD, {"training": {"epochs": 0}})), tmp_path)
    lines = (tmp_path / "experiment.yaml").read_text().splitlines()
    line = {name: next(at for at, text in enumerate(lines, 1) if name in text) for name in ("first", "standardise")}
    assert f"search.first (line {line['first']}) was renamed: use search.initial_configurations" in text
    assert f"{SCALE} (line {line['standardise']}) was renamed: use distillation.standardize" in text
    assert "distillation.soft_labels.normaliser (line" in text
    assert f"{KIND} = harvest (line" in text
    assert "was renamed: use queue" in text
    assert f"search.first.0.{KIND} = sweep (line {line['first']}) was renamed: use feature_pass" in text
    assert "training.epochs = 0" in text, "other problems are listed as well"
    assert "distillation.preset = gkd_released (line" in text
    assert "was renamed: use gkd_raw" in text
    assert "8 problems" in text


def test_former_names_in_assignments_are_errors(tmp_path: Path) -> None:
    assert "search.first (--set) was renamed" in message(small_values(), tmp_path, "search.first=[]")
    assert "= sweep (--set) was renamed: use feature_pass" in message(small_values(), tmp_path, f"{KIND}=sweep")
    assert f" {KIND} = sweep (--fix)" in message(small_values(), tmp_path, fixed=(f"{KIND}=sweep",))
    assert "was renamed: use distillation.standardize" in message(small_values(), tmp_path, fixed=(f"{SCALE}=none",))


def test_assignments_over_a_saved_file_use_present_names(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(small_values(OLD)))
    loaded = load_experiment(path, overrides={"training.epochs": 4}, space=OLD_SPACE, saved=True)
    assert loaded.experiment.training.epochs == 4
    with pytest.raises(ConfigError, match="was renamed: use search"):
        load_experiment(path, overrides={"search.first": []}, space=OLD_SPACE, saved=True)


def test_former_names_in_a_search_space_are_errors() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_space(OLD_SPACE, source="space.yaml")
    text = " ".join(str(caught.value).split())
    assert f"parameters.{KIND}.values = sweep was renamed: use feature_pass" in text
    assert f"parameters.{KIND}.values = harvest was renamed: use queue" in text
    assert f"parameters.{SCALE} was renamed: use distillation.standardize" in text
    assert f"parameters.distillation.prototypes.per_class.when.{KIND} = sweep was renamed" in text
    with pytest.raises(ConfigError, match="was renamed: use queue"):
        parse_space({"name": "plain", "parameters": {KIND: "harvest"}}, source="space.yaml")


def test_a_saved_experiment_equals_one_with_the_present_names() -> None:
    now = experiment_from_dict(
        small_values(merge(without_former_names(), {"search": {"initial_configurations": []}})), source="now"
    ).experiment
    found = saved(search={"first": []}).experiment
    assert found == now
    assert renamed.upgrade_experiment(found.to_dict()) == found.to_dict()


def test_both_names_at_once_keep_the_present_one() -> None:
    values = {"search": {"first": [{"a": 1}], "initial_configurations": []}}
    assert renamed.upgrade_experiment(values) == {"search": {"initial_configurations": []}}


def test_a_saved_space_keeps_its_names_and_its_trials_get_the_present_ones() -> None:
    loaded = saved()
    assert list(loaded.searched) == list(OLD_SPACE["parameters"])
    assert loaded.searched[KIND].extremes == ("sweep", "harvest")
    swept = Experiment.model_validate(trial_experiment(loaded.experiment, {KIND: "sweep", SCALE: "level"}))
    assert swept.distillation.prototypes.source == FeaturePassSettings()
    assert swept.distillation.standardize == "level"
    queued = trial_experiment(loaded.experiment, {KIND: "harvest"})
    assert queued["distillation"]["prototypes"]["source"] == {"kind": "queue", "max_instances": 99}
    again = experiment_from_dict(loaded.experiment.to_dict(), source="again", space=loaded.space.to_dict(), saved=True)
    assert (again.experiment, again.space) == (loaded.experiment, loaded.space)


def test_the_experiments_values_have_the_names_of_the_space() -> None:
    loaded = saved()
    assert default_values(loaded.experiment, loaded.searched) == ({KIND: "harvest", SCALE: "none"}, [])


def test_fixed_values_of_a_saved_study_keep_the_names_of_its_space() -> None:
    loaded = saved(search={"fixed": {KIND: "sweep"}, "first": []})
    assert KIND not in loaded.searched
    assert loaded.searched["distillation.prototypes.per_class"].when == {}
    assert trial_experiment(loaded.experiment, {})["distillation"]["prototypes"]["source"]["kind"] == "feature_pass"


def test_a_condition_of_a_saved_space_on_a_setting_outside_of_it_still_holds() -> None:
    parameters = {
        "distillation.prototypes.per_class": {"kind": "int", "low": 2, "high": 4, "when": {KIND: ["harvest"]}},
        "distillation.decay": {"kind": "choice", "values": ["linear", "cosine"], "when": {SCALE: "level"}},
    }
    loaded = saved({"name": "old", "parameters": parameters}, search={"first": []})
    assert list(loaded.searched) == ["distillation.prototypes.per_class"]
    assert loaded.inactive == {"distillation.decay": "distillation.standardize is none"}


def test_an_experiment_made_in_python_is_prepared_without_old_names() -> None:
    experiment = Experiment.model_validate(small_values())
    with pytest.raises(ConfigError, match="was renamed"):
        prepare_experiment(experiment, space=OLD_SPACE)


def test_a_saved_experiment_keeps_what_it_did_before_a_setting_existed() -> None:
    now = Experiment.model_validate(small_values({"training": {"gradient_clip_norm": 5.0}})).to_dict()
    assert now["training"]["gradient_clip_of"] == "each"
    assert now["distillation"]["soft_labels"]["sites"] == "auto"
    former = copy.deepcopy(now)
    del former["training"]["gradient_clip_of"]
    del former["distillation"]["soft_labels"]["sites"]
    assert renamed.upgrade_experiment(former) == former, "a new file gets the defaults of today"
    found = experiment_from_dict(former, source="saved", saved=True).experiment
    assert found.training.gradient_clip_of == "total"
    assert found.distillation.soft_labels.sites == "positive"
    assert renamed.upgrade_saved(now) == now


def test_former_behavior_is_a_value_of_a_setting_and_not_its_default() -> None:
    values = Experiment.model_validate(small_values()).to_dict()
    for path, (_, value) in renamed.FORMER_BEHAVIOR.items():
        assert get_path(values, path) != value
        assert get_path(Experiment.model_validate(with_path(values, path, value)).to_dict(), path) == value


def test_a_trial_with_another_form_of_a_term_keeps_its_weight() -> None:
    """A setting named ``kind`` would replace its whole group."""
    experiment = Experiment.model_validate(small_values({"distillation": {"localization": {"weight": 2.0}}}))
    for path in ("distillation.localization.form", "distillation.localization.kind"):
        chosen = trial_experiment(experiment, {path: "smooth_l1"})["distillation"]["localization"]
        assert (chosen["form"], chosen["weight"]) == ("smooth_l1", 2.0)
