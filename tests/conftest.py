"""Settings of all tests: one thread each, and no telemetry."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from matplotlib.figure import Figure
from PIL import Image
from xdist.scheduler import LoadFileScheduling

from support import optuna_migrations, trained_study

os.environ.update(
    {
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
)

# No limit on time: a loaded machine is slow.
hypothesis.settings.register_profile("distune", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("distune")

_MEMORY, _ENOUGH_BYTES = Path("/dev/shm"), 4 * 2**30
if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH_BYTES:
    # Temporary folders are in memory, so that no test waits for a disk. Only those of tests that fail are kept.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        metavar="REASON",
        default=None,
        help="write the golden values of the tests that run, with this reason (tests/support/golden.py)",
    )


class OneProcessForRay(LoadFileScheduling):  # type: ignore[misc]
    """All tests of a file run in one process, and all files with Ray in one: a session joins the cluster it finds."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return "ray" if _starts_ray(self.config.rootpath / file) else file


@functools.cache
def _starts_ray(file: Path) -> bool:
    return "pytest.mark.ray" in file.read_text(encoding="utf-8")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneProcessForRay:
    """Called where tests run in several processes."""
    return OneProcessForRay(config, log)


@pytest.fixture(scope="session", autouse=True)
def _optuna_migrations_are_read_once() -> Iterator[None]:
    """Opening a database is most of the work of a simulated study."""
    with pytest.MonkeyPatch.context() as patch:
        if "optuna" in sys.modules:
            optuna_migrations.read_once(patch)
        yield


@pytest.fixture
def rendered_figures() -> None:
    """Request it to render figures; see below."""


@pytest.fixture(autouse=True)
def _figures_are_not_rendered(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are saved as one white pixel, except in the tests of reports: rendering is a fifth of a study."""
    if "rendered_figures" in request.fixturenames or request.path.parent.name == "reports":
        return

    def save(_figure: Figure, path: Path, **_: object) -> None:
        Image.new("RGB", (1, 1), "white").save(path)

    monkeypatch.setattr(Figure, "savefig", save)


@pytest.fixture
def written_pages() -> None:
    """Request it to write the page of a study at the end of its sessions; see below."""


@pytest.fixture(autouse=True)
def _pages_are_not_written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session writes no page, except in tests of reports and in long ones: it is a quarter of a simulated study."""
    is_long = any(request.node.get_closest_marker(name) for name in ("slow", "ray", "server", "torture"))
    if is_long or "written_pages" in request.fixturenames or request.path.parent.name == "reports":
        return
    for name in ("distune.api.study_session", "distune.api.confirm_study"):
        if name in sys.modules:
            monkeypatch.setattr(sys.modules[name], "write_session_report", lambda *_, **__: None)


@pytest.fixture
def trained_home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the study ``support.trained_study.NAME``, of this test alone; the working folder is beside it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    home = trained_study.copy_trained_home(shared, tmp_path / "home")
    monkeypatch.setenv("DISTUNE_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    return home
