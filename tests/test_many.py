"""Batches: numbers are those of predict, a failure stops no other, and what is killed goes on."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest
from helpers import ROOT, environment, made_bars, one_sentence

import tftnhits as tn
from tftnhits import WorkerConfig, run_batch
from tftnhits.apps import batching, cli, many, numbers, report, tasks
from tftnhits.errors import ConfigError, DataError, OutputError

SYMBOLS = ("000001", "NO", "ON", "BRK-B", "^GSPC", "EURUSD=X")
PARAMETERS = """symbol: str = "AAPL"
source: str = "stocks"
horizon: int = 5
rate: float = 0.5
tickers: list = ["A"]
seed = 7
run_dir = "."
"""
SEEN = "open(run_dir + '/seen.txt', 'a').write(repr((symbol, horizon, rate)) + '\\n')"
TWO = WorkerConfig(jobs=2, timeout=120)
ONCE = replace(TWO, retries=0)


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """Nobody listens at the proxy."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("TFTNHITS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def bars(tmp_path_factory) -> Path:
    """Parquet of symbols that are no numbers, no truth values and no options."""
    path = tmp_path_factory.mktemp("bars") / "bars.parquet"
    made_bars(SYMBOLS, 90).to_parquet(path, index=False)
    return path


@pytest.fixture
def notebook(make_notebook):
    """Writes a notebook of one cell, which notes what it has seen; returns its path."""

    def make(cell: str = "", name: str = "00_page") -> Path:
        return make_notebook(name, f"{cell}\n{SEEN}", parameters=PARAMETERS) / f"{name}.ipynb"

    return make


def manifest(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())


def seen(out: Path) -> dict[str, list[str]]:
    """What the notebooks noted, by the folder of their task."""
    files = sorted((out / "files").rglob("seen.txt"))
    return {path.parent.name: path.read_text().splitlines() for path in files}


def statuses(result) -> dict[str, str]:
    return {task.symbol: task.status for task in result.tasks}


def whole(out: Path) -> bool:
    """No file in the folder is one that a process was writing."""
    hidden = [path for path in out.rglob(".*") if not path.name.endswith(".lock")]
    return not hidden and not (out / "work").exists()


# --- numbers


def test_the_numbers_are_those_of_one_prediction(bars, tmp_path):
    result = run_batch(source=bars, out=tmp_path / "out", progress=False)
    forecast = tn.Predictor.load().predict(pd.read_parquet(bars))
    frame = pd.read_parquet(tmp_path / "out" / "forecasts.parquet").drop(columns="variant")
    keys = ["symbol", "step"]
    frames = [one.sort_values(keys, ignore_index=True) for one in (frame, forecast.frame)]
    pd.testing.assert_frame_equal(*frames, rtol=1e-5)
    table = pd.read_parquet(tmp_path / "out" / "watchlist.parquet").set_index("symbol")
    expected = forecast.table().set_index("symbol").loc[table.index]
    pd.testing.assert_frame_equal(table[expected.columns], expected, rtol=1e-5)
    assert set(statuses(result)) == set(SYMBOLS) and result.count("completed") == len(SYMBOLS)
    told = manifest(tmp_path / "out")
    assert told["status"] == "completed" and told["packages"]["numpy"]
    assert told["key"]["data"] == tn.files.file_digest(bars)
    assert whole(tmp_path / "out")


def test_symbols_that_cant_be_forecast_stop_no_other(tmp_path):
    source = tmp_path / "folder"
    source.mkdir()
    made_bars(("A", "B"), 90).to_parquet(source / "0.parquet")
    made_bars(("few", "less"), 1).to_parquet(source / "1.parquet")
    names = ["B", "few", "less", "gone", "A"]
    for block in (2, 250):  # of which one block has nothing to forecast, and none
        out = tmp_path / f"out{block}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                tn.forecast.blocks.predict_some, "__defaults__", (None, 0.93, None, block)
            )
            result = run_batch(names, source, out, progress=False)
        assert [task.symbol for task in result.tasks] == names
        bad = {task.symbol: task.error for task in result.tasks if task.status == "failed"}
        assert set(bad) == {"few", "less", "gone"} and result.count("completed") == 2
        assert all(one_sentence(why) and name in why for name, why in bad.items())
        page = unescape((out / "index.html").read_text())
        assert all(f"failed: {why}" in page for why in bad.values())
        frame = pd.read_parquet(out / "forecasts.parquet")
        assert set(frame["symbol"]) == {"A", "B"}


