"""The training loop and solo runs, bit for bit on the CPU."""

from __future__ import annotations

import gc
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distune.config.experiment import Experiment, without_distillation
from distune.data.stream import Batch
from distune.detectors.taps import StudentTaps, TeacherMaps, TeacherTaps
from distune.errors import DataError, TrialError
from distune.records import EpochReport
from distune.training.builder import TrialBuilder
from distune.training.cohort import Cohort, EpochResult
from distune.training.student import Student
from distune.training.trial_folder import TrialFolder
from support.experiments import small_experiment
from support.solo_runs import State, assert_equal, builder, solo, teacher_of, timeless

FASTER = {"family": "fasterrcnn", "box_head_channels": 32, "proposals_per_image": 16}
FAMILIES: dict[str, dict[str, Any]] = {
    "retinanet": {},
    "fasterrcnn": {"student": FASTER, "teacher": FASTER},
    "retinanet from fasterrcnn": {"teacher": FASTER, "distillation": {"soft_labels": {"weight": 0.0}}},
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def cohort_of(each: TrialBuilder, *, distils: bool) -> Cohort:
    training = each.experiment.training
    teacher = teacher_of(each) if distils else None
    return each.cohort(training, each.stream(training, seed=training.seed), teacher, epochs_done=0)


def student_of(each: TrialBuilder, key: str, *, seed: int = 0, distils: bool = True) -> Student:
    experiment = each.experiment
    return each.student(
        key,
        experiment.student,
        experiment.training,
        seed=seed,
        steps_per_epoch=len(each.stream(experiment.training, seed=experiment.training.seed)),
        teacher=teacher_of(each) if distils else None,
    )


def train(cohort: Cohort, students: list[Student], epochs: int = 2) -> list[dict[str, EpochResult]]:
    for student in students:
        cohort.join(student)
    return [cohort.run_epoch() for _ in range(epochs)]


def weights(student: Student) -> State:
    return {name: value.clone() for name, value in student.detector.model.state_dict().items()}


def differ(first: State, second: State) -> bool:
    return any(not torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_zero_weights_equal_plain_training_bit_for_bit(family: str) -> None:
    experiment = small_experiment(FAMILIES[family])
    control = Experiment.model_validate(without_distillation(experiment.to_dict()))
    states = []
    for given, distils in ((control, True), (control, False), (experiment, True)):
        each = builder(given)
        student = student_of(each, "only", distils=distils)
        results = train(cohort_of(each, distils=distils), [student])
        assert all(result["only"].error is None for result in results)
        states.append(weights(student))
    assert_equal(states[0], states[1])
    assert differ(states[0], states[2]), "distillation changed nothing"


@pytest.mark.parametrize("family", ["retinanet", "fasterrcnn"])
def test_a_student_does_not_depend_on_its_cohort(family: str) -> None:
    each = builder(small_experiment(FAMILIES[family]))
    alone = student_of(each, "a")
    train(cohort_of(each, distils=True), [alone])
    company = [student_of(each, "b", seed=5), student_of(each, "a"), student_of(each, "c", distils=False)]
    train(cohort_of(each, distils=True), company)
    assert_equal(weights(alone), weights(company[1]))
    assert differ(weights(company[0]), weights(company[1]))


def test_an_error_ends_one_student_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    each = builder(small_experiment())
    good, bad = student_of(each, "good"), student_of(each, "bad", seed=1)

    def fail(batch: Batch, teacher: TeacherTaps | None) -> None:
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(bad, "step", fail)
    cohort = cohort_of(each, distils=True)
    results = train(cohort, [bad, good], epochs=1)[0]
    assert isinstance(results["bad"].error, torch.OutOfMemoryError)
    assert results["good"].error is None
    assert set(cohort.run_epoch()) == {"good"}
    alone = student_of(each, "good")
    train(cohort_of(each, distils=True), [alone], epochs=2)
    assert_equal(weights(alone), weights(good))


def test_a_failed_step_frees_its_memory_while_the_others_train(monkeypatch: pytest.MonkeyPatch) -> None:
    each = builder(small_experiment())
    good, bad = student_of(each, "good"), student_of(each, "bad", seed=1)
    graphs: list[weakref.ref[Tensor]] = []
    images: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []
    step = good.step

    def fail(batch: Batch, teacher: TeacherTaps | None) -> None:
        graph = torch.zeros(1)
        graphs.append(weakref.ref(graph))
        images.append(weakref.ref(batch.images[0]))
        try:
            raise MemoryError("no memory left")
        except MemoryError as error:
            raise TrialError("a step failed") from error

    def watch(batch: Batch, teacher: TeacherTaps | None) -> None:
        alive.append(graphs[0]() is not None)
        if len(alive) == 2:
            alive.append(images[0]() is not None)
        step(batch, teacher)

    monkeypatch.setattr(bad, "step", fail)
    monkeypatch.setattr(good, "step", watch)
    gc.disable()
    try:
        results = train(cohort_of(each, distils=True), [bad, good], epochs=1)[0]
    finally:
        gc.enable()
    assert isinstance(results["bad"].error, TrialError)
    assert results["bad"].error.__traceback__ is not None, "its lines are still written into the folder"
    assert alive == [False, False, False], "nor does the error hold the batch of the step that failed"


def test_an_error_in_the_evaluation_ends_one_student_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    each = builder(small_experiment())
    good, bad = student_of(each, "good"), student_of(each, "bad", seed=1)
    alone = train(cohort_of(each, distils=True), [student_of(each, "good")], epochs=2)

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(bad.detector.model, "postprocess_detections", fail)
    results = train(cohort_of(each, distils=True), [bad, good], epochs=2)
    assert isinstance(results[0]["bad"].error, torch.OutOfMemoryError)
    assert set(results[1]) == {"good"}
    assert good.detector.model.training
    assert scores(results[1]["good"]) == scores(alone[1]["good"])


def test_search_images_are_loaded_once_for_all_students(monkeypatch: pytest.MonkeyPatch) -> None:
    each = builder(small_experiment())
    search = each.splits.search
    image, loaded = search.image, []

    def load(index: int) -> Tensor:
        loaded.append(index)
        return image(index)

    monkeypatch.setattr(search, "image", load)
    results = train(cohort_of(each, distils=True), [student_of(each, "a"), student_of(each, "b", seed=1)], epochs=1)[0]
    assert loaded == list(range(len(search)))
    assert [len(results[key].predictions) for key in "ab"] == [len(search)] * 2
    assert scores(results["a"]) != scores(results["b"])


def test_search_images_that_cannot_be_read_end_all_students(monkeypatch: pytest.MonkeyPatch) -> None:
    each = builder(small_experiment())

    def fail(_: int) -> None:
        raise DataError("the folder is gone")

    monkeypatch.setattr(each.splits.search, "image", fail)
    cohort = cohort_of(each, distils=True)
    results = train(cohort, [student_of(each, "a"), student_of(each, "b")], epochs=1)[0]
    assert [str(results[key].error) for key in "ab"] == ["the folder is gone"] * 2
    assert cohort.run_epoch() == {}


def scores(result: EpochResult) -> dict[str, float]:
    return {name: value for name, value in result.metrics.items() if name.startswith(("search/", "loss/"))}


def test_an_error_in_one_of_several_processes_is_raised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    each = builder(small_experiment())
    bad = student_of(each, "bad", distils=False)

    def fail(batch: Batch, teacher: TeacherTaps | None) -> None:
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(bad, "step", fail)
    monkeypatch.setattr("distune.training.cohort.num_processes", lambda: 2)
    with pytest.raises(torch.OutOfMemoryError):  # any collective after it would wait for the others forever
        train(cohort_of(each, distils=False), [bad], epochs=1)


def test_a_student_joins_and_another_leaves_between_epochs() -> None:
    each = builder(small_experiment())
    first, second = student_of(each, "first"), student_of(each, "second", seed=3)
    cohort = cohort_of(each, distils=True)
    cohort.join(first)
    assert set(cohort.run_epoch()) == {"first"}
    cohort.join(second)
    assert set(cohort.run_epoch()) == {"first", "second"}
    cohort.leave("first")
    assert set(cohort.run_epoch()) == {"second"}
    assert (first.epochs_done, second.epochs_done) == (2, 2)


def test_training_does_not_change_the_global_random_state() -> None:
    each = builder(small_experiment(FAMILIES["fasterrcnn"]))
    student = student_of(each, "a")
    cohort = cohort_of(each, distils=True)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train(cohort, [student], epochs=1)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"distillation": {"preset": "gkd_raw"}},
        {"training": {"gradient_clip_norm": 0.5}},
        FAMILIES["fasterrcnn"],
    ],
)
@pytest.mark.parametrize("refresh", [pytest.param(1, marks=pytest.mark.torture), 2])
def test_a_resumed_trial_equals_an_uninterrupted_one(tmp_path: Path, changes: dict[str, Any], refresh: int) -> None:
    values = {**changes, "distillation": {**changes.get("distillation", {}), "prototypes": {"refresh_epochs": refresh}}}
    values["distillation"]["prototypes"]["min_box_side_px"] = 4
    each = builder(small_experiment(values))
    whole = solo(each, tmp_path / "whole")
    reports = [whole.run_epoch() for _ in range(3)]
    resumed_reports = []
    for _ in range(3):
        part = solo(each, tmp_path / "parts")
        resumed_reports.append(part.run_epoch())
        part.close()
    for report, resumed in zip(reports, resumed_reports, strict=True):
        assert report.epoch == resumed.epoch
        assert timeless(report.metrics) == timeless(resumed.metrics)
    states = [torch.load(tmp_path / name / "last.pt", weights_only=True)["model"] for name in ("whole", "parts")]
    assert_equal(states[0], states[1])
    assert [each.epoch for each in TrialFolder(tmp_path / "parts").reports()] == [1, 2, 3]
    assert (tmp_path / "whole" / "pictures" / "detections.png").is_file()


