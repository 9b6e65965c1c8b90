"""The command as a person types it, and as a process: output, notes, exit code."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, environment, made_bars, one_sentence, python, specific, stocks
from hub_server import hub_server

import tftnhits as tn
from tftnhits.apps import cli, commands, text
from tftnhits.config import PRESETS
from tftnhits.escape import csv_text
from tftnhits.evaluation import leaderboard

COMMANDS = ("predict", "watch", "report", "batch", "train", "backtest", "export", "publish", "run")
COMMANDS += ("info",)


PAGES = ("watchlist", "report", "batches", "serving")
KINDS = ("note: ", "warning: ")


def unusual(err: str) -> str:
    """Standard error without the warnings that most forecasts of old bars carry."""
    return "".join(f"{line}\n" for line in specific(err.splitlines()))


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """Symbols are bundled here: nobody listens at the proxy; test_yahoo.py has them live."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("TFTNHITS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def typed(capsys, monkeypatch, tmp_path):
    """Runs a command in this process, in an empty folder; `stdin` are its bytes."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*args: object, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = cli.main([str(arg) for arg in args])
        return Done(code, *capsys.readouterr())

    return call


def process(*args: object, **options) -> subprocess.Popen:
    """The command as a process of its own."""
    command = [sys.executable, "-m", "tftnhits", *map(str, args)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    defaults = pipes | {"cwd": ROOT, "text": True, "env": environment()}
    return subprocess.Popen(command, **(defaults | options))


@pytest.fixture(scope="module")
def bars_csv(tmp_path_factory) -> Path:
    """The last 400 bars of two symbols."""
    path = tmp_path_factory.mktemp("bars") / "two.csv"
    stocks(("AAPL", "GOOG")).groupby("symbol").tail(400).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory, bars_csv) -> Path:
    """A small predictor trained on these bars."""
    folder = tmp_path_factory.mktemp("model")
    tn.train_predictor(tn.make_panel(tn.load_bars(bars_csv)), "tiny", folder=folder, progress=False)
    return folder


@pytest.fixture
def one_csv(tmp_path) -> Path:
    """Bars of one symbol, which the file's name gives; the name has spaces."""
    path = tmp_path / "my own bars.csv"
    made_bars(("A",), bars=80).drop(columns="symbol").to_csv(path, index=False)
    return path


def refused(done: Done, *words: str) -> None:
    """Exit code 2, nothing on stdout, and after notes one sentence that holds `words`."""
    assert (done.code, done.out) == (2, ""), done.err
    *notes, last = done.err.strip().splitlines()
    assert last.startswith("error: ") and one_sentence(last), last
    assert all(note.startswith(KINDS) for note in notes), done.err
    assert all(word in last for word in words), last


def frame_of(done: Done) -> pd.DataFrame:
    assert done.code == 0, done.err
    return pd.read_csv(io.StringIO(done.out), parse_dates=["origin", "date"])


# --- what every command has


