"""The caller's process: what our code leaves as it found it, and the cores that it may take.

torch has one random stream, default dtype and grad mode for a whole process, and no generator of
its own for dropout or fresh weights, so what needs its own borrows them and gives them back.
"""

from __future__ import annotations

import math
import os
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

_in_forked_child = False


@contextmanager
def own_torch(device: str = "cpu") -> Iterator[None]:
    """Build or train, whatever the caller's settings: float32, gradients, a stream to seed.

    Of a GPU, which is the current one meanwhile, the stream is given back, too.
    """
    import torch

    dtype = torch.get_default_dtype()
    kind = torch.device(device).type
    current = torch.cuda.device(device) if kind == "cuda" else nullcontext()
    gpus = [] if kind == "cpu" else [device]
    streams = torch.random.fork_rng(gpus, device_type=kind)
    with current, streams, torch.inference_mode(False), torch.enable_grad():
        torch.set_default_dtype(torch.float32)
        try:
            with few_threads():
                yield
        finally:
            torch.set_default_dtype(dtype)


@contextmanager
def few_threads() -> Iterator[None]:
    """Let torch use no more threads than `cores`; a lower number of the caller's stays.

    Threads beyond them wait for each other's core, which made training 20 times as slow.
    """
    import torch

    before, most = torch.get_num_threads(), cores()
    if most < before:
        torch.set_num_threads(most)
    try:
        yield
    finally:
        if most < before:
            torch.set_num_threads(before)


def side_by_side(call: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """call(item) of each item in turn, made on as many threads as torch may use cores.

    Each has an equal share of them, one if there are enough items: small operations that are split
    over cores wait for each other instead. The caller's settings of torch are none of the threads'.
    """
    import torch

    before = torch.get_num_threads()
    most = min(before, cores())
    workers = min(most, len(items))
    if workers < 2:
        for item in items:
            with few_threads():
                result = call(item)
            yield result  # outside: a generator may be left half-way
        return
    pool = ThreadPoolExecutor(
        workers, initializer=torch.set_num_threads, initargs=(most // workers,)
    )
    try:
        ahead: deque[Future] = deque()
        for item in items:
            ahead.append(pool.submit(call, item))
            if len(ahead) > workers:  # no more results than this wait to be taken
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # what a new thread begins with


@contextmanager
def own_sklearn() -> Iterator[None]:
    """Import and fit without a trace in Python's random stream; in a forked child, by one thread.

    scikit-learn counts the free cores itself; what it imports draws from that stream.
    """
    state = random.getstate()
    try:
        if _in_forked_child:
            from threadpoolctl import threadpool_limits

            with threadpool_limits(1, "openmp"):
                yield
        else:
            yield
    finally:
        random.setstate(state)


def first_of_ranks() -> bool:
    """Whether this process writes files: of those that torchrun started the first alone does."""
    torch = sys.modules.get("torch")
    if (
        torch is not None
        and torch.distributed.is_available()
        and torch.distributed.is_initialized()
    ):
        return torch.distributed.get_rank() == 0
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"


# --- cores


def cores() -> int:
    """Cores that this process may use, by its affinity and its cgroups' quota."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:  # macOS, Windows
        count = os.cpu_count() or 1
    return int(max(min(count, cgroup_cores()), 1))


@cache
def cgroup_cores(
    memberships: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> float:
    """Cores' worth of time that the process's cgroups, and those above, grant; read once."""
    lines: list[str] = []
    with suppress(OSError):
        lines = memberships.read_text().splitlines()
    least = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "cpu" if controllers else root  # version 1, version 2
        folder = base / path.strip("/")
        # in a container its own cgroup is at the root, whatever the path says
        for group in (folder, *folder.parents):
            if group.is_relative_to(base):
                least = min(least, _granted(group))
    return least


def _granted(group: Path) -> float:
    """Cores that one cgroup grants; infinite if it sets no limit."""
    with suppress(OSError, ValueError, ZeroDivisionError):  # "max 100000" without a limit
        quota, period = (group / "cpu.max").read_text().split()
        return int(quota) / int(period)
    with suppress(OSError, ValueError, ZeroDivisionError):  # −1 without a limit
        quota = int((group / "cpu.cfs_quota_us").read_text())
        period = int((group / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else math.inf
    return math.inf


# --- forks


def _after_fork() -> None:
    """Leave a forked child one thread: it would wait for ever for the parent's, which it lacks."""
    global _in_forked_child
    _in_forked_child = True
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