def test_a_crash_between_checkpoint_and_metrics_is_repaired(tmp_path: Path) -> None:
    each = builder(small_experiment())
    run = solo(each, tmp_path)
    run.run_epoch()
    run.run_epoch()
    folder = TrialFolder(tmp_path)
    folder.keep(lambda report: report.epoch == 1)
    with folder.metrics_file.open("ab") as file:
        file.write(b'{"epoch": 2, "met')
    again = solo(each, tmp_path)
    assert again.epochs_done == 2
    assert [report.epoch for report in folder.reports()] == [1, 2]


def flip(path: Path) -> None:
    """Damage what a reader of tensors does not notice: some bits in the middle."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8] = bytes(255 - byte for byte in content[middle : middle + 8])
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def copy_trial(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trial that was resumed once and has trained two epochs."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("two_epochs") / "trial"
    each = builder(small_experiment())
    for _ in range(2):
        solo(each, path).run_epoch()
    return path


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[EpochReport]:
    """The reports of three epochs without an interruption."""
    torch.set_num_threads(1)
    whole = solo(builder(small_experiment()), tmp_path_factory.mktemp("whole"))
    return [whole.run_epoch() for _ in range(3)]


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
def test_a_damaged_checkpoint_costs_one_epoch(
    tmp_path: Path, damage: Callable[[Path], None], two_epochs: Path, expected: list[EpochReport]
) -> None:
    each = builder(small_experiment())
    folder = TrialFolder(tmp_path / "hurt")
    copy_trial(two_epochs, folder.path)
    before = folder.reports()
    damage(folder.last_checkpoint)
    again = solo(each, folder.path)
    assert again.epochs_done == 1
    assert "resuming from previous.pt" in again.notes[0]
    assert folder.reports() == before, "recorded epochs do not change"
    reports = [again.run_epoch(), again.run_epoch()]
    assert [timeless(report.metrics) for report in reports] == [timeless(each.metrics) for each in expected[1:]]
    assert folder.reports()[:2] == before
    assert solo(each, folder.path).notes == ()


def test_two_damaged_checkpoints_restart_the_trial(tmp_path: Path, two_epochs: Path) -> None:
    each = builder(small_experiment())
    copy_trial(two_epochs, tmp_path)
    folder = TrialFolder(tmp_path)
    before = folder.reports()
    folder.last_checkpoint.write_bytes(b"truncated")
    flip(folder.previous_checkpoint)
    again = solo(each, tmp_path)
    assert again.epochs_done == 0
    assert "training restarts" in again.notes[0]
    assert timeless(again.run_epoch().metrics) == timeless(before[0].metrics)
    assert folder.reports() == before
    assert solo(each, tmp_path).epochs_done == 1


def test_a_loss_that_is_not_finite_is_reported_without_a_checkpoint(tmp_path: Path) -> None:
    each = builder(small_experiment({"training": {"optimizer": {"kind": "sgd", "learning_rate": 1e9}}}))
    run = solo(each, tmp_path)
    reports = [run.run_epoch() for _ in range(2)]
    assert not reports[-1].is_finite("search/AP")
    assert "search/AP" not in reports[-1].metrics
    finite = [report for report in reports if report.is_finite("search/AP")]
    assert (tmp_path / "last.pt").exists() == bool(finite)
    for path in tmp_path.glob("*.pt"):
        state = torch.load(path, weights_only=True)["model"]
        assert all(value.isfinite().all() for value in state.values())


def test_the_best_checkpoint_is_the_student_alone(tmp_path: Path) -> None:
    each = builder(small_experiment())
    solo(each, tmp_path).run_epoch()
    content = torch.load(tmp_path / "best.pt", weights_only=True)
    assert content["classes"] == list(each.splits.classes)
    fresh = each.detector(each.experiment.student, seed=9)
    fresh.model.load_state_dict(content["model"])
    assert content["epoch"] == 1


DRAWN = {"augmentation": {"min_sizes_px": [32, 48]}, "aspect_ratio_group_factor": 0, "repeat_threshold": 0.9}


def test_drawn_sizes_reach_student_and_teacher_and_company_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    each = builder(small_experiment({"data": DRAWN}))
    alone = student_of(each, "one")
    train(cohort_of(each, distils=True), [alone], epochs=1)
    cohort, together = cohort_of(each, distils=True), student_of(each, "one")
    assert cohort._teacher is not None
    teacher = cohort._teacher.detector
    seen: dict[str, set[tuple[int, int]]] = {"student": set(), "teacher": set(), "batch": set()}
    forward_train, teacher_maps = together.detector.forward_train, teacher.teacher_maps

    def train_and_note(images: list[Tensor], targets: list[dict[str, Tensor]]) -> StudentTaps:
        taps = forward_train(images, targets)
        seen["student"] |= set(taps.view.frame.image_sizes)
        seen["batch"] |= {(image.shape[1], image.shape[2]) for image in images}
        return taps

    def teach_and_note(images: list[Tensor]) -> TeacherMaps:
        maps = teacher_maps(images)
        seen["teacher"] |= set(maps.frame.image_sizes)
        return maps

    monkeypatch.setattr(together.detector, "forward_train", train_and_note)
    monkeypatch.setattr(teacher, "teacher_maps", teach_and_note)
    train(cohort, [together, student_of(each, "other", seed=1)], epochs=1)
    assert seen["batch"] == seen["student"] == seen["teacher"] == {(32, 32), (48, 48)}
    assert_equal(weights(alone), weights(together))
