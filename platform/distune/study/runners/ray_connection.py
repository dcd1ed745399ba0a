"""The connection to Ray: an existing one, a cluster, or a private Ray that refuses other clients."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import ray

from distune.config.search import ResourceSettings
from distune.errors import ResourceError
from distune.study.files.session_files import session_folder
from distune.study.resources import Resources, this_machine
from distune.study.runners.env_vars import environment
from distune.study.runners.ray_folder import PREFIX, RAY_FOLDER, session_parent
from distune.study.runners.ray_servers import RayLostError
from distune.study.runners.signals import SIGNALS
from distune.tracking.uris import redact_uri

_OBJECT_STORE_BYTES = 128 * 2**20
"""Small, because only specifications and reports pass through it."""

_WORKER_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of an experiment are those of the driver
}
_ENVIRONMENT = {
    **_WORKER_ENVIRONMENT,
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a table of the configuration at any verbosity
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the session handles it
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": str(sys.maxsize),
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
}

_QUIET = (
    "ray.tune",
    "ray.air",
    "ray.train",
    "ray._private.worker",  # it also warns that it handles no SIGTERM outside of the main thread
    "ray._private.authentication.authentication_token_setup",  # it warns that it requires a token
)


@functools.cache
def _token() -> str:
    """Return the token of this process's Ray, the same one each time because Ray reads it once per process.

    Ray listens on all networks of the machine and runs the code that it receives. With a token it refuses others
    (``RAY_AUTH_MODE=disabled`` turns that off). The token is passed in the environment, which only processes of the
    user can read; Ray would write it into the user's home folder.
    """
    return secrets.token_hex(32)


def machines() -> list[Resources]:
    """Return the resources of each machine that the cluster has now."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    return [Resources(float(each.get("CPU", 0.0)), float(each.get("GPU", 0.0))) for each in alive]


@contextlib.contextmanager
def ray_session(settings: ResourceSettings, *, simulate: bool) -> Iterator[Path]:
    """Connect to Ray for the length of a session, and silence the output of Ray and Tune.

    Args:
        settings: name the cluster; without an address Ray is started here.
        simulate: whether trials are simulated.

    Yields:
        A folder for temporary files, which is removed at the end.

    Raises:
        ResourceError: Ray cannot be used.
    """
    starts_ray = not ray.is_initialized() and settings.address is None
    parent = session_parent(os.environ, can_write_short=os.access("/tmp", os.W_OK), starts_ray=starts_ray)  # noqa: S108
    with contextlib.ExitStack() as stack:
        stack.enter_context(environment(_ENVIRONMENT))
        stack.enter_context(_quiet_logs())
        folder = stack.enter_context(_made_folder(parent))
        stack.enter_context(_connected(settings, simulate=simulate, folder=folder))
        yield folder


@contextlib.contextmanager
def _made_folder(parent: Path) -> Iterator[Path]:
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(session_folder(parent, PREFIX))
        except OSError as error:
            raise ResourceError(
                f"Ray cannot be used: no folder can be made in {parent}: {error.strerror or error}; set RAY_TMPDIR to "
                f"another folder, or use --runner local, which needs no Ray"
            ) from None
        yield folder


@contextlib.contextmanager
def _connected(settings: ResourceSettings, *, simulate: bool, folder: Path) -> Iterator[None]:
    """Use the existing connection to Ray, or open one and close it after the block.

    It is opened in a thread of its own: in the main thread Ray would replace the handler of SIGTERM by one that ends
    the process in the middle of the start.
    """
    if ray.is_initialized():
        yield
        return
    connected: Future[None] = Future()
    is_over = threading.Event()

    def connect() -> None:
        try:
            _connect(settings, simulate=simulate, folder=folder)
            connected.set_result(None)
        except BaseException as error:
            connected.set_exception(error)
        is_over.wait()  # Ray's processes end with the thread that has started them

    with _signals_kept_from_ray():
        threading.Thread(target=connect, name="distune-ray", daemon=True).start()
        try:
            connected.result()
        except BaseException:
            is_over.set()
            raise
    try:
        yield
    except RayLostError:
        atexit.unregister(ray.shutdown)  # it would wait for the servers
        raise
    except BaseException:
        ray.shutdown()
        is_over.set()
        raise
    ray.shutdown()
    is_over.set()


def _connect(settings: ResourceSettings, *, simulate: bool, folder: Path) -> None:
    """Connect to a cluster, or start Ray here. Try twice, because the start may time out on a busy machine."""
    where = f"on {redact_uri(settings.address)}" if settings.address is not None else "on this machine"
    for is_last in (False, True):
        try:
            if settings.address is not None:
                ray.init(
                    address=settings.address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"env_vars": _WORKER_ENVIRONMENT},
                )
            else:
                os.environ.setdefault("RAY_AUTH_TOKEN", _token())
                here = this_machine(settings, simulate=simulate)
                ray.init(
                    address="local",
                    num_cpus=int(here.cpus),
                    num_gpus=int(here.gpus),
                    _temp_dir=str(folder / RAY_FOLDER),  # Ray opens its own folder to all users
                    object_store_memory=_OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        except ResourceError:
            raise
        except Exception as error:  # Ray raises plain exceptions here
            ray.shutdown()
            if is_last:
                raise ResourceError(
                    f"Ray cannot be used {where}: {redact_uri(' '.join(str(error).split()))}; check the machine and "
                    f"try again, or use --runner local, which needs no Ray"
                ) from error
        else:
            return


@contextlib.contextmanager
def _signals_kept_from_ray() -> Iterator[None]:
    """Block signals in the block, and restore this process's handlers, which Ray replaces.

    The processes that Ray starts in the block inherit the blocked signals. Slurm sends SIGTERM to all processes of a
    job, and a Ray without its head node takes a minute to give up; so only this process receives it and shuts Ray down.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _quiet_logs() -> Iterator[None]:
    """Silence the logs of Tune, which reports every stopped or failed trial as an error."""
    loggers = [logging.getLogger(name) for name in _QUIET]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
