"""Where joblib's calls run: in processes here, or on a Dask or Ray cluster, by the same code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pkgutil import resolve_name
from typing import Any

import joblib

from ..errors import ConfigError, MissingDependency, printable


@contextmanager
def cluster(
    backend: str = "loky",
    jobs: int | None = None,
    address: str | None = None,
    modules: Sequence[str] = ("tftnhits",),
) -> Iterator[int]:
    """Makes a backend joblib's until the block ends; yields how many calls go side by side.

    Parameters
    ----------
    backend : "loky" (processes of this machine), "dask" or "ray"
    jobs : None: one on this machine, and as many as a cluster has workers
    address : of a running cluster's scheduler; None: Dask and Ray begin one of `jobs` workers
        here, which ends with the block
    modules : what workers must be able to import: of one that can't no answer would ever come

    Raises
    ------
    MissingDependency : Dask or Ray is not installed
    ConfigError : nobody answers at the address, its workers lack a module, or it is given for loky
    """
    if backend == "loky":
        if address is not None:
            raise ConfigError(f"{address} is a cluster's; name its backend, dask or ray.")
        jobs = jobs or 1
        threads = max(joblib.cpu_count() // jobs, 1)
        with joblib.parallel_config(backend, inner_max_num_threads=threads):
            yield jobs
        return
    join = {"dask": _join_dask, "ray": _join_ray}[backend]
    with ExitStack() as stack:
        try:
            resolve = join(stack, jobs, address)
        except ImportError as error:
            raise MissingDependency(
                f"The backend {backend!r} is not here: pip install 'tftnhits[cluster]'."
            ) from error
        except OSError as error:  # both's, also where nobody answers in time
            where = address or "this machine"
            why = printable(str(error), 200).rstrip(".")
            raise ConfigError(f"No scheduler answers at {where}: {why}; start one.") from error
        _check(resolve, modules, address or backend)
        stack.enter_context(joblib.parallel_config(backend))
        yield jobs or joblib.effective_n_jobs(-1)


def _check(resolve: Callable[[str], Any], modules: Sequence[str], where: str) -> None:
    """Have workers import the modules; raises ConfigError."""
    for name in modules:
        try:
            resolve(f"{name}:__name__")
        except ImportError as error:
            raise ConfigError(
                f"The workers of {where} can't import {name!r}; install it where they start."
            ) from error


def _join_dask(stack: ExitStack, jobs: int | None, address: str | None) -> Callable[[str], Any]:
    """Returns what calls resolve_name on the workers."""
    from distributed import Client

    local = {} if address else {"n_workers": jobs, "threads_per_worker": 1}
    client = stack.enter_context(Client(address, **local))
    return lambda name: client.run(resolve_name, name)


def _join_ray(stack: ExitStack, jobs: int | None, address: str | None) -> Callable[[str], Any]:
    """Returns what calls resolve_name on a worker."""
    import ray
    from ray.util.joblib import register_ray

    if not ray.is_initialized():
        local = {} if address else {"num_cpus": jobs, "include_dashboard": False}
        ray.init(address or "local", logging_level="WARNING", log_to_driver=False, **local)
        stack.callback(ray.shutdown)
    register_ray()
    remote = ray.remote(max_retries=0)(resolve_name)
    return lambda name: ray.get(remote.remote(name))
