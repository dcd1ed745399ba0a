"""``import distune`` is fast, and the command line loads what a command needs, and no more."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

import distune

HEAVY = ("torch", "ray", "optuna", "mlflow", "scipy", "matplotlib", "pandas", "plotly")


def loaded_modules(code: str) -> set[str]:
    """The top-level modules that are loaded in a new process after ``code``."""
    report = f"{code}\nimport sys\nprint('MODULES', *{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.rsplit("MODULES", 1)[1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import distune",
        "import distune; dir(distune); distune.DistuneError; distune.StudyCallback",
        "from distune.cli.main import build_app; from typer.main import get_command; get_command(build_app())",
    ],
    ids=["import", "light names", "command line"],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert not loaded_modules(code) & set(HEAVY)


def test_the_report_page_loads_neither_torch_nor_optuna() -> None:
    loaded = loaded_modules("import distune.reports.page.render_page")
    assert "plotly" in loaded
    assert not loaded & (set(HEAVY) - {"plotly"})


def test_every_public_name_is_there() -> None:
    for name in distune.__all__:
        assert getattr(distune, name) is not None
    assert set(distune.__all__) <= set(dir(distune))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'lunch'"):
        _ = distune.lunch


def test_the_version_is_that_of_the_distribution() -> None:
    assert distune.__version__ == importlib.metadata.version("distune")