@pytest.mark.parametrize("folder", [False, True])
def test_a_corrupt_file_is_a_status_and_a_sentence(tmp_path, notebook, folder):
    source = tmp_path / "bars.parquet"
    if folder:
        source.mkdir()
    (source / "0.parquet" if folder else source).write_bytes(b"PAR1 this is none PAR1")
    result = run_batch(["A", "B"], source, tmp_path / "out", notebook(), progress=False)
    assert statuses(result) == {"A": "failed", "B": "failed"}
    assert one_sentence(result.tasks[0].error) and "bars.parquet" in result.tasks[0].error
    assert result.tasks[0].error[:60] in unescape(result.index.read_text())
    with pytest.raises(DataError, match=re.escape("bars.parquet")):
        run_batch(None, source, tmp_path / "other", progress=False)
    assert not (tmp_path / "other").exists()


def test_a_batch_of_symbols_that_are_not_there_has_an_index_all_the_same(bars, tmp_path, notebook):
    result = run_batch(["X", "Y"], bars, tmp_path / "out", notebook(), progress=False)
    assert statuses(result) == {"X": "failed", "Y": "failed"}
    assert result.tasks[0].error.startswith("There is no symbol 'X' in ")
    assert result.index.read_text().count("failed: There is no symbol") == 2


def test_what_is_broken_in_the_folder_is_made_again(bars, tmp_path, notebook):
    out, page = tmp_path / "out", notebook()
    given = {"source": bars, "out": out, "notebook": page, "workers": TWO, "progress": False}
    first = run_batch(["NO", "ON"], **given)
    kept = pd.read_parquet(out / "forecasts.parquet")
    (out / "forecasts.parquet").write_bytes(b"PAR1 half of it")
    (out / "state" / "ON.json").write_text('{"status": "compl')
    again = run_batch(["NO", "ON"], **given, resume=True)
    assert again.count("completed") == first.count("completed") == 2 and whole(out)
    pd.testing.assert_frame_equal(pd.read_parquet(out / "forecasts.parquet"), kept)


def test_a_file_of_one_symbol_and_bundled_bars_are_sources(tmp_path):
    path = tmp_path / "MINE.csv"
    made_bars(("x",), 90).drop(columns="symbol").to_csv(path, index=False)
    assert statuses(run_batch(None, path, tmp_path / "a", progress=False)) == {"MINE": "completed"}
    result = run_batch(["NVDA", "FOO"], "stocks", tmp_path / "b", progress=False)
    assert statuses(result) == {"NVDA": "completed", "FOO": "failed"}
    assert result.tasks[1].error == "There is no symbol 'FOO' in 'stocks'."


def test_live_symbols_that_could_not_be_had_are_tried_again(tmp_path, monkeypatch, notebook):
    parts = {"KO": made_bars(("KO",), 90), "NO": made_bars(("NO",), 90, seed=1)}
    asked, there = [], {"KO"}

    def read(names):
        asked.append(set(names))
        frames = [tn.validate_bars(parts[name])[0] for name in names if name in there]
        frame = tn.data.bars.concat_bars(frames) if frames else None
        return frame, {name: f"{name} is busy." for name in names if name not in there}

    monkeypatch.setattr(numbers, "read_symbols", read)
    out, page = tmp_path / "out", notebook()
    first = run_batch(["ko", "NO"], None, out, page, workers=ONCE, progress=False)
    assert statuses(first) == {"KO": "completed", "NO": "failed"}
    assert first.tasks[1].error == "NO is busy."
    there.add("NO")
    again = run_batch(["ko", "NO"], None, out, page, workers=ONCE, resume=True, progress=False)
    assert statuses(again) == {"KO": "completed", "NO": "completed"}
    assert asked == [{"KO", "NO"}, {"NO"}] and set(seen(out)) == {"KO", "NO"}
    assert pd.read_parquet(out / "bars.parquet")["symbol"].nunique() == 2
    assert pd.read_parquet(out / "forecasts.parquet")["symbol"].value_counts().to_dict() == {
        "KO": 5,
        "NO": 5,
    }


