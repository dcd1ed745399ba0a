"""The feature cache: parts are stored completely or not at all, its size is bounded, and errors never stop training."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from distune.training.feature_pass import feature_cache
from distune.training.feature_pass.feature_cache import FeatureCache


def some(seed: int = 0, rows: int = 3) -> Tensor:
    return torch.randn(2, rows, 4, generator=torch.Generator().manual_seed(seed))


def fill(cache: FeatureCache, name: str, seed: int = 0, rows: int = 3) -> None:
    with cache.part(name) as known:
        known["0,1"] = some(seed, rows)


def held(cache: FeatureCache, name: str) -> dict[str, Tensor]:
    with cache.part(name) as known:
        return dict(known)


@pytest.fixture(params=["files", "memory"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "features" if request.param == "files" else None)


def test_added_features_are_read_bit_for_bit(cache: FeatureCache) -> None:
    fill(cache, "a")
    assert torch.equal(held(cache, "a")["0,1"], some())
    assert held(cache, "b") == {}


def spoil(cache: FeatureCache, name: str) -> None:
    with cache.part(name) as known:
        known["0,1"] = some()
        raise RuntimeError("no memory")


def test_a_part_whose_block_raises_is_not_stored(cache: FeatureCache) -> None:
    with pytest.raises(RuntimeError, match="no memory"):
        spoil(cache, "a")
    assert held(cache, "a") == {}


def test_a_part_can_grow(cache: FeatureCache) -> None:
    fill(cache, "a")
    with cache.part("a") as known:
        known["2,3"] = some(1)
    assert set(held(cache, "a")) == {"0,1", "2,3"}


def test_other_processes_see_the_files(tmp_path: Path) -> None:
    fill(FeatureCache(tmp_path), "a")
    assert torch.equal(held(FeatureCache(tmp_path), "a")["0,1"], some())
    assert not list(tmp_path.glob("*.tmp"))


def test_a_process_waits_for_a_part_that_another_computes(tmp_path: Path) -> None:
    computed: list[str] = []

    def work(who: str) -> None:
        with FeatureCache(tmp_path).part("a") as known:
            if not known:
                computed.append(who)
                time.sleep(0.05)
                known["0,1"] = some()

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(computed) == 1


def test_waiting_for_a_lock_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "_LOCK_TIMEOUT_S", 0.01)
    done: list[int] = []

    def impatient() -> None:
        fill(FeatureCache(tmp_path), "a")
        done.append(1)

    with FeatureCache(tmp_path).part("a"):
        thread = threading.Thread(target=impatient)
        thread.start()
        thread.join()
    assert done == [1]
    assert set(held(FeatureCache(tmp_path), "a")) == {"0,1"}


def test_a_damaged_file_is_computed_again(tmp_path: Path) -> None:
    fill(FeatureCache(tmp_path), "a")
    (tmp_path / "a.pt").write_bytes(b"truncated")
    assert held(FeatureCache(tmp_path), "a") == {}
    fill(FeatureCache(tmp_path), "a")
    assert torch.equal(held(FeatureCache(tmp_path), "a")["0,1"], some())


def test_a_folder_that_is_not_writable_does_not_stop_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = FeatureCache(tmp_path / "file" / "features")
    fill(cache, "a")
    assert held(cache, "a") == {}


def test_unused_files_are_deleted_oldest_first(tmp_path: Path) -> None:
    for age, name in ((300, "oldest"), (200, "older"), (100, "old")):
        fill(FeatureCache(tmp_path), name, rows=500)
        os.utime(tmp_path / f"{name}.pt", (time.time() - age,) * 2)
    size = (tmp_path / "old.pt").stat().st_size
    bounded = FeatureCache(tmp_path, max_bytes=3 * size)
    assert held(bounded, "older")  # in use from now on
    fill(bounded, "new", rows=500)
    assert {path.stem for path in tmp_path.glob("*.pt")} == {"older", "old", "new"}
    fill(bounded, "newer", rows=500)
    assert {path.stem for path in tmp_path.glob("*.pt")} == {"older", "new", "newer"}
    fill(bounded, "newest", rows=500)
    assert {path.stem for path in tmp_path.glob("*.pt")} == {"older", "new", "newer"}, "it must not grow"


def test_memory_is_bounded(tmp_path: Path) -> None:
    cache = FeatureCache(None, max_bytes=2 * 4 * some().numel())
    for name in ("a", "b", "c"):
        fill(cache, name)
    assert [bool(held(cache, name)) for name in ("a", "b", "c")] == [True, True, False]
