"""Students that take the teacher's maps from a cache equal those that do not, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from distune.config.paths import merge
from distune.config.search import TeacherCacheSettings
from distune.data.build import build_splits
from distune.detectors.taps import Detector, Frame, TeacherMaps
from distune.training import teacher_pass
from distune.training.solo_run import open_teacher_cache
from distune.training.student import Student
from distune.training.teacher import without_copies
from distune.training.teacher_cache import TeacherCache
from distune.training.teacher_hash import teacher_hash
from support.experiments import small_experiment
from support.solo_runs import State, assert_equal, builder, teacher_of

FASTER = {"family": "fasterrcnn", "box_head_channels": 32, "proposals_per_image": 16}
FCOS = {"family": "fcos", "fpn_channels": 64}
HEADS = {"soft_labels": {"weight": 1.0}, "localization": {"weight": 1.0}}
COPIES: dict[str, Any] = {"data": {"augmentation": {"copies": 1}}, "distillation": HEADS}
FAMILIES: dict[str, dict[str, Any]] = {
    "retinanet": {},
    "fcos": {"student": FCOS, "teacher": FCOS},
    "fasterrcnn": {"student": FASTER, "teacher": FASTER},
}
EVERYTHING = TeacherCacheSettings(memory_gb=1.0)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(
    changes: dict[str, Any], cache: TeacherCache | None, *, epochs: int = 2, students: int = 1
) -> tuple[State, list[float], Detector]:
    """Train students side by side; return the weights of the first, the cached shares by epoch, and the teacher."""
    each = builder(small_experiment(merge(COPIES, changes)))
    training, teacher = each.experiment.training, teacher_of(each)
    calls_of(teacher)
    stream = each.stream(training, seed=0)
    cohort = each.cohort(training, stream, teacher, epochs_done=0, cache=cache)
    members: list[Student] = []
    for number in range(students):
        settings = each.experiment.student
        member = each.student(str(number), settings, training, seed=0, steps_per_epoch=len(stream), teacher=teacher)
        members.append(member)
        cohort.join(member)
    shares = []
    for _ in range(epochs):
        result = cohort.run_epoch(evaluate=False)["0"]
        assert result.error is None, result.error
        shares.append(result.metrics.get("speed/cached_batches", 0.0))
    return members[0].detector.model.state_dict(), shares, teacher


def calls_of(teacher: Detector) -> dict[str, int]:
    """Count the calls of the parts of a teacher from now on, in an attribute of its model."""
    counts: dict[str, int] = {}

    def count(name: str) -> Any:
        def hook(*_: object) -> None:
            counts[name] = counts.get(name, 0) + 1

        return hook

    for name, module in teacher.model.named_modules():
        if name in {"backbone", "rpn", "head.classification_head", "head.regression_head", "roi_heads.box_head"}:
            module.register_forward_hook(count(name))
    teacher.model.calls = counts  # type: ignore[assignment]
    return counts


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_cached_equals_uncached_bit_for_bit(family: str) -> None:
    plain, _, _ = train(FAMILIES[family], None)
    kept, shares, teacher = train(FAMILIES[family], TeacherCache(EVERYTHING))
    assert shares == [0.0, 1.0]
    assert_equal(plain, kept)
    assert calls(teacher)["backbone"] == 2 + 1  # two batches, and the images that the levels are found by
    if family != "fasterrcnn":
        assert calls(teacher)["head.classification_head"] == 2


def calls(teacher: Detector) -> dict[str, int]:
    found: Any = teacher.model.calls
    assert isinstance(found, dict)
    return found


def test_files_equal_memory_and_are_removed(tmp_path: Path) -> None:
    plain, _, _ = train({}, None)
    stale, foreign = tmp_path / ".distune-maps-of-a-killed-process", tmp_path / ".distune-maps-of-mine"
    stale.mkdir()
    foreign.mkdir()
    (stale / "in-use.lock").touch()
    cache = TeacherCache(TeacherCacheSettings(memory_gb=0.0, disk_gb=1.0), tmp_path)
    kept, shares, _ = train({}, cache)
    assert shares == [0.0, 1.0]
    assert_equal(plain, kept)
    assert not stale.exists()
    assert len(list(tmp_path.rglob("*.pt"))) == 2
    cache.close()
    assert list(tmp_path.iterdir()) == [foreign]


def test_a_cache_of_another_process_is_left_alone(tmp_path: Path) -> None:
    settings, maps = TeacherCacheSettings(memory_gb=0.0, disk_gb=1.0), some_maps()
    caches = [TeacherCache(settings, tmp_path) for _ in range(2)]
    for cache in caches:
        cache.add("1", maps)
    assert all(cache.get("1", torch.device("cpu")) is not None for cache in caches)


def some_maps() -> TeacherMaps:
    features = {"0": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)}
    return TeacherMaps(features, Frame((32, 32), ((32, 30), (28, 32))))


def test_a_file_that_is_replaced_makes_room(tmp_path: Path) -> None:
    maps = some_maps()
    whole = TeacherMaps(maps.features, maps.frame, {"scores": torch.rand(2, 5)})
    gb = (2 * whole.num_bytes) / 1e9
    cache = TeacherCache(TeacherCacheSettings(memory_gb=0.0, disk_gb=gb), tmp_path)
    cache.add("1", maps)
    cache.add("1", whole)
    cache.add("2", whole)
    cache.add("3", maps)
    cpu = torch.device("cpu")
    assert [cache.get(key, cpu) is None for key in "123"] == [False, False, True]
    kept = cache.get("1", cpu)
    assert kept is not None
    assert torch.equal(kept.outputs["scores"], whole.outputs["scores"])


def test_what_does_not_fit_is_computed_again(tmp_path: Path) -> None:
    maps = some_maps()
    cache = TeacherCache(
        TeacherCacheSettings(memory_gb=1.5 * maps.num_bytes / 1e9, disk_gb=1.5 * maps.num_bytes / 1e9), tmp_path
    )
    for key in "abc":
        cache.add(key, maps)
    found = [cache.get(key, torch.device("cpu")) for key in "abc"]
    assert [each is None for each in found] == [False, False, True]
    for each in found[:2]:
        assert each is not None
        assert each.frame == maps.frame
        assert torch.equal(each.features["0"], maps.features["0"])
        assert each.features["0"].stride() == maps.features["0"].stride()


def test_outputs_of_heads_that_run_later_are_added(tmp_path: Path) -> None:
    for settings in (EVERYTHING, TeacherCacheSettings(memory_gb=0.0, disk_gb=1.0)):
        maps, cache = some_maps(), TeacherCache(settings, tmp_path)
        cache.add("1", maps)
        maps.output("logits", lambda: torch.ones(3))
        first = cache.get("1", torch.device("cpu"))
        assert first is not None
        assert not first.outputs
        cache.add("1", maps)
        second = cache.get("1", torch.device("cpu"))
        assert second is not None
        assert torch.equal(second.outputs["logits"], torch.ones(3))
        cache.close()


def test_half_precision_is_another_training_with_and_without_cache() -> None:
    half = {"training": {"half_teacher_maps": True}}
    exact, _, _ = train({}, None)
    plain, _, _ = train(half, None)
    kept, shares, _ = train(half, TeacherCache(EVERYTHING))
    assert shares == [0.0, 1.0]
    assert_equal(plain, kept)
    assert any(not torch.equal(exact[name], plain[name]) for name in exact)


def test_half_precision_needs_half_the_memory_and_has_no_infinite_values() -> None:
    maps = TeacherMaps({"0": torch.tensor([[1e6, -1e6, 0.5]])}, some_maps().frame)
    half = maps.to_float16()
    assert half.num_bytes * 2 == maps.num_bytes
    assert half.to_float32().features["0"].tolist() == [[65504.0, -65504.0, 0.5]]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_head_runs_once_for_all_students_and_only_if_a_term_compares_heads(family: str) -> None:
    _, _, teacher = train({**FAMILIES[family], "data": {"augmentation": {"copies": None}}}, None, epochs=1, students=2)
    assert calls(teacher)["backbone"] == 2 + 2
    assert "rpn" not in calls(teacher)
    if family != "fasterrcnn":
        assert calls(teacher)["head.classification_head"] == calls(teacher)["head.regression_head"] == 2
    without = {name: {"weight": 0.0} for name in HEADS}
    _, _, teacher = train({**FAMILIES[family], "distillation": {**without, "mimic": {"weight": 1.0}}}, None, epochs=1)
    assert calls(teacher).keys() == {"backbone"}


def test_there_is_a_cache_where_batches_repeat() -> None:
    assert open_teacher_cache(small_experiment(), None) is None
    assert open_teacher_cache(small_experiment(COPIES), None) is not None


def test_the_processes_of_a_trial_share_the_limits_of_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = some_maps()
    limits = {"memory_gb": 2.5 * maps.num_bytes / 1e9, "disk_gb": 0.0}
    experiment = small_experiment(merge(COPIES, {"resources": {"teacher_cache": limits}}))
    for number, num_kept in ((1, 2), (2, 1)):
        monkeypatch.setattr("distune.training.solo_run.num_processes", lambda number=number: number)
        cache = open_teacher_cache(experiment, None)
        assert cache is not None
        for key in "abc":
            cache.add(key, maps)
        assert sum(cache.get(key, torch.device("cpu")) is not None for key in "abc") == num_kept


def test_a_teacher_does_not_depend_on_settings_of_students() -> None:
    half = {"half_teacher_maps": True}
    plain = small_experiment()
    changed = small_experiment(merge(COPIES, {"training": half, "teacher_training": half}))
    fingerprint = build_splits(plain.data).fingerprint
    assert build_splits(changed.data).fingerprint == fingerprint
    assert teacher_hash(plain, fingerprint) == teacher_hash(changed, fingerprint)
    assert without_copies(changed).data == plain.data


def test_if_one_process_lacks_its_maps_all_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    """They pad their parts of a batch to a common size, and would wait for each other."""
    answers = iter([1, 1, 0, 1])  # another process keeps nothing of the second batch
    monkeypatch.setattr(teacher_pass, "num_processes", lambda: 2)
    monkeypatch.setattr(teacher_pass, "largest", lambda values: [max(*values, next(answers))])
    _, shares, teacher = train({}, TeacherCache(EVERYTHING))
    assert shares == [0.0, 0.5]
    assert calls(teacher)["backbone"] == 3 + 1