def parse(line: str) -> str:
    """The command that `tftnhits ...` calls, its options checked by click."""
    words = shlex.split(re.split("[|<>]", line)[0], comments=True)[1:]
    command = commands.cli.commands[words[0]]
    command.make_context(words[0], words[1:])
    return words[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_that_parse_and_exit_codes(typed, command):
    done = typed(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert "Exit codes: 0 done" in done.out and "130" in done.out
    examples = re.findall(r"^ +(tftnhits .+)", done.out, re.MULTILINE)
    assert examples and {parse(line) for line in examples} == {command}


def test_the_commands_in_the_readme_and_of_their_own_pages_parse(typed):
    assert all(f"\n  {name} " in typed().err for name in COMMANDS)  # and all are in the help
    docs = ROOT / "docs"
    pages = [ROOT / "README.md", *(docs / f"{n}.md" for n in PAGES)]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    lines = re.findall(r"^tftnhits .*", text, re.MULTILINE)
    assert {parse(line) for line in lines} == set(COMMANDS)


def test_help_and_info_come_without_what_is_heavy():
    done = python("""
import importlib.abc, sys
from tftnhits.apps.cli import main
heavy = {"pandas", "scipy", "sklearn", "papermill", "matplotlib", "joblib", "jinja2", "tqdm"}
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in heavy and "torch" not in sys.modules:
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Blocker())
assert main(["--help"]) == 0 and not {"numpy", "torch"} & set(sys.modules)
sys.exit(main(["info"]))
""")
    assert done.returncode == 0, done.stderr
    assert "presets" in done.stdout


@pytest.mark.parametrize(
    "typed, offered",
    [
        ("pre", ["predict"]),
        ("train --preset v2", ["v2.0", "v2.1"]),
        ("run --preset c", ["cloud", "card"]),
    ],
)
def test_the_shell_can_complete_commands_and_presets(typed, offered):
    typed = f"tftnhits {typed}"
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    env = environment() | words | {"_TFTNHITS_COMPLETE": "bash_complete"}
    out, _ = process(env=env).communicate(timeout=120)
    assert out.split() == [f"plain,{name}" for name in offered]


def test_info_names_versions_the_shipped_model_and_presets(typed):
    done = typed("info")
    assert (done.code, done.err) == (0, "")
    words = [line.split() for line in done.out.splitlines()]
    assert ["pandas", pd.__version__] in words
    assert {line[0] for line in words} >= {*PRESETS, "modelscope", "torch"}
    assert f"shipped model: {ROOT / 'data' / 'pretrained'}" in done.out
    for name, member in tn.Predictor.load().members.items():
        assert [name, "from", str(member.context), "bars", "on"] in words
    assert typed("--version").out == f"tftnhits {tn.__version__}\n"


def test_what_libraries_print_goes_to_standard_error(capsys):
    def command():
        print("a library says hello")
        yield "data"

    cli._write(command())
    assert capsys.readouterr() == ("data\n", "a library says hello\n")


@pytest.mark.parametrize("debug", ["0", "1"])
def test_an_unexpected_exception_is_one_sentence(typed, monkeypatch, bars_csv, debug):
    def broken(*_):
        raise ZeroDivisionError("by zero\nof course")

    monkeypatch.setattr(tn.Predictor, "load", broken)
    monkeypatch.setenv("TFTNHITS_DEBUG", debug)
    done = typed("predict", bars_csv)
    assert (done.code, done.out) == (1, "")
    *before, last = done.err.splitlines()
    assert last.startswith("error: ZeroDivisionError: by zero of course;") and "report it" in last
    assert one_sentence(last) and ("Traceback" in done.err) == (debug == "1") == bool(before)


def test_ctrl_c_exits_with_130_and_says_what_goes_on(typed, monkeypatch, bars_csv):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tftnhits.forecast.predictor.train_predictor", interrupted)
    done = typed("train", bars_csv, "--out", "model", "--preset", "tiny")
    assert done == (130, "", "interrupted; the same command goes on from here\n")


USAGE = """predict
predict FILE --json --csv
predict FILE --horizon two
predict FILE --jsn
predict --plot META
predict FILE --column when
watch
watch FILE --sort colour
watch FILE --json
report
report FILE --origin soon
forecast
train FILE
train FILE --out m --train-end soon
train FILE --out m --seed -1
backtest FILE --out m --seeds 0,x"""


@pytest.mark.parametrize("line", USAGE.splitlines())
def test_wrong_usage_exits_with_2(typed, bars_csv, line):
    done = typed(*line.replace("FILE", str(bars_csv)).split())
    assert (done.code, done.out) == (2, "") and "Error: " in done.err, done.err
    assert "Traceback" not in done.err and "int()" not in done.err and os.listdir() == []


# --- predict: forms


def test_predict_gives_the_numbers_of_the_predictor(typed, bars_csv, model):
    expected = tn.Predictor.load(model).predict(tn.load_bars(bars_csv), horizon=2, level=0.8)
    options = ("--model", model, "--horizon", 2, "--level", 0.8)
    done = typed("predict", bars_csv, *options, "--json")
    assert (done.code, unusual(done.err)) == (0, "") and "3 sessions ago" in done.err
    summaries = json.loads(json.dumps(expected.summary(), default=str))
    assert len(summaries) == 2 and json.loads(done.out) == summaries
    done = typed("predict", "-", *options, "--csv", stdin=bars_csv.read_bytes())
    pd.testing.assert_frame_equal(frame_of(done), expected.frame, check_dtype=False, rtol=1e-9)


def test_the_table_is_readable(typed, bars_csv, model):
    done = typed("predict", bars_csv, "--model", model)
    assert (done.code, done.err) == (0, "")
    forecast = tn.Predictor.load(model).predict(tn.load_bars(bars_csv))
    aapl, goog, *ends, warnings = done.out.strip().split("\n\n")
    for symbol, table in {"AAPL": aapl, "GOOG": goog}.items():
        head, names, *rows = table.splitlines()
        close = forecast.bars.loc[forecast.bars["symbol"] == symbol, "close"].iloc[-1]
        assert head == f"{symbol}: close {close:,.2f} on Fri 2017-12-29"
        assert names.split() == ["step", "date", "median", "change", "lower", "upper"]
        expected = forecast.frame[forecast.frame["symbol"] == symbol]
        cells = [row.replace(",", "").replace("%", "").split()[3:] for row in rows]
        median, change, lower, upper = np.array(cells, float).T
        for shown, name in ((median, "median"), (lower, "lower"), (upper, "upper")):
            np.testing.assert_allclose(shown, expected[name], atol=0.005001)
        np.testing.assert_allclose(change, 100 * (expected["median"] / close - 1), atol=0.005001)
        assert len({len(row) for row in [names, *rows]}) == 1
    used = f"model used: {forecast.reports['AAPL'].model_used}"
    captions = {name: forecast.caption(name) for name in ("AAPL", "GOOG")}
    if len({*captions.values()}) == 1:  # then it is said once
        assert ends == [f"{used}\n{captions['AAPL']}"]
    else:
        assert ends == ["\n".join([name, used, caption]) for name, caption in captions.items()]
    texts = forecast.reports["AAPL"].warnings  # each once, though it is true of both
    assert warnings.splitlines() == [f"warning: {text}" for text in texts]


def test_a_short_history_is_answered_and_said(typed, tmp_path, bars_csv, model):
    bars = pd.read_csv(bars_csv)
    short = pd.concat([bars[bars["symbol"] == "AAPL"], bars[bars["symbol"] == "GOOG"].tail(2)])
    short.to_csv(tmp_path / "short.csv", index=False)
    done = typed("predict", tmp_path / "short.csv", "--model", model)
    assert done.code == 0
    assert "AAPL\nmodel used: ensemble" in done.out and "GOOG\nmodel used: " in done.out
    warnings = specific(done.out.strip().split("\n\n")[-1].splitlines())
    assert len(warnings) == 2  # who answers, and why no coverage is claimed
    assert all(text.startswith("warning: GOOG has 2 bars") for text in warnings)
    for form in ("--csv", "--json", "--plot"):
        told = typed("predict", tmp_path / "short.csv", "--model", model, form).err
        assert unusual(told).splitlines() == warnings


def test_names_from_data_can_not_steer_a_terminal(typed, tmp_path, model):
    odd = "\u202eLPAA 日本"
    made_bars(("A",), bars=80).assign(symbol=odd).to_csv(tmp_path / "odd.csv", index=False)
    done = typed("predict", tmp_path / "odd.csv", "--model", model)
    assert done.code == 0 and done.out.startswith("?LPAA 日本: close ")
    done = typed("predict", tmp_path / "odd.csv", "--model", model, "--json")
    assert json.loads(done.out)["symbol"] == odd
    # the same for a spreadsheet
    made_bars(("A",), bars=80).assign(symbol="=1+1").to_csv(tmp_path / "odd.csv", index=False)
    done = typed("predict", tmp_path / "odd.csv", "--model", model, "--csv")
    assert all(line.startswith("'=1+1,") for line in done.out.splitlines()[1:])
    for worse in ("a\x1b[31mb", "x" * 300):
        raw = made_bars(("A",), bars=80).assign(symbol=worse).to_csv(index=False).encode()
        refused(typed("predict", "-", "--model", model, stdin=raw), "symbol")


def test_how_a_file_is_read_can_be_told(typed, tmp_path):
    path = tmp_path / "odd.csv"
    rows = [f"0{day}/02/2020;A;1,474;1,480;1,470;1,47{day}" for day in range(1, 8)]
    bad = "01/02/2020;B;1,474;1,480;1,470;-1,474"
    path.write_text("\n".join(["when;symbol;o;h;l;c", *rows, bad]))
    given = ("predict", path, "--column", "date=when", "--decimal", ",", "--dayfirst")
    done = typed(*given)
    assert done.code == 0 and "close 1.4770 on Fri 2020-02-07" in done.out
    assert "B: left out" in done.out and "B, row 8" in done.out
    refused(typed(*given, "--strict"), "B, row 8")
    assert "on Thu 2020-07-02" in typed(*given[:-1], "--monthfirst").out
    refused(typed("predict", path, "--column", "colour=when"), "no role 'colour'")
    path.write_text(path.read_text().replace("l;c", "l;x"))
    refused(typed("predict", path), "Missing column close", "say --column close=NAME;")
    assert text.typed("columns={'high': …, 'low': …}") == "--column high=NAME --column low=NAME"


# --- predict: what is named


def test_symbols_of_the_bundled_set_say_where_they_end(typed, model):
    done = typed("predict", "meta", "--model", model, "--horizon", 1, "NVDA", "--csv")
    assert list(frame_of(done)["symbol"]) == ["META", "NVDA"]
    last = tn.load_bars("stocks", symbol="META")["date"].max()
    notes, texts = ([t for t in done.err.splitlines() if t.startswith(k)] for k in KINDS)
    assert sum("Live bars" in text and "are used" in text for text in texts) == 2
    assert [note.split(":")[1].strip() for note in notes] == ["meta", "NVDA"]
    assert all(f"bundled bars, which end on {last:%Y-%m-%d}" in note for note in notes)


def test_a_symbol_that_cannot_be_had_is_left_out_and_the_others_are_forecast(typed, model):
    done = typed("predict", "KO", "META", "--model", model, "--csv")
    assert set(frame_of(done)["symbol"]) == {"META"}
    (reason,) = [line for line in done.err.splitlines() if "'KO' is neither" in line]
    assert reason.startswith("warning: ")
    assert "KO: left out" in typed("predict", "KO", "META", "--model", model).out
    refused(typed("predict", "KO", "META", "--model", model, "--strict"), "'KO'")
    refused(typed("predict", "KO", "PEP", "--model", model), "'KO'")


def test_a_file_goes_before_a_symbol_of_the_same_name(typed, model, one_csv):
    Path("META").write_bytes(one_csv.read_bytes())
    done = typed("predict", "META", "--model", model, "--csv")
    assert unusual(done.err) == "" and frame_of(done)["median"].iloc[0] == pytest.approx(
        50, rel=0.9
    )
    os.remove("META")
    os.mkdir("META")  # nor does a folder of that name hide the symbol
    assert "bundled" in typed("predict", "META", "--model", model).err


def test_sources_that_do_not_fit_together_are_refused(typed, tmp_path, bars_csv, one_csv):
    refused(typed("predict", bars_csv, "aapl"), "'AAPL'", "'aapl'", "column 'symbol'")
    refused(typed("predict", "stocks", "META"), "'META'", "'stocks'")
    refused(typed("predict", bars_csv, bars_csv), "twice")
    refused(typed("predict", "-", "-", stdin=bars_csv.read_bytes()), "'-'", "twice")
    bare = made_bars(("A",), bars=80, freq=None).drop(columns=["symbol", "date"])
    bare.to_csv(tmp_path / "bare.csv", index=False)
    refused(typed("predict", bars_csv, tmp_path / "bare.csv"), "bare.csv", "no dates")
    alone = typed("predict", tmp_path / "bare.csv")
    assert "at bar 80\n" in alone.out and "date" not in alone.out.splitlines()[1]


def test_unknown_names_and_folders_get_an_offer(typed, tmp_path, monkeypatch):
    symbols = ("AAPL", "META", "NVDA", "'stocks'")
    refused(typed("predict", tmp_path / "none.csv"), "none.csv", "standard input", *symbols)
    refused(typed("predict", "ZZZZ"), "'ZZZZ'", *symbols)
    for odd in ("", "x" * 5000, "a\0b", "\udcff", "a\nb\x1b[0m", "日本"):
        refused(typed("predict", odd), "neither a file nor a bundled symbol")
    refused(typed("predict", tmp_path), tmp_path.name, "folder")
    monkeypatch.setenv("TFTNHITS_DATA", str(tmp_path))  # without the bundled bars
    done = typed("predict", "META")
    refused(done, "'META'", "standard input")
    assert "stocks" not in done.err


def test_standard_input_that_is_no_bars_is_refused(typed, monkeypatch, capsys):
    for raw, word in ((b"", "empty"), (b"open,high,low,close\n1,\0,1,1\n", "binary")):
        refused(typed("predict", "-", stdin=raw), word)
    monkeypatch.setattr(sys, "stdin", None)
    assert cli.main(["predict", "-"]) == 2
    assert "Standard input is closed" in capsys.readouterr().err


def test_predict_refuses_impossible_settings(typed, tmp_path, bars_csv, model):
    refused(typed("predict", bars_csv, "--model", model, "--calendar", "XNOPE"), "XNOPE")
    for option, value in (("horizon", 5000), ("horizon", 0), ("level", 1.5), ("level", "nan")):
        refused(typed("predict", bars_csv, "--model", model, f"--{option}", value), str(value))
    refused(typed("predict", bars_csv, "--model", tmp_path / "nowhere"), "nowhere")
    refused(typed("predict", bars_csv, "--model", "."), "folder '.'", "no model")
    refused(typed("predict", bars_csv, "--model", model / "predictor.json"), "is a file", "folder")


# --- predict: figures


def test_plots_go_where_they_are_sent(typed, bars_csv, one_csv, model):
    done = typed("predict", bars_csv, "--model", model, "--plot")
    assert done[:2] == (0, "AAPL.png\nGOOG.png\n") and unusual(done.err) == ""
    assert all(Path(name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for name in done.out.split())
    done = typed("predict", bars_csv, "--model", model, "--plot", "fan.png")
    assert done.out == "fan-AAPL.png\nfan-GOOG.png\n" and Path("fan-GOOG.png").exists()
    Path("file").write_text("")
    refused(typed("predict", one_csv, "--model", model, "--plot", "file/fan.png"), "file/fan.png")
    pytest.importorskip("plotly")
    done = typed("predict", one_csv, "--model", model, "--plot", "new/fan.html")
    assert (done.code, done.out) == (0, "new/fan.html\n")
    page = Path("new/fan.html").read_text(encoding="utf-8")
    assert "my own bars" in page and "<script" in page


# --- watch


def test_watch_has_a_row_a_symbol_in_the_order_typed(typed, model):
    done = typed("watch", "NVDA", "MOON", "aapl", "--model", model)
    assert done.code == 0 and "bundled bars" in done.err, done.err
    rows, notes = (part.splitlines() for part in done.out.strip().split("\n\n"))
    assert [row.split()[0] for row in rows] == ["symbol", "NVDA", "MOON", "AAPL"]
    assert max(map(len, done.out.splitlines()[: len(rows)])) <= text.WIDTH
    head = "symbol last median 80% 93% width P(up) age status trend"
    assert rows[0].split() == head.split() and "left out: 'MOON' is neither" in rows[2]
    assert any(note.startswith("model used: ensemble") for note in notes)
    assert not any("MOON" in note for note in notes) and any("Live bars" in n for n in notes)


def test_watch_as_csv_is_the_table_sorted(typed, bars_csv, model):
    table = tn.Predictor.load(model).predict(tn.load_bars(bars_csv), 2).table()
    options = ("--model", model, "--horizon", 2, "--csv")
    for sort, ascending in (("width", True), ("-width", False)):
        done = typed("watch", bars_csv, *options, "--sort", sort)
        read = pd.read_csv(io.StringIO(done.out), parse_dates=["origin", "date"])
        expected = table.sort_values("width_vs_year", ascending=ascending, ignore_index=True)
        pd.testing.assert_frame_equal(read, expected, check_dtype=False, rtol=1e-9)
        assert (done.code, done.err) == (0, "")


def test_a_watchlist_of_hostile_names_and_prices_of_any_size_fits(typed, tmp_path, model):
    names = ("A" * 60, "\N{BELL}", "=1+1")
    tiny = made_bars(("TINY",), 90)
    tiny[["open", "high", "low", "close"]] *= 1e-9
    huge = made_bars(("HUGE",), 90)
    huge[["open", "high", "low", "close"]] *= 1e9
    path = tmp_path / "bars.csv"
    pd.concat([made_bars(names, 90), tiny, huge]).to_csv(path, index=False)
    done = typed("watch", path, "--model", model)
    assert done.code == 0, done.err
    rows = done.out.split("\n\n")[0].splitlines()
    assert len(rows) == 6 and max(map(len, rows)) <= text.WIDTH
    assert "'=1+1" in typed("watch", path, "--model", model, "--csv").out


# --- train, backtest, publish


def test_train_leaves_the_predictor_that_python_trains(typed, bars_csv):
    ends = {"train_end": "2017-03-31", "valid_end": "2017-08-31"}
    command = ("train", bars_csv, "--out", "m", "--preset", "tiny", "--horizon", 3, "--seed", 5)
    command += ("--train-end", ends["train_end"], "--valid-end", "2017-8-31")
    done = typed(*command)
    assert (done.code, done.out) == (0, "m\n"), done.err
    assert re.search(r"^ensemble: \d+\.\d% of outcomes inside the 93%", done.err, re.MULTILINE)
    bars = tn.load_bars(bars_csv)
    panel = tn.make_panel(bars, tn.PanelConfig(horizon=3, **ends))
    training = replace(tn.preset("tiny")[3], seed=5)
    expected = tn.train_predictor(panel, "tiny", training, progress=False).predict(bars).frame
    found = tn.Predictor.load("m").predict(bars).frame
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6)
    assert typed(*command).out == "m\n"
    refused(typed(*command[:-1], "2017-09-30"), "m")  # another split's training states are there


def test_own_inputs_are_trained_with_and_told_ahead(typed):
    bars = made_bars(("A", "B"), 300)
    bars["vix"] = 20 + np.arange(600) % 7
    bars["earnings"] = np.arange(600) % 9 == 0
    bars.to_csv("own.csv", index=False)
    command = ("train", "own.csv", "--out", "m", "--preset", "tiny", "--observed", "vix")
    assert typed(*command, "--known", "earnings").code == 0
    refused(typed(*command[:-1], "vix,moon"), "column 'moon'")
    dates = pd.bdate_range(bars["date"].max(), periods=6)[1:]
    pd.DataFrame({"date": dates, "earnings": 1}).to_csv("dates.csv", index=False)
    predict = ("predict", "own.csv", "--model", "m", "--csv")
    plain, told = typed(*predict), typed(*predict, "--future", "dates.csv")
    assert "Nothing is known of 'earnings' on " in plain.err
    assert told.code == 0 and "earnings" not in told.err
    loaded = tn.Predictor.load("m").predict("own.csv", future="dates.csv")
    assert told.out == csv_text(loaded.frame)
    assert "no input 'vix' or 'earnings'" in typed("predict", "own.csv", "--csv").err


def test_train_from_a_model_fine_tunes_it(typed, model, tmp_path):
    made_bars(("Q",), bars=400, seed=3).to_csv("mine.csv", index=False)
    command = ("train", "mine.csv", "--from", model, "--out", "m", "--seed", 2)
    done = typed(*command)
    assert (done.code, done.out) == (0, "m\n"), done.err
    losses = re.findall(r"^(\w+): validation loss (\S+) at the start, (\S+) fine", done.err, re.M)
    assert [name for name, *_ in losses] == ["tft", "nhits", "ensemble"]
    assert "fine-tuned networks that are kept: " in done.err
    found, start = tn.Predictor.load("m"), tn.Predictor.load(model)
    assert set(found.manifest["fine-tuned"]["from"]) == {"tft", "nhits"}
    assert found.horizon == start.horizon and found.manifest["data"] == start.manifest["data"]
    assert frame_of(typed("predict", "mine.csv", "--model", "m", "--csv"))["median"].notna().all()
    assert typed(*command).out == "m\n"  # from its states
    refused(typed("train", "mine.csv", "--from", "shipped", "--out", "m"), "start from", "m")


def test_train_from_a_model_refuses_what_it_can_not_do(typed, model, bars_csv):
    for option in (("--preset", "quick"), ("--horizon", 5)):  # typed, be it the default
        done = typed("train", bars_csv, "--from", model, "--out", "m", *option)
        assert (done.code, done.out) == (2, "") and f"{option[0]} is not allowed" in done.err
    refused(typed("train", bars_csv, "--from", "nowhere", "--out", "m"), "nowhere")
    made_bars(("Q",), bars=26).to_csv("few.csv", index=False)
    refused(typed("train", "few.csv", "--from", model, "--out", "m"), "26 bars", "give at least")
    assert os.listdir() == ["few.csv"]


def test_train_and_backtest_refuse_before_they_work(typed, bars_csv):
    for command in ("train", "backtest"):
        refused(typed(command, bars_csv, "--out", "m", "--preset", "huge"), "huge", *PRESETS)
    common = ("backtest", bars_csv, "--out", "m")
    refused(typed(*common, "--seeds", "1,1"), "seeds")
    refused(typed(*common, "--start", "2013-01-01", "--end", "2012-01-01"), "2013-01-01")
    assert os.listdir() == []
    refused(typed(*common, "--members", "HAR,Prophet"), "Prophet", "HAR")
    Path("file").write_text("")
    refused(typed("train", bars_csv, "--out", "file"), "file", "--out")
    refused(typed("train", "ZZZZ", "--out", "m"), "ZZZZ")
    dates = ("--train-end", "2017-06-30", "--valid-end", "2017-01-31")
    done = typed("train", bars_csv, "--out", "m", *dates)
    refused(done, "train_end 2017-06-30 comes after", "valid_end 2017-01-31;")
    assert os.listdir() == ["file"]  # and no empty folders are left


def test_a_device_that_is_not_here_is_refused(typed, bars_csv):
    named = ("--device", "cuda:99")
    for command in ("predict", "watch", "report"):
        refused(typed(command, bars_csv, *named), "cuda:99", "choose one of auto, ")
    for how in (("--preset", "tiny"), ("--from", "shipped")):
        line = ("train", bars_csv, "--out", "m", *how, *named)
        refused(typed(*line), "cuda:99", "choose one of auto, ")
    assert os.listdir() == []
    days = ("--start", "2018-01-01", "--members", "TFT")
    for line in (
        ("batch", "--source", bars_csv, "-p", "device=cuda:99"),
        ("backtest", "stocks", "--out", "m", "--preset", "tiny", *days, *named),
    ):
        done = typed(*line)  # after a bar
        assert (done.code, done.out) == (2, "") and "no device 'cuda:99' here; " in done.err


def test_backtest_prints_the_leaderboard(typed, tmp_path):
    pytest.importorskip("arch")
    stocks(("AAPL", "GOOG"), "2011-01-01", "2013-12-31").to_csv(tmp_path / "a.csv", index=False)
    command = ("backtest", tmp_path / "a.csv", "--out", "walk", "--preset", "tiny")
    command += ("--start", "2013-01-01", "--months", 6, "--horizon", 2)
    command += ("--members", "HAR, EWMA,random walk")
    done = typed(*command)
    assert done.code == 0 and "backtest:" in done.err, done.err
    expected = leaderboard.summary(tn.Backtest.load("walk").frame)
    _, *rows = done.out.split("\n\n")[0].splitlines()
    assert [row[: len(name)] for row, name in zip(rows, expected.index)] == list(expected.index)
    runs = {path: path.stat().st_mtime_ns for path in Path("walk/runs").iterdir()}
    assert runs
    found = pd.read_csv(io.StringIO(typed(*command, "--csv").out), index_col="forecaster")
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    rows = json.loads(typed(*command, "--json").out)
    assert [row["forecaster"] for row in rows] == list(expected.index)
    assert [row["dm_p"] for row in rows if row["forecaster"] == "HAR"] == [None]
    # resumed: nothing was made again
    assert runs == {path: path.stat().st_mtime_ns for path in runs}
    refused(typed(*command, "--months", 12), "walk", "months")


def test_a_small_p_value_is_not_printed_as_zero():
    board = pd.DataFrame({"pinball_sd": 0.0, "dm_p": [0.0004, 0.02, None]}, list("abc"))
    rows = text.leaderboard_text(board).splitlines()[1:4]
    assert [row.split(maxsplit=1)[1] for row in rows] == ["< .001", "0.020", "-"]


def test_publish_prints_what_went_up_and_the_id_predicts(
    typed, tmp_path, monkeypatch, bars_csv, model
):
    pytest.importorskip("modelscope_hub")
    refused(typed("publish", model, "not-an-id"), "'not-an-id'", "owner/name")
    for name in ("CACHE", "HOME"):
        monkeypatch.setenv(f"MODELSCOPE_{name}", str(tmp_path / name))
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms-secret-0123456789")
    with hub_server() as hub:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.address)
        refused(typed("publish", tmp_path / "none", "me/small"), "none")
        done = typed("publish", model, "me/small", "--private")
        assert done.out.split() == sorted(hub.models["me/small"]) and hub.private == {"me/small"}
        loaded = typed("predict", bars_csv, "--model", "me/small", "--csv")
        refused(typed("predict", bars_csv, "--model", "me/other"), "me/other")
    direct = typed("predict", bars_csv, "--model", model, "--csv")
    assert (loaded.code, loaded.out) == (0, direct.out)
    assert "secret" not in done.out + done.err + loaded.err


# --- run


def test_run_executes_and_ends_with_the_report(typed, tmp_path, make_notebook):
    make_notebook("00_first", "1", parameters="preset = 'quick'\nticker = 'X'\nrun_dir = '.'")
    folder = make_notebook("01_second", "1 / 0")
    out = tmp_path / "out"
    where = ("--notebooks", folder, "--out", out)
    refused(typed("run", *where, "--preset", "huge"), "huge", *PRESETS)
    refused(typed("run", *where, "--only", "05"), "'05'", "00_first")
    refused(typed("run", *where, "-p", "tikcer=AAPL"), "'tikcer'", "ticker")
    refused(typed("run", *where, "--timeout", "0"), "time-out")
    refused(typed("run", "--notebooks", tmp_path / "none"), "none")
    assert not out.exists()
    done = typed("run", *where, "--only", "00", "--preset", "tiny", "-p", "ticker=NO")
    assert done.code == 0, done.err
    assert done.out.split() == ["report", str(out / "index.html")]
    told = json.loads((out / "manifest.json").read_text())
    assert told["given"] == {"preset": "tiny", "ticker": "NO"}
    assert [notebook["name"] for notebook in told["notebooks"]] == ["00_first"]
    done = typed("run", *where, "--only", "01")
    assert (done.code, done.out) == (2, "") and "Traceback" not in done.err
    assert "error: 01_second.ipynb failed at code cell 3: ZeroDivisionError" in done.err


# --- pipes


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_it_pipes(tmp_path, bars_csv, model):
    """A reader that stops; a full disk; closed streams; ASCII alone: all side by side."""
    made_bars(("Größe",), bars=70).to_csv(tmp_path / "a.csv", index=False)
    ascii_only = environment() | {"PYTHONIOENCODING": "ascii"}
    plain = process("predict", tmp_path / "a.csv", "--model", model, env=ascii_only)
    command = ("predict", bars_csv, "--model", model, "--csv")
    with open("/dev/full", "w") as full:
        headless = process(*command)
        headless.stdout.close()  # `| head` that is gone
        disk = process(*command, stdout=full)
        mute = process(*command, stdout=None, preexec_fn=lambda: os.close(1))
    ends = [(p.wait(240), unusual(p.stderr.read())) for p in (headless, disk, mute)]
    assert ends[0] == (0, "")
    assert ends[1][0] == 2 and re.fullmatch("error: [^\n]*No space left[^\n]*\n", ends[1][1])
    assert ends[2][0] == 2 and re.fullmatch("error: Standard output is closed[^\n]*\n", ends[2][1])
    out, err = plain.communicate(timeout=240)
    assert (plain.returncode, err) == (0, "") and out.startswith(r"Gr\xf6\xdfe: close ")
