"""Loading experiments and spaces: everything that ships loads, and every mistake is named at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from distune.cli.options import load
from distune.config.compatibility import may_vary
from distune.config.data import ShapesData
from distune.config.detector import RetinaNetSettings
from distune.config.distillation import DistillationSettings
from distune.config.experiment import Experiment, without_distillation
from distune.config.load import (
    load_experiment,
    parse_experiment,
    parse_space,
    prepare_experiment,
    trial_experiment,
)
from distune.config.paths import get_path, leaf_paths, merge, with_path
from distune.config.search import NoSchedulerSettings, RandomSettings, SearchSettings
from distune.config.shipped import shipped_names
from distune.config.space import Choice, FloatRange, SearchSpace
from distune.config.training import ConstantSettings, SgdSettings, TrainingSettings
from distune.config.yaml import parse_value, write_yaml
from distune.errors import ConfigError, UsageError

EXPERIMENT: dict[str, Any] = {
    "name": "mine",
    "data": {"kind": "shapes"},
    "teacher": {"family": "retinanet", "backbone": "resnet18"},
    "teacher_training": {"epochs": 2},
    "student": {"family": "retinanet", "backbone": "resnet10"},
    "search": {"space": "space.yaml"},
}
SPACE: dict[str, Any] = {
    "name": "small",
    "parameters": {
        "distillation.global_knowledge.weight": {"kind": "float", "low": 0.5, "high": 50.0, "log": True},
        "distillation.decay": {"kind": "choice", "values": ["linear", "constant"]},
    },
}


def write(folder: Path, experiment: dict[str, Any] = EXPERIMENT, space: dict[str, Any] = SPACE) -> Path:
    (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    (folder / "space.yaml").write_text(yaml.safe_dump(space))
    return folder / "experiment.yaml"


def problems(folder: Path, experiment: dict[str, Any], space: dict[str, Any] = SPACE, *sets: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(write(folder, experiment, space), sets)
    return str(caught.value)


@pytest.mark.parametrize("name", shipped_names("experiments"))
def test_every_shipped_experiment_loads_with_its_space(name: str) -> None:
    loaded = load_experiment(name)
    assert loaded.experiment.name == name
    assert loaded.searched
    assert loaded.experiment.description
    assert loaded.experiment.expects, "an experiment states what it is expected to reach"


@pytest.mark.parametrize("name", shipped_names("search_spaces"))
def test_every_shipped_space_fits_every_shipped_experiment(name: str) -> None:
    for experiment in shipped_names("experiments"):
        load(experiment, [f"search.space={name}"])


def test_a_resolved_experiment_loads_to_itself(tmp_path: Path) -> None:
    experiment = load_experiment(write(tmp_path)).experiment
    text = write_yaml(experiment.to_dict())
    assert parse_experiment(yaml.safe_load(text), source="again") == experiment


def test_an_experiment_made_in_python_is_the_one_of_the_file(tmp_path: Path) -> None:
    made = Experiment(
        name="mine",
        data=ShapesData(),
        teacher=RetinaNetSettings(backbone="resnet18"),
        teacher_training=TrainingSettings(epochs=2, optimizer=SgdSettings(), schedule=ConstantSettings()),
        student=RetinaNetSettings(backbone="resnet10"),
        search=SearchSettings(space="loss_weights", sampler=RandomSettings(), scheduler=NoSchedulerSettings()),
    )
    file = tmp_path / "experiment.yaml"
    file.write_text(write_yaml(made.to_dict()))
    from_file = load_experiment(file)
    assert prepare_experiment(made) == dataclasses.replace(from_file, source="experiment mine")


def test_a_space_is_given_by_name_path_data_or_object(tmp_path: Path) -> None:
    experiment = load_experiment(write(tmp_path)).experiment
    expected = parse_space(SPACE, source="space")
    assert prepare_experiment(experiment, space=tmp_path / "space.yaml").space == expected
    assert prepare_experiment(experiment, space=SPACE).space == expected
    assert prepare_experiment(experiment, space=expected).space == expected
    assert prepare_experiment(experiment, space="loss_weights").space.name == "loss_weights"
    assert prepare_experiment(experiment, folder=tmp_path).space == expected, "by search.space"
    assert prepare_experiment(experiment, check_space=False).searched == {}
    with pytest.raises(UsageError, match="did you mean"):
        prepare_experiment(experiment, space="loss_weight")
    wrong = {"name": "wrong", "parameters": {"data.seed": {"kind": "int", "low": 0, "high": 3}}}
    with pytest.raises(ConfigError, match="experiment mine, search space wrong"):
        prepare_experiment(experiment, space=wrong)


def test_a_space_made_in_python_equals_plain_data() -> None:
    made = SearchSpace(
        name="small",
        parameters={
            "distillation.global_knowledge.weight": FloatRange(low=0.5, high=50.0, log=True),
            "distillation.decay": Choice(values=["linear", "constant"]),
        },
    )
    assert made == parse_space(SPACE, source="space")


@pytest.mark.parametrize("section", ["data", "teacher", "student"])
def test_a_file_must_name_kind_and_family(tmp_path: Path, section: str) -> None:
    name = "kind" if section == "data" else "family"
    values = {key: value for key, value in EXPERIMENT[section].items() if key != name}
    assert f"{section}.{name}" in problems(tmp_path, {**EXPERIMENT, section: values})


def test_all_mistakes_of_a_file_at_once_with_line_value_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        """name: bad
data: {kind: shapes, num_train: 0}
teacher: {family: retinanet, backbone: resnet18}
student: {family: retinanett, backbone: resnet10}
training:
  epochs: 1.5