def test_bundled_bars_stand_in_and_no_symbol_is_taken_for_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("NVDA").write_text("no bars")
    result = run_batch(["NVDA", "QQQQ", "a b"], None, tmp_path / "out", progress=False)
    assert statuses(result) == {"NVDA": "completed", "QQQQ": "failed", "A B": "failed"}
    assert "bundled ones" in result.table["why"][0]


# --- pages


def test_symbols_arrive_as_written_and_one_failure_stops_no_other(bars, tmp_path, notebook):
    page = notebook("assert symbol != 'ON', 'ON is off'\nopen(run_dir + '/mine.html', 'w')")
    out = tmp_path / "out"
    result = run_batch(SYMBOLS, bars, out, page, workers=TWO, html=True, progress=False)
    assert [task.symbol for task in result.tasks] == list(SYMBOLS)
    assert [s for s, status in statuses(result).items() if status == "failed"] == ["ON"]
    failed = result.tasks[SYMBOLS.index("ON")]
    assert failed.tries == 2 and "AssertionError: ON is off." in failed.error
    assert seen(out) == {name: [repr((name, 5, 0.5))] for name in SYMBOLS if name != "ON"}
    told = manifest(out)
    assert told["status"] == "failed" and told["seeds"] == [7]
    assert [task["status"] for task in told["tasks"]].count("completed") == 5
    page_text = result.index.read_text()
    links = {
        unescape(link).replace("%3D", "=") for link in re.findall(r'href="([^"#]+)"', page_text)
    }
    links = {link.replace("%5E", "^") for link in links}
    assert {f"pages/{n}{e}" for n in SYMBOLS for e in (".ipynb", ".html")} <= links
    assert {f"files/{n}/mine.html" for n in SYMBOLS if n != "ON"} <= links
    assert all((out / link).is_file() for link in links) and whole(out)
    # resumed, it does only what failed
    before = {path: path.stat().st_mtime_ns for path in (out / "state").iterdir()}
    again = run_batch(
        SYMBOLS, bars, out, page, workers=ONCE, html=True, resume=True, progress=False
    )
    changed = [p.stem for p in (out / "state").iterdir() if p.stat().st_mtime_ns != before[p]]
    assert (
        changed == ["ON"]
        and again.count("failed") == 1
        and seen(out).keys() == {name for name in SYMBOLS if name != "ON"}
    )


def test_a_sweep_is_the_product_of_its_lists(bars, tmp_path, notebook):
    out, lists = tmp_path / "out", {"horizon": (2, 3), "rate": 1}
    result = run_batch("NO", bars, out, notebook(), lists, TWO, progress=False)
    assert [task.name for task in result.tasks] == ["1/NO", "2/NO"]
    assert [p.read_text() for p in sorted(out.glob("files/*/NO/seen.txt"))] == [
        "('NO', 2, 1)\n",
        "('NO', 3, 1)\n",
    ]
    frame = pd.read_parquet(out / "forecasts.parquet")
    assert frame.groupby(["variant", "horizon"])["step"].max().to_dict() == {(0, 2): 2, (1, 3): 3}
    assert result.table["horizon"].tolist() == [2, 3] and result.count("completed") == 2
    assert re.findall(r'href="(pages/[^"]+)"', result.index.read_text()) == [
        "pages/1/NO.ipynb",
        "pages/2/NO.ipynb",
    ]


WRONG = [
    ({"notebook": None, "html": True}, "HTML"),
    ({"symbols": ["NO", "NO"]}, "'NO' is named twice"),
    ({"symbols": []}, "no symbols"),
    ({"symbols": None, "source": None}, "needs symbols"),
    ({"source": "nowhere.parquet"}, "nowhere.parquet"),
    ({"sweep": {"horizn": [3]}}, "'horizn'"),
    ({"sweep": {"horizon": ["3"]}}, "'horizon' takes int"),
    ({"sweep": {"horizon": []}}, "'horizon' has no values"),
    ({"sweep": {"rate": [1, "x"]}}, "'rate' takes float"),
    ({"sweep": {"symbol": ["KO"]}}, "set by the batch"),
    ({"sweep": {"rate": [{1}]}}, "plain values"),
    ({"out": None, "resume": True}, "takes its folder"),
    ({"resume": True}, "There is no batch"),
]


