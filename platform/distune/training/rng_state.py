"""A stream of random numbers of one's own, in code that only knows the global generator (torchvision's samplers)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor


class OwnRandomness:
    """Keeps a state of torch's global generators and puts it in place for the length of a block.

    Args:
        seed: the first state.
        device: whose generator is kept besides the CPU's.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._device = device
        with self._forked():
            torch.manual_seed(seed)
            self._states = self._read()

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Inside the block, global random numbers come from this stream; after it, all is as before."""
        with self._forked():
            self._write()
            yield
            self._states = self._read()

    def state_dict(self) -> dict[str, Tensor]:
        """The state, as tensors on the CPU."""
        return dict(self._states)

    def load_state_dict(self, states: dict[str, Tensor]) -> None:
        """Continue from a saved state. A state saved on a GPU continues on the CPU with the CPU's part alone."""
        self._states = {name: states[name] for name in self._states if name in states}

    def _forked(self) -> contextlib.AbstractContextManager[None]:
        devices = [self._device] if self._device.type == "cuda" else []
        return torch.random.fork_rng(devices=devices)

    def _read(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self._device)
        return states

    def _write(self) -> None:
        torch.set_rng_state(self._states["cpu"])
        if "cuda" in self._states:
            torch.cuda.set_rng_state(self._states["cuda"], self._device)
