"""The forward pass of the teacher on the batches of a cohort: once for all students, or not at all if it is kept."""

from __future__ import annotations

import torch
from torch import Tensor

from distune.collectives import largest, num_processes
from distune.data.stream import Batch
from distune.detectors.taps import Detector, TeacherMaps, TeacherTaps
from distune.training.precision import autocast
from distune.training.teacher_cache import TeacherCache


class TeacherPass:
    """Runs a teacher, or takes its maps from a cache, with equal results.

    Args:
        teacher: in evaluation mode, on ``device``.
        device: of all models.
        dtype: precision under autocast; None is float32.
        half_maps: round float32 maps to half precision, whether they are kept or not.
        cache: of maps; None keeps none.
        identity: of everything that the maps depend on besides the key of the batch.
    """

    def __init__(
        self,
        teacher: Detector,
        *,
        device: torch.device,
        dtype: torch.dtype | None,
        half_maps: bool = False,
        cache: TeacherCache | None = None,
        identity: str = "",
    ) -> None:
        self._teacher, self._device, self._dtype, self._half_maps = teacher, device, dtype, half_maps
        self._cache, self._identity = cache, identity
        self._current: tuple[str, TeacherMaps, dict[str, Tensor]] | None = None
        self._num_batches = self._num_cached = 0

    @property
    def detector(self) -> Detector:
        """The teacher."""
        return self._teacher

    @property
    def has_cache(self) -> bool:
        """True if maps may be kept."""
        return self._cache is not None

    def forward(self, batch: Batch) -> TeacherTaps:
        """Return the taps of a batch, which is on the device. Heads run when a student first needs them."""
        key = None if self._cache is None or batch.key is None else f"{self._identity}/{batch.key}"
        kept = None if key is None else self._kept_by_all(key)
        maps = self._compute(batch) if kept is None else kept
        self._num_batches, self._num_cached = self._num_batches + 1, self._num_cached + (kept is not None)
        shown = maps.to_float32() if self._half_maps else maps
        self._current = None if key is None else (key, maps, shown.outputs)
        return self._teacher.taps_of(shown)

    def end_step(self) -> None:
        """Keep the maps of the batch, and the outputs of the heads that its students needed."""
        if self._current is not None and self._cache is not None:
            key, maps, outputs = self._current
            self._cache.add(key, TeacherMaps(maps.features, maps.frame, outputs))
        self._current = None

    def read_cached_share(self) -> float:
        """Return the fraction of batches since the last call whose maps were taken from the cache."""
        share = self._num_cached / max(1, self._num_batches)
        self._num_batches = self._num_cached = 0
        return share

    def _kept_by_all(self, key: str) -> TeacherMaps | None:
        """Return maps from the cache. If one of several processes lacks its part, all compute: they pad together."""
        assert self._cache is not None
        kept = self._cache.get(key, self._device)
        is_missing = largest([kept is None])[0] if num_processes() > 1 else kept is None
        return None if is_missing else kept

    def _compute(self, batch: Batch) -> TeacherMaps:
        with autocast(self._device, self._dtype):
            maps = self._teacher.teacher_maps(batch.images_for_teacher)
        return maps.to_float16() if self._half_maps else maps
