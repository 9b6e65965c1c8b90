"""The same calls on a real Dask scheduler with two worker processes, and on a real local Ray."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, environment, made_bars, one_sentence, stocks

import tftnhits as tn
from tftnhits import WorkerConfig, run_batch
from tftnhits.apps import cli
from tftnhits.apps.cluster import cluster
from tftnhits.errors import ConfigError, MissingDependency

pytestmark = pytest.mark.slow
SYMBOLS = ("000001", "NO", "ON", "BRK-B", "^GSPC", "EURUSD=X")
PARAMETERS = 'symbol: str = "AAPL"\nsource: str = "stocks"\nrun_dir = "."'
# ON fails, and NO kills the worker that executes it, the first time
FAULTS = """
import os, pathlib, signal, time
assert symbol != "ON", "ON is off"
killed = pathlib.Path(run_dir).parent / "killed"
if symbol == "NO" and not killed.exists():
    killed.touch()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)
open(run_dir + "/seen.txt", "a").write(symbol)
"""
RAY = """
import sys
import ray
context = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def dask():
    """The address of a scheduler with two workers, which find the modules of bench/."""
    distributed = pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    local = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "bench")
        patch.setenv("OMP_NUM_THREADS", "1")
        with distributed.LocalCluster(**local) as workers:
            yield workers.scheduler_address


@pytest.fixture(scope="module")
def ray():
    """The address of a Ray with two processors that another process keeps."""
    pytest.importorskip("ray", reason="needs the extra 'cluster'")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", RAY]
    # who joins a cluster by its address has no token of it
    env = {**environment(), "RAY_AUTH_MODE": "disabled"}
    with subprocess.Popen(command, **pipes, env=env) as process:
        address = process.stdout.readline().strip()
        assert address, "Ray did not start"
        yield address
        process.stdin.close()
        process.wait(60)


@pytest.fixture(params=["dask", "ray"])
def workers(request) -> tuple[str, str]:
    """A backend and the address of a cluster that runs."""
    return request.param, request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def bars(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bars") / "bars.parquet"
    made_bars(SYMBOLS, 90).to_parquet(path, index=False)
    return path


def test_a_killed_worker_of_a_cluster_loses_nothing(workers, bars, tmp_path, make_notebook):
    notebook = make_notebook("00_page", FAULTS, parameters=PARAMETERS) / "00_page.ipynb"
    settings = WorkerConfig(None, *workers, timeout=120, retries=0)
    out = tmp_path / "out"
    result = run_batch(None, bars, out, notebook, workers=settings, progress=False)
    failed = {task.symbol: task.error for task in result.tasks if task.status != "completed"}
    assert set(failed) == {"ON"} and "ON is off" in failed["ON"]
    assert (out / "files" / "killed").exists()
    seen = {path.parent.name: path.read_text() for path in out.glob("files/*/seen.txt")}
    assert seen == {name: name for name in SYMBOLS if name != "ON"}  # each once
    table = pd.read_parquet(out / "forecasts.parquet")
    assert set(table["symbol"]) == set(SYMBOLS)


def test_a_backtest_on_a_cluster_is_that_of_one_process(workers, tmp_path, capsys):
    backend, address = workers
    path = tmp_path / "bars.parquet"
    stocks(("AAPL", "GOOG"), "2012-06-01", "2014-08-31").to_parquet(path)
    given = ["backtest", str(path), "--preset", "tiny", "--start", "2014-01-01", "--end"]
    given += ["2014-06-30", "--months", "3", "--members", "EWMA,HAR,gradient boosting", "--csv"]
    assert cli.main([*given, "--out", str(tmp_path / "one")]) == 0
    one = capsys.readouterr().out
    there = ["--backend", backend, "--scheduler", address]
    assert cli.main([*given, "--out", str(tmp_path / "many"), *there]) == 0
    assert capsys.readouterr().out == one and one.count("\n") > 3
    frames = [tn.Backtest.load(tmp_path / name).frame for name in ("one", "many")]
    pd.testing.assert_frame_equal(*frames, check_exact=True)


def test_the_seeds_of_a_pretraining_on_dask_are_those_of_one_process(dask, tmp_path):
    pytest.importorskip("torch")
    pretrain = importlib.import_module("pretrain")
    made_bars().to_parquet(tmp_path / "days.parquet")
    text = '[days]\nfile = "days.parquet"\ntrain_end = "2015-09-30"\nvalid_end = "2015-12-31"\n'
    (tmp_path / "corpus.toml").write_text(text)
    markets = tuple(pretrain.markets_in([tmp_path], 5))
    found = []
    for jobs, backend, address in ((1, "loky", None), (None, "dask", dask)):
        where = tmp_path / backend
        corpus = pretrain.Corpus(markets, where, 4, 0.5, str(where / "trials.jsonl"))
        corpus.panel()
        with cluster(backend, jobs, address) as side_by_side:
            (done,) = pretrain.run(side_by_side, (1,), [corpus])
            teachers = [done["tft"][0][0]]
            (taught,) = pretrain.run(side_by_side, (1,), [corpus], teachers)
        found.append([*pretrain.records(done), *pretrain.records(taught)])
    losses = [[record["valid"] for record in records] for records in found]
    assert np.isfinite(losses).all() and len({*losses[0]}) > 1
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_one_that_begins_here_ends_with_the_block(backend):
    pytest.importorskip({"dask": "distributed", "ray": "ray"}[backend])
    with cluster(backend, 2) as jobs:
        assert jobs == 2
    if backend == "ray":
        assert not sys.modules["ray"].is_initialized()
    else:
        with pytest.raises(ValueError):
            sys.modules["distributed"].get_client(timeout=1)


def test_an_address_where_nobody_answers_is_named(monkeypatch):
    pytest.importorskip("distributed")
    settings = sys.modules["dask"].config.config["distributed"]["comm"]["timeouts"]
    monkeypatch.setitem(settings, "connect", "1s")
    what = r"No scheduler answers at tcp://127\.0\.0\.1:9"
    with pytest.raises(ConfigError, match=what) as caught, cluster("dask", 2, "tcp://127.0.0.1:9"):
        pass
    assert one_sentence(str(caught.value))


def test_an_address_without_a_clusters_backend_is_refused(bars, tmp_path, capsys):
    what = "tcp://127.0.0.1:9 is a cluster's; name its backend, dask or ray."
    with pytest.raises(ConfigError, match=re.escape(what)), cluster("loky", 1, "tcp://127.0.0.1:9"):
        pass
    given = ["--source", str(bars), "--out", str(tmp_path / "out"), "--scheduler"]
    assert cli.main(["batch", *given, "tcp://127.0.0.1:9"]) == 2
    assert what in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_backend_that_is_not_installed_is_named(monkeypatch):
    for name, package in (("dask", "distributed"), ("ray", "ray")):
        monkeypatch.setitem(sys.modules, package, None)
        what = f"backend {name!r} is not here: pip install"
        with pytest.raises(MissingDependency, match=what), cluster(name):
            pass


def test_workers_that_lack_a_module_are_refused_at_once(workers):
    what = "workers of .* can't import 'no_such_module'"
    given = workers[0], None, workers[1], ("tftnhits", "no_such_module")
    with pytest.raises(ConfigError, match=what) as caught, cluster(*given):
        pass
    assert one_sentence(str(caught.value))
