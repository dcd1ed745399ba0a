"""A separate random stream for code that uses torch's global generators, such as torchvision's samplers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor


class RngState:
    """A saved state of torch's global generators, active inside a block.

    Args:
        seed: of the initial state.
        device: whose generator is included besides the CPU's.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._device = device
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Start the stream again with another seed."""
        with self._forked():
            torch.manual_seed(seed)
            self._states = self._current()

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Use this stream for global random numbers inside the block, and restore the global state after it."""
        with self._forked():
            self._activate()
            yield
            self._states = self._current()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state, as tensors on the CPU."""
        return dict(self._states)

    def load_state_dict(self, states: dict[str, Tensor]) -> None:
        """Restore a saved state, of each device that it has and that is used here; other devices keep their own."""
        self._states = {name: states.get(name, own) for name, own in self._states.items()}

    def _forked(self) -> contextlib.AbstractContextManager[None]:
        devices = [self._device] if self._device.type == "cuda" else []
        return torch.random.fork_rng(devices=devices)

    def _current(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self._device)
        return states

    def _activate(self) -> None:
        torch.set_rng_state(self._states["cpu"])
        if "cuda" in self._states:
            torch.cuda.set_rng_state(self._states["cuda"], self._device)