distillation:
  prototypes:
    per_clas: 3
search:
  scheduler: {kind: asha, grace_epochs: 0}
"""
    )
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: 5 problems"
    text = " ".join(" ".join(lines).split())
    assert "data.num_train = 0 (line 2) must be at least 1" in text
    assert "student.family = retinanett (line 4) must be one of fasterrcnn, maskrcnn, retinanet, fcos" in text
    assert "training.epochs = 1.5 (line 6) must be a whole number" in text
    assert 'distillation.prototypes.per_clas (line 9) unknown setting; did you mean "per_class"?' in text
    assert "search.scheduler.grace_epochs = 0 (line 11) must be at least 1" in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"teacher_training": None}, "is missing: the teacher has no weights"),
        ({"data": {"kind": "shapes", "min_size_px": 128, "max_size_px": 96}}, "must not be more than data.max_size_px"),
        (
            {"data": {"kind": "shapes", "augmentation": {"min_sizes_px": [64, 128]}}},
            "must not have more than data.max_size_px = 96",
        ),
        (
            {"data": {"kind": "shapes", "augmentation": {"min_sizes_px": [48]}}, "student": {"family": "ssdlite"}},
            "has no effect on student.family = ssdlite",
        ),
        ({"student": {"family": "fasterrcnn", "backbone": "resnet10"}}, "soft_labels.weight = 1  must be 0: "),
        (
            {"student": {"family": "retinanet", "backbone": "resnet10", "norm": "frozen"}},
            "needs student.weights or student.backbone_weights",
        ),
        ({"name": "../escape"}, "name = ../escape"),
        ({"data": {"root": "somewhere"}}, "data.kind"),
        ({"training": {"epochs": 3}, "distillation": {"start_epoch": 3}}, "must be less than training.epochs"),
        ({"distillation": {"stop_epoch": 2, "start_epoch": 2}}, "stop_epoch = 2 must be more than start_epoch = 2"),
        ({"search": {"space": "space.yaml", "metric": "mAP"}}, "must be one of"),
        ({"data": None}, "data = null"),
        ({"training": {"optimizer": {"kind": "adam"}}}, "training.optimizer.kind = adam"),
    ],
)
def test_parts_that_do_not_fit(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    text = " ".join(problems(tmp_path, {**EXPERIMENT, **change}).split())
    assert " ".join(expected.split()) in text


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"distillation.decay": {"kind": "float", "low": 2.0, "high": 1.0}}, "low = 2 must be less than high = 1"),
        ({"distillation.global_knowlege.weight": {"kind": "float", "low": 0.0, "high": 1.0}}, "did you mean"),
        ({"distillation.global_knowledge": {"kind": "float", "low": 0.0, "high": 1.0}}, "is a group of settings"),
        ({"training.batch_size": {"kind": "int", "low": 1, "high": 4}}, "cannot be searched"),
        ({"training.precision": {"kind": "choice", "values": ["auto", "float32"]}}, "cannot be searched"),
        ({"data.num_train": {"kind": "int", "low": 1, "high": 4}}, "cannot be searched"),
        (
            {"distillation.preset": {"kind": "choice", "values": ["gkd_global", "gkd_raw"]}},
            "another preset would change nothing",
        ),
        (
            {"distillation.prototypes.per_class": {"kind": "int", "low": 0, "high": 4}},
            "per_class = 0 (space.yaml, line 3) must be at least 1",
        ),
        (
            {"distillation.decay": {"kind": "choice", "values": ["linear", "quadratic"]}},
            "decay = quadratic (space.yaml, line 3) must be one of",
        ),
        (
            {"distillation.prototypes.alpha": {"kind": "float", "low": 0.0, "high": 1.0, "log": True}},
            "more than 0 when log",
        ),
        (
            {"distillation.prototypes.per_class": {"kind": "int", "low": 1, "high": 4, "step": 5}},
            "step = 5 is larger than the range",
        ),
        ({"distillation.decay": {"kind": "choice", "values": ["linear", "linear"]}}, "has a value twice"),
        ({}, "must have at least one"),
        ({"distillation.prototypes.source.max_images": {"kind": "int", "low": 1, "high": 4}}, "is not a setting"),
    ],
)
def test_a_space_that_does_not_fit(tmp_path: Path, parameters: dict[str, Any], expected: str) -> None:
    text = " ".join(problems(tmp_path, EXPERIMENT, {"name": "bad", "parameters": parameters}).split())
    assert " ".join(expected.split()) in text


@pytest.mark.parametrize(("step", "fits"), [(0.4, True), (0.5, False)])
def test_a_bound_that_no_step_reaches_need_not_be_allowed(tmp_path: Path, step: float, fits: bool) -> None:
    parameter = {"kind": "float", "low": 0.0, "high": 1.0, "step": step}
    file = write(
        tmp_path, space={"name": "steps", "parameters": {"distillation.prototypes.density_quantile": parameter}}
    )
    if fits:
        load_experiment(file)
    else:
        with pytest.raises(ConfigError, match="must be less than 1"):
            load_experiment(file)


def test_fixed_parameters_leave_the_search(tmp_path: Path) -> None:
    loaded = load(write(tmp_path), ["search.fixed={distillation.decay: constant}"])
    assert list(loaded.searched) == ["distillation.global_knowledge.weight"]
    values = trial_experiment(loaded.experiment, {"distillation.global_knowledge.weight": 2.0})
    assert get_path(values, "distillation.decay") == "constant"
    assert get_path(values, "distillation.global_knowledge.weight") == 2.0
    with pytest.raises(ConfigError, match="is not in the space"):
        load(write(tmp_path), ["search.fixed={distillation.pooling: crop}"])
    with pytest.raises(ConfigError, match="nothing to search"):
        load(
            write(tmp_path),
            ["search.fixed={distillation.decay: constant, distillation.global_knowledge.weight: 1.0}"],
        )


def test_assignments_are_checked_like_the_file(tmp_path: Path) -> None:
    path = write(tmp_path)
    loaded = load(path, ["training.epochs=3", "training.optimizer.learning_rate=1e-3", "data.seed=7"])
    assert loaded.experiment.training.epochs == 3
    assert loaded.experiment.training.optimizer.learning_rate == 1e-3
    with pytest.raises(UsageError, match="path=value"):
        load(path, ["training.epochs"])
    with pytest.raises(ConfigError, match=r"training\.epochs = many \(--set\)"):
        load(path, ["training.epochs=many"])
    with pytest.raises(ConfigError, match=r"training\.epoch "):
        load(path, ["training.epoch=3"])
    with pytest.raises(UsageError, match="did you mean"):
        load_experiment("quickstar")
    with pytest.raises(UsageError, match="no such file"):
        load_experiment(tmp_path / "absent.yaml")


def test_files_that_are_no_settings(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text("name: [1")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_experiment(path)
    path.write_text("- 1")
    with pytest.raises(ConfigError, match="must be a mapping"):
        load_experiment(path)
    path.write_text("name: a\nname: b\n")
    with pytest.raises(ConfigError, match="line 2"):
        load_experiment(path)
    path.write_text("name: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_experiment(path)


def test_presets_are_starting_points() -> None:
    released = Experiment.model_validate({**EXPERIMENT, "distillation": {"preset": "gkd_raw"}}).distillation
    assert released.global_knowledge.weight == 0.0
    assert released.prototypes.source.kind == "feature_pass"
    assert released.soft_labels.reduction == "mean"
    changed = Experiment.model_validate(
        {**EXPERIMENT, "distillation": {"preset": "gkd_raw", "soft_labels": {"weight": 3.0}}}
    ).distillation
    assert changed.soft_labels.weight == 3.0
    assert changed.soft_labels.reduction == "mean"
    paper = Experiment.model_validate({**EXPERIMENT, "distillation": {"preset": "gkd_global"}}).distillation
    assert paper.global_knowledge.weight == 0.3
    assert paper.global_knowledge.unit == "gradient_share"
    assert paper.prototypes.source.kind == "queue"
    # Each preset differs from the one before it in one thing.
    without = Experiment.model_validate({**EXPERIMENT, "distillation": {"preset": "decoupled_global"}}).distillation
    assert differing(without, paper) == {"preset", "filter.weight"}
    assert (without.filter.weight, paper.filter.weight) == ("uniform", "gaussian")
    default = Experiment.model_validate(EXPERIMENT).distillation
    assert default.preset == "decoupled"
    assert differing(default, without) == {"preset", "global_knowledge.weight"}
    assert default.global_knowledge.weight == 0.0


def differing(first: DistillationSettings, second: DistillationSettings) -> set[str]:
    values, others = first.model_dump(), second.model_dump()
    return {path for path in leaf_paths(values) if get_path(values, path) != get_path(others, path)}


def test_the_control_only_differs_in_the_weights_of_distillation() -> None:
    values = Experiment.model_validate({**EXPERIMENT, "distillation": {"preset": "gkd_global"}}).to_dict()
    control = without_distillation(values)
    differing = [path for path in leaf_paths(values) if get_path(values, path) != get_path(control, path)]
    assert differing == [
        "distillation.global_knowledge.weight",
        "distillation.local_knowledge.weight",
        "distillation.soft_labels.weight",
    ]
    assert not Experiment.model_validate(control).distillation.is_active


def test_paths() -> None:
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}
    assert merge({"a": {"kind": "x", "b": 1}}, {"a": {"kind": "y"}}) == {"a": {"kind": "y"}}
    assert with_path({}, "a.b", 1) == {"a": {"b": 1}}
    assert list(leaf_paths({"a": {"b": 1, "c": {}}, "d": 2})) == ["a.b", "a.c", "d"]
    with pytest.raises(KeyError, match=r"a\.x"):
        get_path({"a": {"b": 1}}, "a.x")
    assert may_vary("distillation.decay")
    assert not may_vary("training.epochs")
    assert parse_value("1e-3") == 1e-3
    assert parse_value("[a, 1]") == ["a", 1]
    assert parse_value("resnet18") == "resnet18"


@pytest.mark.parametrize("value", [-1, "abc"])
def test_a_setting_of_several_kinds_of_values_has_one_message(tmp_path: Path, value: object) -> None:
    text = problems(tmp_path, {**EXPERIMENT, "training": {"epochs": 1, "gradient_clip_norm": value}})
    assert f"training.gradient_clip_norm = {value}" in text
    assert "or 'auto'" in text
    assert "constrained" not in text
    assert text.count("gradient_clip_norm") == 1


def test_fewer_epochs_than_the_grace_period_are_refused_only_where_there_is_a_search() -> None:
    few = {"training.epochs": 1}
    with pytest.raises(ConfigError, match=r"grace_epochs = 2 .* must not be more than training.epochs = 1"):
        load_experiment("quickstart", overrides=few)
    assert load_experiment("quickstart", overrides=few, check_space=False).experiment.training.epochs == 1
