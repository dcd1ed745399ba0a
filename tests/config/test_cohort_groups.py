"""Groups of trials that see the same batches and the same teacher."""

from __future__ import annotations

from distune.config.cohort_groups import splitting_parameters
from distune.config.experiment import Experiment
from distune.config.space import Choice, FloatRange, IntRange, Parameter
from support.experiments import small_experiment, small_values


def test_parameters_that_change_what_trials_share_split_them() -> None:
    searched: dict[str, Parameter] = {
        "distillation.soft_labels.weight": FloatRange(kind="float", low=0.0, high=2.0),
        "training.optimizer.learning_rate": FloatRange(kind="float", low=1e-4, high=1e-3),
        "student.family": Choice(kind="choice", values=["retinanet", "fasterrcnn"]),
    }
    assert splitting_parameters(small_experiment(), searched) == {}
    searched["training.batch_size"] = IntRange(kind="int", low=4, high=8)
    searched["teacher.backbone"] = Choice(kind="choice", values=["resnet10", "resnet18"])
    assert splitting_parameters(small_experiment(), searched) == {
        "training.batch_size": [(4,), (8,)],
        "teacher.backbone": [("resnet10",), ("resnet18",)],
    }


def test_a_student_that_learns_masks_has_its_own_batches() -> None:
    family: dict[str, Parameter] = {"student.family": Choice(kind="choice", values=["fasterrcnn", "maskrcnn"])}
    student = {"family": "fasterrcnn", "backbone": "resnet10"}
    found = splitting_parameters(small_experiment({"student": student, "teacher": student}), family)
    assert found == {"student.family": [("fasterrcnn",), ("maskrcnn",)]}


def test_students_that_take_other_sizes_have_their_own_batches() -> None:
    sizes: dict[str, Parameter] = {"student.input_size_px": Choice(kind="choice", values=[64, 128])}
    student = {"family": "ssdlite", "backbone": "mobilenet_v3_small"}
    values = small_values({"distillation": {"soft_labels": {"weight": 0.0}}})
    experiment = Experiment.model_validate({**values, "student": student})
    assert splitting_parameters(experiment, sizes) == {"student.input_size_px": [(64,), (128,)]}