@pytest.mark.parametrize("changes, words", WRONG)
def test_what_is_wrong_is_said_before_anything_runs(bars, tmp_path, notebook, changes, words):
    given = {"symbols": ["NO"], "source": bars, "notebook": notebook(), "out": tmp_path / "out"}
    with pytest.raises((ConfigError, DataError), match=re.escape(words)) as caught:
        run_batch(**(given | changes), progress=False)
    assert one_sentence(str(caught.value))
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_another_batch_is_not_resumed_and_what_differs_is_named(bars, tmp_path, notebook):
    mine = tmp_path / "mine.parquet"
    mine.write_bytes(bars.read_bytes())
    given = {"symbols": ["NO"], "source": mine, "out": tmp_path / "out", "progress": False}
    run_batch(**given)
    with pytest.raises(ConfigError, match="has a batch"):
        run_batch(**given)
    changes = [("symbols", {"symbols": ["ON"]}), ("parameters", {"sweep": {"horizon": [3]}})]
    changes += [("notebook", {"notebook": notebook()})]
    for name, change in changes:
        with pytest.raises(ConfigError, match=f"begun with other {name};"):
            run_batch(**(given | change), resume=True)
    made_bars(SYMBOLS, 91).to_parquet(mine, index=False)
    os.utime(mine, (0, 0))  # whatever the clock says
    with pytest.raises(ConfigError, match="begun with other data;"):
        run_batch(**given, resume=True)
    (tmp_path / "out" / "manifest.json").write_text("{}")
    with pytest.raises(tn.TftnhitsError, match="is no batch's"):
        run_batch(**given, resume=True)


EVIL = "<img src=x>"


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    """The index of 5,000 symbols, of which one is HTML and failed."""
    folder, count = tmp_path_factory.mktemp("index"), 5000
    names = (EVIL, *(f"S{i:04d}" for i in range(1, count)))
    plan = tasks.Plan(names, "bars.parquet", None, {}, False, folder, {})
    few = tn.Predictor.load().predict(made_bars(("A", "B"), 90)).table()
    table = few.iloc[np.arange(count) % 2].assign(symbol=list(names), variant=0)
    table["p_up"] = np.random.default_rng(0).permutation(count) / count
    batch = many.BatchResult(plan, "now", plan.tasks(), table.reset_index(drop=True))
    for task in batch.tasks:
        task.status = "completed"
    batch.tasks[0].status, batch.tasks[0].error = "failed", f"{EVIL} is evil."
    report.write_batch_index(batch)
    return batch.index


def test_the_index_of_5000_symbols_is_small_safe_and_needs_no_network(index):
    page = index.read_text()
    assert len(page) < 3_000_000 and page.count("<tr") == 5001
    assert "<img" not in page and "failed: &lt;img src=x&gt; is evil." in page
    assert not re.search(r"https?:|\bsrc=|@import", page.replace("src=x", ""))
    assert 'id="filter"' in page and "4999 completed," in page and ">1 failed</a>" in page
    assert "page</th>" not in page  # there is none to link


USED = """<script>addEventListener("load", () => {
  const head = [...document.querySelectorAll("th")].find((one) => one.textContent === "P(up)");
  const column = (some) => [...document.querySelectorAll("tbody tr")].slice(...some)
    .map((row) => parseInt(row.cells[head.cellIndex].textContent));
  const begun = performance.now();
  head.click();
  const up = column([0, 9]);
  head.click();
  const down = column([0, 9]), box = document.getElementById("filter");
  box.value = "Failed  EVIL";
  box.dispatchEvent(new Event("input"));
  const left = [...document.querySelectorAll("tbody tr")].filter((row) => row.offsetHeight).length;
  const shown = document.getElementById("shown").textContent;
  document.title = JSON.stringify({up, down, left, shown, took: performance.now() - begun});
});</script>"""


