"""A GPU that is not there: tensors that say they are on ``cuda``, compute on the CPU, and refuse tensors of the CPU.

Machines of tests have no GPU. What fails on one is mostly an operation between tensors of two devices. Inside of
``simulated_gpu`` such an operation fails as it would there. Memory, streams, kernels, autocast and the waits for a
device are not simulated.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)
_CPU = torch.device("cpu")
_ACROSS_DEVICES = {
    "aten::copy_",
    "aten::_to_copy",
    "aten::to",
    "aten::index",
    "aten::index_put",
    "aten::index_put_",
    "aten::_index_put_impl_",
}
"""Operations that take tensors of the CPU beside those of a GPU: copies, and indices."""


class _OnGpu(Tensor):
    """A tensor on the simulated GPU. For torch's C++ code it is one on the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The simulated GPU."""
        return DEVICE

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        """True."""
        return True

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """Move or convert the tensor."""
        args = _to_arguments(args)
        parsed: tuple[Any, Any, bool, Any] = torch._C._nn._parse_to(*args, **kwargs)
        device, dtype, non_blocking, memory_format = parsed
        moved = self.cpu() if device is not None and device.type == "cpu" else self
        return Tensor.to(
            moved,
            dtype=moved.dtype if dtype is None else dtype,
            non_blocking=non_blocking,
            copy=kwargs.get("copy", False),
            memory_format=torch.preserve_format if memory_format is None else memory_format,
        )

    def cpu(self) -> Tensor:  # type: ignore[override]
        """Copy the tensor to the CPU."""
        return _Download.apply(self)  # type: ignore[no-any-return]

    def tolist(self) -> Any:
        """Copy the values to the host."""
        return self.detach().cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        """Fail."""
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.detach().cpu().__reduce_ex__(protocol)  # type: ignore[no-untyped-call]

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied: Tensor = self.detach().clone()
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, requires_grad=self.requires_grad)
        memo[id(self)] = copied
        return copied

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _run(func, args, kwargs or {})


class _Download(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        with torch._C._DisableTorchDispatch():
            return tensor.clone().as_subclass(Tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].to(DEVICE)


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs every operation inside of the block."""

    # As torch's own fake tensors have: torch does not initialize CUDA in such a mode.
    _mode_key = torch._C._TorchDispatchModeKey.FAKE

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


@contextlib.contextmanager
def simulated_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Simulate a GPU inside of the block.

    Yields:
        The device.
    """
    generator = torch.Generator().manual_seed(0)
    for name, function in {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "is_bf16_supported": lambda including_emulation=True: False,
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda device=None: None,
        "max_memory_allocated": lambda device=None: 1_000_000,
        "get_rng_state": lambda device=None: generator.get_state(),
        "set_rng_state": lambda state, device=None: generator.set_state(state),
        "manual_seed_all": lambda seed: None,
        "Event": _Event,
    }.items():
        monkeypatch.setattr(torch.cuda, name, function)
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    plain_to = Tensor.to
    monkeypatch.setattr(Tensor, "to", lambda tensor, *args, **kwargs: plain_to(tensor, *_to_arguments(args), **kwargs))
    for name in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
        monkeypatch.setattr(torch.optim.Optimizer, name, lambda optimizer: None, raising=False)
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # the tensors differ in type
    only_lifts = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(values, device="cuda") makes them on the CPU first
    try:
        with _Mode():  # type: ignore[no-untyped-call]
            yield DEVICE
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)
        torch._C._set_only_lift_cpu_tensors(only_lifts)


class _Event:
    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        """Nothing."""

    def elapsed_time(self, end: _Event) -> float:
        """Return a millisecond."""
        return 1.0


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    is_on_gpu = any(isinstance(each, _OnGpu) for each in tensors)
    schema = function._schema
    if is_on_gpu and schema.name not in _ACROSS_DEVICES:
        for each in tensors:
            # torch's own composite operations make single values on what is the CPU for them.
            if not isinstance(each, _OnGpu) and each.numel() > 1:
                raise RuntimeError(
                    f"{schema.name}: Expected all tensors to be on the same device, but found cuda:0 and cpu, "
                    f"shape {tuple(each.shape)}"
                )
    asked = next((each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.device)), None)
    if asked is not None:
        # torch's own C++ code makes gradients of other strides with the device that the parameter has for it.
        is_on_gpu = asked.type == "cuda" or (is_on_gpu and schema.name == "aten::new_empty_strided")
        args, kwargs = tree_map(lambda each: _CPU if isinstance(each, torch.device) else each, (args, kwargs))
    with torch._C._DisableTorchDispatch():
        result = function(*args, **kwargs)
        if any(result is each for each in tensors):
            if asked is None or isinstance(result, _OnGpu) == is_on_gpu:
                return result
            result = result.as_subclass(Tensor).clone()
        return tree_map(lambda each: _placed(each, is_on_gpu=is_on_gpu), result)


def _to_arguments(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of ``Tensor.to``: device and dtype in place of a tensor, and a GPU with its number."""
    if args and isinstance(args[0], Tensor):
        return (args[0].device, args[0].dtype, *args[1:])
    return tuple(DEVICE if isinstance(each, str | torch.device) and str(each) == "cuda" else each for each in args)


def _placed(each: Any, *, is_on_gpu: bool) -> Any:
    if not is_on_gpu or not isinstance(each, Tensor) or isinstance(each, _OnGpu):
        return each
    return Tensor._make_subclass(_OnGpu, each)
