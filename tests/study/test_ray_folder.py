"""The folder of Ray's sockets, and of those of the processes that load images."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from distune.data.loading import check_temporary_folder
from distune.errors import ResourceError
from distune.study.runners.env_vars import RAY_IMPORT_ENVIRONMENT
from distune.study.runners.ray_folder import MAX_FOLDER_BYTES, session_parent

LONG = "/scratch/" + 80 * "x"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, "/tmp"), ({"TMPDIR": "/dev/shm"}, "/dev/shm"), ({"TMPDIR": LONG, "RAY_TMPDIR": "/scratch"}, "/scratch")],
)
def test_a_short_folder_is_used(variables: dict[str, str], expected: str) -> None:
    assert session_parent(variables, can_write_short=True, starts_ray=True) == Path(expected)


def test_the_limit_is_in_bytes() -> None:
    fits = "/" + (MAX_FOLDER_BYTES - 1) * "x"
    assert session_parent({"TMPDIR": fits}, can_write_short=False, starts_ray=True) == Path(fits)
    too_long = {"TMPDIR": "/" + (MAX_FOLDER_BYTES - 1) * "ü"}
    assert session_parent(too_long, can_write_short=True, starts_ray=True) == Path("/tmp")


def test_a_long_tmpdir_is_replaced_or_refused_with_the_remedy() -> None:
    assert session_parent({"TMPDIR": LONG}, can_write_short=True, starts_ray=True) == Path("/tmp")
    with pytest.raises(
        ResourceError, match=r"^TMPDIR = /scratch/x+: too long .*set RAY_TMPDIR to a folder .*at most \d+"
    ):
        session_parent({"TMPDIR": LONG}, can_write_short=False, starts_ray=True)
    with pytest.raises(ResourceError, match=r"^RAY_TMPDIR = /scratch/x+: too long"):
        session_parent({"RAY_TMPDIR": LONG}, can_write_short=True, starts_ray=True)


def test_the_files_of_tune_alone_may_be_in_a_long_folder() -> None:
    expected = Path(tempfile.gettempdir())
    assert session_parent({"RAY_TMPDIR": LONG}, can_write_short=False, starts_ray=False) == expected


def test_processes_that_load_images_would_hang_below_a_long_folder() -> None:
    check_temporary_folder("/scratch/" + 60 * "x")
    with pytest.raises(ResourceError, match=r"TMPDIR = .* or set resources\.loader_workers = 0"):
        check_temporary_folder(LONG)


def test_uv_does_not_upload_the_working_directory() -> None:
    assert RAY_IMPORT_ENVIRONMENT["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"
