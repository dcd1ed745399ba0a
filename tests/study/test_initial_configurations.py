"""The experiment's own values as the first configuration of a study."""

from __future__ import annotations

from distune.study.search.initial_configurations import default_values
from study.harness import MakeLoaded


def test_the_experiments_values_are_moved_into_the_space_or_left_out(make_loaded: MakeLoaded) -> None:
    space = {
        "name": "narrow",
        "parameters": {
            "distillation.global_knowledge.weight": {"kind": "float", "low": 0.5, "high": 2.0},
            "distillation.soft_labels.temperature": {"kind": "float", "low": 0.75, "high": 8.25, "step": 0.75},
            "distillation.prototypes.per_class": {"kind": "int", "low": 2, "high": 32},
            "distillation.decay": {"kind": "choice", "values": ["cosine", "constant"]},
            "distillation.stop_epoch": {"kind": "int", "low": 3, "high": 9},
        },
    }
    loaded = make_loaded(space=space)
    values, messages = default_values(loaded.experiment, loaded.searched)
    assert values == {
        "distillation.global_knowledge.weight": 2.0,
        "distillation.soft_labels.temperature": 0.75,
        "distillation.prototypes.per_class": 10,
    }
    assert all(loaded.searched[path].contains(value) for path, value in values.items())
    assert [message.split()[0] for message in messages] == [
        "distillation.global_knowledge.weight",
        "distillation.soft_labels.temperature",
        "distillation.decay",
        "distillation.stop_epoch",
    ]


def test_the_experiments_values_inside_the_space_stay_as_they_are(make_loaded: MakeLoaded) -> None:
    loaded = make_loaded()
    values, messages = default_values(loaded.experiment, loaded.searched)
    assert messages == []
    assert values == {
        "distillation.global_knowledge.weight": 5.0,
        "distillation.soft_labels.temperature": 1.0,
        "distillation.prototypes.per_class": 10,
        "distillation.decay": "linear",
    }


def test_a_setting_that_only_a_fixed_kind_has_is_left_to_the_sampler(make_loaded: MakeLoaded) -> None:
    source = "distillation.prototypes.source"
    space = {
        "name": "swept",
        "parameters": {
            f"{source}.kind": {"kind": "choice", "values": ["queue", "feature_pass"]},
            f"{source}.max_images": {"kind": "int", "low": 10, "high": 90, "when": {f"{source}.kind": "feature_pass"}},
            "distillation.decay": {"kind": "choice", "values": ["linear", "cosine"]},
        },
    }
    loaded = make_loaded(space=space, search={"fixed": {f"{source}.kind": "feature_pass"}})
    values, messages = default_values(loaded.experiment, loaded.searched)
    assert values == {"distillation.decay": "linear"}
    assert messages == [f"{source}.max_images has no value in the experiment; the sampler chooses its first value"]
