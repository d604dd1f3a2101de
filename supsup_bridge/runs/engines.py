"""Where worker processes come from: joblib's own (loky), a Dask cluster, or Ray."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import import_module
from typing import Any

import joblib
from joblib.externals.loky import get_reusable_executor

from hopmask import ConfigError
from hopmask.errors import MissingDependencyError, unknown_name


@contextmanager
def _loky(jobs: int) -> Iterator[None]:
    with joblib.parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
        try:
            yield
        finally:
            if jobs > 1:  # one job is done in this process
                with suppress(RuntimeError):  # interrupted before its first worker began
                    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


@contextmanager
def _dask(jobs: int) -> Iterator[None]:
    distributed, dask = _needed("distributed", "dask"), _needed("dask", "dask")
    address = dask.config.get("scheduler-address", None)
    local = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None}
    own: dict[str, Any] = {} if address else local
    with distributed.Client(address, **own), joblib.parallel_config(backend="dask", n_jobs=jobs):
        yield


@contextmanager
def _ray(jobs: int) -> Iterator[None]:
    ray, register = _needed("ray", "ray"), _needed("ray.util.joblib", "ray").register_ray
    register()
    began = not ray.is_initialized()
    if began:
        address = os.environ.get("RAY_ADDRESS")
        own: dict[str, Any] = {} if address else {"num_cpus": jobs, "include_dashboard": False}
        ray.init(address=address, log_to_driver=False, **own)
    try:
        with joblib.parallel_config(backend="ray", n_jobs=jobs):
            yield
    finally:
        if began:
            ray.shutdown()


_ENGINES: dict[str, Callable[[int], AbstractContextManager[None]]] = {
    "loky": _loky,
    "dask": _dask,
    "ray": _ray,
}
ENGINES = tuple(_ENGINES)


def engine(name: str, jobs: int) -> AbstractContextManager[None]:
    """Configure joblib for an engine, as `joblib.parallel_config` does; what it began, it ends.

    Dask connects to the scheduler that `DASK_SCHEDULER_ADDRESS` names, Ray to the cluster that
    `RAY_ADDRESS` names, or to the one that this process is connected to; without, either begins
    one on this machine.

    Args:
        name: "loky", "dask" or "ray".
        jobs: worker processes.

    Raises:
        ConfigError: no such engine.
        MissingDependencyError: its package is not installed.
    """
    if name not in _ENGINES:
        raise ConfigError(unknown_name("engine", name, ENGINES))
    return _ENGINES[name](jobs)


def _needed(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"the engine {package} needs a package that is not installed ({error}): python -m pip "
            "install 'hopmask[cluster]'"
        ) from error
