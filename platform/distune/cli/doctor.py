"""``distune doctor``: check the machine and the installation."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from typing import Any

from distune.cli.options import JsonOption
from distune.cli.output import out, print_json
from distune.errors import DistuneError

_PACKAGES = ("distune", "torch", "torchvision", "ray", "optuna", "mlflow", "pycocotools", "pydantic")
_WANTED_FREE_GB = 2.0


def doctor(*, json: JsonOption = False) -> None:
    """Check the machine and the installation.

    Exit status 1 when something is wrong.

    Example: `distune doctor`
    """
    facts = _facts()
    problems = _problems(facts)
    if json:
        print_json({**facts, "problems": problems})
    else:
        for name, value in facts.items():
            shown = ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else value
            out.print(f"{name:<12} {shown}")
        for problem in problems:
            out.print(f"problem      {problem}")
        if not problems:
            out.print("distune can work here")
    if problems:
        raise DistuneError(f"{len(problems)} problem(s) found")


def _facts() -> dict[str, Any]:
    import torch

    from distune.config.home import Home
    from distune.config.search import ResourceSettings
    from distune.study.planning.gpu_text import plan_gpus
    from distune.study.resources import available_cpus, available_gpus

    home = Home.from_environment()
    existing = next(path for path in (home.root, *home.root.parents) if path.exists())
    gpus = [torch.cuda.get_device_properties(index) for index in range(available_gpus())]
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "cpus": available_cpus(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpus": [f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB" for gpu in gpus],
        "trials": plan_gpus(ResourceSettings()),
        "bfloat16": bool(gpus) and torch.cuda.is_bf16_supported(including_emulation=False),
        "home": str(home.root),
        "free_gb": round(shutil.disk_usage(existing).free / 1e9, 1),
        "writable": os.access(existing, os.W_OK),
        "platform": platform.__file__,
    }


def _problems(facts: dict[str, Any]) -> list[str]:
    problems = [f"{name} is not installed" for name, version in facts["packages"].items() if version is None]
    if not facts["writable"]:
        problems.append(f"{facts['home']} cannot be written; set DISTUNE_HOME to a folder that can")
    if facts["free_gb"] < _WANTED_FREE_GB:
        problems.append(f"only {facts['free_gb']} GB are free where {facts['home']} is")
    if not facts["platform"].startswith(sys.base_prefix):
        problems.append(f"another module hides the standard library's platform: {facts['platform']}")
    return problems


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
