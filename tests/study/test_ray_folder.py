"""The folder of Ray's sockets, and of those of the processes that load images."""

from __future__ import annotations

import pytest

from distune.data.loading import check_temporary_folder
from distune.errors import ResourceError
from distune.study.runners.env_vars import RAY_IMPORT_ENVIRONMENT
from distune.study.runners.ray_folder import MAX_FOLDER_BYTES, ray_temp_folder

LONG = "/scratch/" + 80 * "x"


@pytest.mark.parametrize("variables", [{}, {"TMPDIR": "/dev/shm"}, {"TMPDIR": LONG, "RAY_TMPDIR": "/scratch"}])
def test_a_short_folder_is_left_to_ray(variables: dict[str, str]) -> None:
    assert ray_temp_folder(variables, can_write_short=True) is None


def test_the_limit_is_in_bytes() -> None:
    assert ray_temp_folder({"TMPDIR": "/" + (MAX_FOLDER_BYTES - 1) * "x"}, can_write_short=False) is None
    assert ray_temp_folder({"TMPDIR": "/" + (MAX_FOLDER_BYTES - 1) * "ü"}, can_write_short=True) == "/tmp/ray"


def test_a_long_tmpdir_is_replaced_or_refused_with_the_remedy() -> None:
    assert ray_temp_folder({"TMPDIR": LONG}, can_write_short=True) == "/tmp/ray"
    with pytest.raises(
        ResourceError, match=r"^TMPDIR = /scratch/x+: too long .*set RAY_TMPDIR to a folder .*at most \d+"
    ):
        ray_temp_folder({"TMPDIR": LONG}, can_write_short=False)
    with pytest.raises(ResourceError, match=r"^RAY_TMPDIR = /scratch/x+: too long"):
        ray_temp_folder({"RAY_TMPDIR": LONG}, can_write_short=True)


def test_processes_that_load_images_would_hang_below_a_long_folder() -> None:
    check_temporary_folder("/scratch/" + 60 * "x")
    with pytest.raises(ResourceError, match=r"TMPDIR = .* or set resources\.loader_workers = 0"):
        check_temporary_folder(LONG)


def test_uv_does_not_upload_the_working_directory() -> None:
    assert RAY_IMPORT_ENVIRONMENT["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"