@pytest.mark.slow
def test_a_browser_sorts_and_filters_5000_rows(index, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("there is no Chromium here")
    page = tmp_path / "index.html"
    page.write_text(index.read_text().replace("</body>", f"{USED}</body>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=60000"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    dom = subprocess.run([browser, *flags], capture_output=True, text=True, timeout=240).stdout
    found = json.loads(unescape(re.search(r"<title>(.*?)</title>", dom)[1]))
    assert found["up"] == sorted(found["up"]) and found["down"] == sorted(found["down"])[::-1]
    assert found["up"][0] == 0 and found["down"][0] == 100
    assert found["left"] == 1 and found["shown"] == "1 of 5000 rows"
    assert found["took"] < 30_000


# --- faults


FAULTS = """
import os, signal, time
if symbol == "NO": os._exit(1)
if symbol == "ON": time.sleep(600)
if symbol == "^GSPC":
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)
"""


@pytest.mark.slow
def test_dead_hanging_and_killed_processes_are_told_and_stop_no_other(bars, tmp_path, notebook):
    workers = WorkerConfig(jobs=2, timeout=8, retries=0)
    out = tmp_path / "out"
    result = run_batch(SYMBOLS, bars, out, notebook(FAULTS), workers=workers, progress=False)
    errors = {task.symbol: task.error for task in result.tasks if task.status == "failed"}
    assert set(errors) == {"NO", "ON", "^GSPC"} and all(map(one_sentence, errors.values()))
    assert "its kernel died" in errors["NO"] and "longer than 8 s" in errors["ON"]
    assert "its process was killed" in errors["^GSPC"]
    page = unescape(result.index.read_text())
    assert all(f"failed: {error}" in page for error in errors.values())
    assert all(len(lines) == 1 for lines in seen(out).values()) and len(seen(out)) == 3
    assert not kernels(psutil.Process()) and whole(out)


def kernels(process: psutil.Process) -> list[psutil.Process]:
    """Kernels that were started by a process and are alive."""
    children = process.children(recursive=True)
    return [c for c in children if c.status() != "zombie" and "ipykernel" in " ".join(c.cmdline())]


def command(out: Path, bars: Path, page: Path, *more: str) -> list[str]:
    words = ["--source", bars, "--notebook", page, "--out", out, "--jobs", "2", *more]
    return [sys.executable, "-m", "tftnhits", "batch", *map(str, words)]


def completed(out: Path) -> set[str]:
    """Tasks that have ended well, by what is kept of them."""
    files = (out / "state").glob("*.json")
    return {path.stem for path in files if json.loads(path.read_text())["status"] == "completed"}


def kill(process: subprocess.Popen) -> None:
    """As the system does it: at once, and the batch alone."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    # what it had started ends with it; a process that was still without a task, later
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not [child for child in alive if "ipykernel" in " ".join(child.cmdline())]
    for child in alive:
        child.kill()


def killed_and_resumed(call: list[str], out: Path, moments: Iterator[float]) -> int:
    """How often a batch was killed until it was done; what had ended is never done twice."""
    kills, ended = 0, {}
    for moment in moments:
        resume = ["--resume"] if (out / "manifest.json").exists() else []
        process = subprocess.Popen([*call, *resume], env=environment(), cwd=ROOT)
        try:
            assert process.wait(moment) == 0
            break
        except subprocess.TimeoutExpired:
            kill(process)
            kills += 1
        for name in completed(out):
            text = (out / "state" / f"{name}.json").read_text()
            assert ended.setdefault(name, text) == text, moment
    return kills


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [4, pytest.param(20, marks=pytest.mark.weekly)])
def test_a_batch_killed_at_any_moment_goes_on_to_the_same_table(bars, tmp_path, notebook, wanted):
    page = notebook("import time; time.sleep(0.5)")
    calm = run_batch(None, bars, tmp_path / "calm", page, workers=TWO, progress=False)
    rng = np.random.default_rng(time.time_ns())
    kills = batches = 0
    while kills < wanted:
        out = tmp_path / f"out{batches}"
        # the last call has all the time that it takes
        moments = iter([*rng.uniform(1, 14, wanted - kills), 600.0])
        kills += killed_and_resumed(command(out, bars, page), out, moments)
        batches += 1
        assert completed(out) == {task.name for task in calm.tasks} == set(seen(out))
        assert all(len(lines) == 1 for lines in seen(out).values())
        for file in ("forecasts.parquet", "watchlist.parquet"):
            tables = [pd.read_parquet(folder / file) for folder in (tmp_path / "calm", out)]
            pd.testing.assert_frame_equal(*tables)
        assert manifest(out)["status"] == "completed" and whole(out)


@pytest.mark.slow
def test_an_interrupt_ends_the_kernels_and_leaves_what_can_be_resumed(bars, tmp_path, notebook):
    page = notebook(
        "import os, time\nwhile not os.path.exists(run_dir + '/../go'): time.sleep(0.1)"
    )
    out = tmp_path / "out"
    process = subprocess.Popen(
        command(out, bars, page), env=environment(), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 240
    while not (begun := kernels(psutil.Process(process.pid))) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 130 and "with --resume" in err.splitlines()[-1], err
    assert begun and not psutil.wait_procs(begun, timeout=60)[1]
    assert manifest(out)["status"] == "not run" and "6 not run" in (out / "index.html").read_text()
    (out / "files" / "go").touch()
    done = subprocess.run(command(out, bars, page, "--resume"), env=environment(), cwd=ROOT)
    assert done.returncode == 0 and manifest(out)["status"] == "completed" and whole(out)


def test_the_times_of_files_mean_nothing(bars, tmp_path, notebook):
    page, out = notebook(), tmp_path / "out"
    given = {"source": bars, "out": out, "notebook": page, "workers": TWO, "progress": False}
    run_batch(["NO", "ON"], **given)
    (out / "state" / "ON.json").unlink()
    for moment in (0, 4_000_000_000):  # long ago, and as if the clock had gone back since
        for path in out.rglob("*"):
            os.utime(path, (moment, moment))
    result = run_batch(["NO", "ON"], **given, resume=True)
    assert result.count("completed") == 2
    assert (out / "state" / "NO.json").stat().st_mtime == 4_000_000_000
    assert (out / "state" / "ON.json").stat().st_mtime < 4_000_000_000


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a small file system; skips where that is not allowed."""
    mounted = []

    def mount(size: str, *options: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir(exist_ok=True)
        call = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "none", folder]
        if subprocess.run(call, capture_output=True).returncode:
            pytest.skip("no file system may be mounted here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_told_in_the_index_and_the_batch_goes_on_later(
    bars, tmp_path, notebook, small_disk
):
    page = notebook("if symbol != 'NO': print('x' * 900_000)")
    out = small_disk("640k") / "out"
    one = replace(ONCE, jobs=1)  # beside another that fills the disk it would fail, too
    given = {"source": bars, "out": out, "notebook": page, "workers": one, "progress": False}
    result = run_batch(["NO", "ON"], **given)
    assert statuses(result) == {"NO": "completed", "ON": "failed"}
    assert "No space left on device" in result.tasks[1].error
    assert result.tasks[1].error in unescape(result.index.read_text())
    assert manifest(out)["status"] == "failed" and whole(out)
    subprocess.run(["mount", "-o", "remount,size=20m", out.parent], check=True)
    again = run_batch(["NO", "ON"], **given, resume=True)
    assert again.count("completed") == 2 and len(seen(out)["ON"]) == 1 and whole(out)


def test_a_folder_that_cant_be_written_is_refused_or_told(bars, tmp_path, notebook, small_disk):
    with pytest.raises(OutputError, match="disk"):
        run_batch(["NO"], bars, small_disk("1m", "ro") / "out", progress=False)
    out = tmp_path / "out"
    out.mkdir()
    (out / "pages").write_text("no folder")
    result = run_batch(["NO"], bars, out, notebook(), workers=ONCE, progress=False)
    assert statuses(result) == {"NO": "failed"} and one_sentence(result.tasks[0].error)
    assert result.tasks[0].error in unescape(result.index.read_text())


def test_files_that_may_not_grow_are_told(bars, tmp_path, monkeypatch):
    out = tmp_path / "out"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    write = numbers.write_table

    def limited(*given):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            return write(*given)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(numbers, "write_table", limited)
    result = run_batch(["NO"], bars, out, progress=False)
    assert one_sentence(result.error) and "File too large" in result.error
    assert result.error in unescape(result.index.read_text()) and whole(out)
    assert not (out / "forecasts.parquet").exists()


def test_two_batches_never_share_a_folder(bars, tmp_path):
    with tn.files.locked(tmp_path / "out" / "manifest.json"):
        raised = []

        def other():
            with pytest.raises(OutputError, match="Another process holds") as caught:
                run_batch(["NO"], bars, tmp_path / "out", progress=False)
            raised.append(caught)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert raised


def test_forecasts_of_bars_to_come_are_kept_in_the_journal(tmp_path, monkeypatch):
    path = tmp_path / "bars.parquet"
    monkeypatch.setenv("TFTNHITS_JOURNAL", str(tmp_path / "journal"))
    daily = made_bars(("NO", "ON"), 90, freq="D")
    today = pd.Timestamp.now("UTC").tz_localize(None).normalize()
    daily.assign(date=daily["date"] + (today - daily["date"].max())).to_parquet(path, index=False)
    run_batch(None, path, tmp_path / "out", progress=False)
    run_batch(None, path, tmp_path / "again", progress=False)  # what is there is not kept twice
    kept = tn.journal().frame()
    assert sorted(kept["symbol"].unique()) == ["NO", "ON"] and len(kept) == 10
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("TFTNHITS_JOURNAL", str(blocked))
    with pytest.warns(UserWarning, match="not kept in the journal"):
        result = run_batch(None, path, tmp_path / "third", progress=False)
    assert set(statuses(result).values()) == {"completed"}


# --- the command


def test_the_command_reads_symbols_and_lists_as_typed(bars, tmp_path, capsys, monkeypatch):
    (tmp_path / "names.txt").write_text("000001\n\n ^GSPC \n")
    given = ["batch", "--source", str(bars), "-p", "horizon=2,3", "--out", str(tmp_path / "out")]
    assert cli.main([*given, "--symbols-file", str(tmp_path / "names.txt")]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^(\w+) ", out, re.MULTILINE) == ["forecasts", "index"]
    told = manifest(tmp_path / "out")
    assert told["key"]["symbols"] == ["000001", "^GSPC"]
    assert told["key"]["parameters"] == {"horizon": [2, 3]}
    assert cli.main([*given, "--symbols", "NO,XX", "--resume"]) == 2
    assert "begun with other symbols" in capsys.readouterr().err


def test_the_command_ends_with_2_and_says_how_to_go_on(bars, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert cli.main(["batch", "--source", str(bars), "--symbols", "NO,XX", "--out", out]) == 2
    done = capsys.readouterr()
    assert done.out.splitlines()[-1] == f"index      {out}/index.html"
    last = done.err.splitlines()[-1]
    assert last.startswith("error: 1 of 2 failed") and f"--out {out} --resume" in last
    for wrong in (["--symbols", "A", "--symbols-file", "f"], ["-p", "horizon=x"], ["-p", "x"]):
        assert cli.main(["batch", "--source", str(bars), *wrong]) == 2


def test_a_notebook_may_be_named_by_its_number(bars, tmp_path, monkeypatch, notebook, capsys):
    called = []
    monkeypatch.setattr(batching, "CHECKOUT", notebook().parents[1])
    fake = SimpleNamespace(plan=SimpleNamespace(notebook=None), folder=tmp_path, index="i")
    fake.count = lambda status: 0
    monkeypatch.setattr(many, "run_batch", lambda *given: called.append(given) or fake)
    words = ["-p", 'tickers=[["A","B"],["C"]]', "-p", "rate=1", "--timeout", "60"]
    assert cli.main(["batch", "--symbols", "BRK-B,NO", "--notebook", "00", *words]) == 0
    names, _, _, path, sweep, workers, *_ = called[0]
    assert names == ("BRK-B", "NO") and path.name == "00_page.ipynb"
    assert sweep == {"tickers": [["A", "B"], ["C"]], "rate": [1.0]} and workers.timeout == 60
