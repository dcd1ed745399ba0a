"""Mistakes of users: each has one message with the value, its place as the user wrote it, and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from distune.cli.options import load
from distune.config.aliases import ALIASES, setting_for
from distune.config.experiment import Experiment
from distune.config.load import load_experiment
from distune.config.paths import get_path, leaf_paths
from distune.errors import ConfigError, UsageError
from support.experiments import small_values

SETTINGS = sorted(leaf_paths(Experiment.model_validate(small_values()).to_dict()))
RATE = "training.optimizer.learning_rate"
OF_PYDANTIC = ("Input should", "constrained", "function-", "literal[", "union", "valid ", "[key]")


def write(folder: Path, text: str | bytes | dict[str, Any]) -> Path:
    path = folder / "mine.yaml"
    content = yaml.safe_dump(text, sort_keys=False) if isinstance(text, dict) else text
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def message(experiment: str | Path, *sets: str, fixed: tuple[str, ...] = ()) -> str:
    with pytest.raises(UsageError) as caught:
        load(experiment, sets, fixed=fixed)
    return " ".join(str(caught.value).split())


@pytest.mark.parametrize("path", SETTINGS)
@pytest.mark.parametrize("value", [-1e-3, "no such value", [1, [2]], {"x": 1}, 1e400])
def test_a_wrong_value_of_an_option_is_shown_with_the_path_and_the_option(path: str, value: Any) -> None:
    """For every setting; values that a setting takes are of no interest."""
    for problem in problems_of(path, value):
        assert not any(word in problem for word in OF_PYDANTIC), problem
        assert ("(--set)" in problem) == problem.startswith(path), problem


def problems_of(path: str, value: Any) -> list[str]:
    try:
        load_experiment(small_values(), overrides={path: value}, options=("--set", "--fix"), check_space=False)
    except ConfigError as error:
        return error.problems
    return []


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ([f"{RATE}=-1e-3"], f"{RATE} = -0.001 (--set) must be more than 0"),
        ([f"teacher_{RATE}=-1e-3"], f"teacher_{RATE} = -0.001 (--set) must be more than 0"),
        (["search.sampler.startup_trials=-1"], "search.sampler.startup_trials = -1 (--set) must be at least 0"),
        (["training.gradient_clip_norm=-1"], "training.gradient_clip_norm = -1 (--set) must be more than 0"),
        (["training.epochs=many"], "training.epochs = many (--set) must be a whole number"),
        (["training.epochs.x=3"], "training.epochs.x (--set) must be a whole number"),
        (["foo.bar=3"], "foo.bar (--set) unknown setting"),
        (
            ["data.train_share=0.1"],
            "data.train_share (--set) is no setting of kind digits, but of kind coco, cvat, label_studio, voc, yolo",
        ),
        (
            ["teacher.box_head_channels=64"],
            "teacher.box_head_channels (--set) is no setting of family retinanet, but of family fasterrcnn, maskrcnn",
        ),
        (["search.scheduler.kind=asha", "search.scheduler.num_trials=3"], "did you mean search.num_trials?"),
        (["name=12"], 'name = 12 (--set) must be text: put it in quotes, "12"'),
        (["training.epochs=012"], "--set training.epochs=012: is read in another base by YAML: is it the number 12"),
        (["training.epochs", "=3"], "--set =3: write it as path=value"),
        (["search.space=loss_weight"], "search.space = loss_weight (--set) is neither a shipped search space"),
        (["search.sampler.kind=cmaes"], "search.sampler.kind = cmaes (--set) only searches numbers"),
        (["search.fixed={distillation.decay: [a, b]}"], "(--set) must be a single value; a list of values belongs in"),
    ],
)
def test_set(sets: list[str], expected: str) -> None:
    assert expected in message("quickstart", *sets)


@pytest.mark.parametrize(
    ("fixed", "expected"),
    [
        (
            "distillation.decay=[cosine,linear]",
            "distillation.decay = [cosine, linear] (--fix) must be a single value; a list",
        ),
        ("distillation.decay=foo", "distillation.decay = foo (--fix) must be one of 'linear'"),
        ("distillation.decai=linear", "distillation.decai (--fix) is not in the space quickstart; did you mean"),
        ("lr=3", f"lr (--fix) is not in the space quickstart; did you mean {RATE}?"),
        ("distillation.decay=010", "--fix distillation.decay=010: is read in another base by YAML"),
    ],
)
def test_fix(fixed: str, expected: str) -> None:
    text = message("quickstart", fixed=(fixed,))
    assert expected in text
    assert "2 problems" not in text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("name: a\ntraining:\n\tepochs: 3\n", "line 3 has a tab; indent with spaces"),
        ("name: é\n".encode("latin-1"), "line 1 is not UTF-8, but perhaps Latin-1 (é): save the file as UTF-8"),
        ("name: é\n".encode("utf-16"), "UTF-16 or no text at all: save the file as UTF-8"),
        ("name: e\n".encode("utf-16-le"), "UTF-16 or no text at all: save the file as UTF-8"),
        ("name: 12\n", 'name = 12 (line 1) must be text: put it in quotes, "12"'),
        ("name: 2026-01-31\n", 'put it in quotes, "2026-01-31"'),
        ("name: yes\n", "name = true (line 1) must be text: put it in quotes"),
        (
            "training: {epochs: 012}\n",
            "training.epochs = 012 (line 1) is read in another base by YAML: is it the number 12 ",
        ),
        ("name: 1:30\n", 'name = 1:30 (line 1) is read in another base by YAML: put it in quotes: "1:30"'),
        ("name: [1\n", "is not YAML: "),
    ],
)
def test_a_file_that_reads_otherwise_than_it_looks(tmp_path: Path, content: str | bytes, expected: str) -> None:
    assert expected in message(write(tmp_path, content))


def test_a_byte_order_mark_and_quoted_zeros_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeff" + yaml.safe_dump({**small_values(), "name": "012"}))
    assert "'012'" in path.read_text()
    assert load_experiment(path).experiment.name == "012"


def as_folder(folder: Path) -> str:
    (folder / "study").mkdir()
    write(folder / "study", small_values())
    return "study"


def without_suffix(folder: Path) -> str:
    write(folder, small_values()).rename(folder / "mine")
    return "mine"


def with_suffix(folder: Path) -> str:
    write(folder, small_values())
    return "mine"


def study(folder: Path) -> str:
    (folder / "runs/studies/first").mkdir(parents=True)
    (folder / "runs/studies/first/experiment.yaml").write_text("name: first")
    return "first"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (as_folder, "experiment study: is a folder; did you mean study/mine.yaml?"),
        (lambda folder: str(folder), "is a folder; give a YAML file in it"),
        (
            without_suffix,
            "experiment mine: is a file without .yaml at its end; rename it to mine.yaml, or write ./mine",
        ),
        (with_suffix, "experiment mine: there is no such file; did you mean mine.yaml?"),
        (
            study,
            "experiment first: is a study, and no experiment; to continue it: distune resume first; its own file: ",
        ),
        (lambda _: "loss_weights", "is the name of a shipped search space; name it in search.space"),
        (lambda _: "quickstar", 'did you mean "quickstart"?'),
    ],
)
def test_what_is_no_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISTUNE_HOME", raising=False)
    assert expected in message(make(tmp_path))


def test_mistakes_of_file_space_and_options_are_listed_at_once(tmp_path: Path) -> None:
    values = small_values({"training": {"epochs": 0}, "search": {"space": "space.yaml"}})
    space: dict[str, Any] = {
        "name": "mine",
        "parameters": {"distillation.dekay": {"kind": "choice", "values": ["linear", "cosine"]}},
    }
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    text = message(write(tmp_path, values), "search.num_trials=-3", "training.lr=1")
    assert "training.epochs = 0 (line" in text
    assert "search.num_trials = -3 (--set) must be at least 1" in text
    assert f"training.lr (--set) unknown setting; did you mean {RATE}?" in text
    assert "distillation.dekay (space.yaml, line 3) is not a setting of this experiment; did you mean" in text

    space["parameters"] = {
        "distillation.decay": ["linear"],
        "distillation.start_epoch": {"kind": "int", "low": 3, "high": 1},
    }
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    text = message(write(tmp_path, values))
    assert "training.epochs = 0 (line" in text
    assert "is a list; for a choice write {kind: choice, values: [linear]}" in text
    assert "low = 3 must be less than high = 1" in text

    text = message(write(tmp_path, small_values({"training": {"epochs": 0}, "search": {"space": "absent.yaml"}})))
    assert "2 problems" in text
    assert "search.space = absent.yaml (line" in text
    (tmp_path / "space.yaml").unlink()
    del values["data"]  # nothing can take the place of that
    assert "search.space = space.yaml (line" in message(write(tmp_path, values))


def test_python_users_see_no_options() -> None:
    for overrides, fixed in (
        ({RATE: -1.0}, {}),
        ({"foo.bar": 1}, {}),
        ({}, {"distillation.decay": "x"}),
        ({}, {"x": [1]}),
    ):
        with pytest.raises(ConfigError) as caught:
            load_experiment("quickstart", overrides=overrides, fixed=fixed)  # type: ignore[arg-type]
        assert "--" not in str(caught.value)
        assert "(overrides)" in str(caught.value) or "(fixed)" in str(caught.value)


KINDS: list[dict[str, Any]] = [
    {},
    {"training": {"optimizer": {"kind": "sgd"}, "schedule": {"kind": "multi_step"}}},
    {"data": {"kind": "voc"}},
]


def test_every_hint_names_settings_that_exist() -> None:
    known = set()
    for changes in KINDS:
        values = Experiment.model_validate({**small_values(), **changes}).to_dict()
        known |= set(leaf_paths(values))
    for name, hint in ALIASES.items():
        assert name == name.lower()
        paths = [word.strip("(),") for word in hint.split() if "." in word]
        assert paths, name
        assert set(paths) <= known, hint
    with pytest.raises(KeyError):
        get_path(small_values(), "training.lr")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("training.lr", RATE),
        ("teacher_training.lr0", f"teacher_{RATE}"),
        ("batch", "training.batch_size"),
        ("training.batch", "training.batch_size"),
        ("imgsz", "data.min_size_px and data.max_size_px"),
        ("epochs", "training.epochs"),
        ("model", "student.family"),
        ("teacher.model", "teacher.family"),
        ("device", "resources.gpus_per_trial"),
        ("resources.workers", "resources.loader_workers"),
        ("NC", "data.classes (or data.num_classes, for generated images)"),
        ("training.epochs", None),
        ("data.classes", None),
        ("distillation.dekay", None),
    ],
)
def test_names_of_other_libraries(path: str, expected: str | None) -> None:
    assert setting_for(path) == expected


def test_a_name_of_another_library_in_a_file(tmp_path: Path) -> None:
    values = {**small_values(), "batch": 8, "workers": 2}
    values["training"] = {**values["training"], "lr": 0.1}
    text = message(write(tmp_path, values))
    assert f"did you mean {RATE}?" in text
    assert "did you mean training.batch_size?" in text
    assert "did you mean resources.loader_workers?" in text


def test_a_value_in_place_of_a_section_is_answered_with_its_settings() -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(small_values({"training": {"ema": 0.99}, "resources": {"teacher_cache": 4}}))
    problems = "\n".join(caught.value.problems)
    assert "must be a mapping of settings: decay, every_steps, warmup_steps" in problems
    assert "must be a mapping of settings: memory_gb, disk_gb" in problems
