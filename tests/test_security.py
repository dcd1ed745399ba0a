"""Security rules that a test can check: nothing loads code from data, and servers listen on this machine alone."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from distune.cli.ui import ui
from distune.tracking.server import start_ui

ROOT = Path(__file__).parents[1]
FILES = sorted([*(ROOT / "platform").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])

UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}
"""Modules whose loading runs what a file says."""
LOADS = {"load", "loads", "Unpickler", "open"}
RUNS_CODE = {"eval", "exec", "compile", "__import__"}
YAML_LOADS = {"load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all"}
TORCH_LOADS = {"torch.hub.load", "torch.jit.load", "torch.package.PackageImporter"}
UNPICKLE_INSIDE = {"read_pickle", "add_safe_globals", "load_model"}
SAFE_BASES = {"yaml.SafeLoader", "yaml.CSafeLoader", "yaml.MarkedYAMLError"}


def findings(source: str) -> list[str]:
    """Return the calls in a source that would run code from data, each with its line."""
    tree = ast.parse(source)
    names = _imported(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bases = {_full_name(base, names) for base in node.bases}
            unsafe = {base for base in bases - SAFE_BASES if base.startswith("yaml.")}
            unsafe |= {base for base in bases if base.rpartition(".")[0] in UNPICKLERS}
            found += [f"{node.lineno}: class of {base}" for base in unsafe]
        elif isinstance(node, ast.Call) and _runs_code(node, _full_name(node.func, names)):
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


def _runs_code(call: ast.Call, called: str) -> bool:
    module, _, function = called.rpartition(".")
    constants = {each.arg: each.value.value for each in call.keywords if isinstance(each.value, ast.Constant)}
    given = {each.arg for each in call.keywords}
    return any(
        [
            module in ("", "builtins") and function in RUNS_CODE,
            bool(UNPICKLERS & set(module.split("."))) and function in LOADS,
            module == "yaml" and function in YAML_LOADS,
            called == "torch.load" and constants.get("weights_only") is not True,
            called in TORCH_LOADS or function in UNPICKLE_INSIDE,
            called == "numpy.load" and "allow_pickle" in given and constants.get("allow_pickle") is not False,
            "shell" in given and constants.get("shell") is not False,
        ]
    )


def _imported(tree: ast.AST) -> dict[str, str]:
    """Name in this file to the full name of what it was imported from."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _full_name(node: ast.expr, names: dict[str, str]) -> str:
    head, _, rest = ast.unparse(node).partition(".")
    return f"{names.get(head, head)}.{rest}" if rest else names.get(head, head)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_loads_code_from_a_file(path: Path) -> None:
    found = findings(path.read_text(encoding="utf-8"))
    assert len(found) == (path.name == "sampler_state.py"), "it reads pickles of arrays alone, to refuse all others"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(file)",
        "from pickle import loads as read\nread(text)",
        "from ray import cloudpickle\ncloudpickle.loads(text)",
        "import pickle\nclass Mine:\n    def f(self):\n        return pickle.Unpickler(file).load()",
        "import pickle\nclass Mine(pickle.Unpickler): ...",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch as t\nt.load(path, weights_only=flag)",
        "from torch import load\nload(path)",
        "import torch\ntorch.serialization.add_safe_globals([Any])",
        "import torch\ntorch.hub.load('owner/name', 'model')",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "import yaml\nyaml.unsafe_load(text)",
        "import yaml\nclass Mine(yaml.Loader): ...",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "eval(text)",
        "exec(text)",
        "import mlflow\nmlflow.pytorch.load_model(uri)",
        "import subprocess\nsubprocess.run(text, shell=True)",
    ],
)
def test_the_scan_finds_unsafe_calls(source: str) -> None:
    assert findings(source)


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(path, map_location='cpu', weights_only=True)",
        "import yaml\nyaml.safe_load(text)\nclass Mine(yaml.SafeLoader): ...",
        "import re, json\nre.compile(text)\njson.loads(text)",
        "model.eval()",
        "import numpy as np\nnp.load(path)",
        "import pickle\npickle.dumps(value)",
    ],
)
def test_the_scan_accepts_safe_calls(source: str) -> None:
    assert findings(source) == []


@pytest.mark.parametrize("server", [start_ui, ui])
def test_servers_listen_on_this_machine_alone_by_default(server: object) -> None:
    assert callable(server)
    assert inspect.signature(server).parameters["host"].default == "127.0.0.1"
