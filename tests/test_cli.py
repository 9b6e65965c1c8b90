"""The command as a person types it: its output, its notes, its exit code; as a process where pipes are the point."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from helpers import ROOT, environment, made_bars, one_sentence, python, stocks
from hub_server import hub_server
from hypothesis import example, given
from hypothesis import strategies as st

import tftnhits as tn
from tftnhits.apps import cli, sources, text
from tftnhits.config import PRESETS
from tftnhits.evaluation import leaderboard
from tftnhits.files import safe_name

COMMANDS = ("predict", "train", "backtest", "publish", "run", "info")


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """Symbols are bundled here: nobody listens at the proxy, and the cache is empty; test_yahoo.py has them live."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("TFTNHITS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def typed(capsys, monkeypatch, tmp_path):
    """Runs a command in this process, in an empty folder; `stdin` are its bytes."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def call(*args: object, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            code = cli.main(list(map(str, args)))
        except SystemExit as left:  # argparse
            code = left.code
        return Done(code, *capsys.readouterr())

    return call


def process(*args: object, **options) -> subprocess.Popen:
    """The command as a process of its own."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-m", "tftnhits", *map(str, args)]
    return subprocess.Popen(
        command, **({"cwd": ROOT, "text": True, "env": environment()} | pipes | options)
    )


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
    assert all(note.startswith("note: ") for note in notes), done.err
    for word in words:
        assert word in last


def misused(done: Done, *words: str) -> None:
    """Exit code 2 and how to use the command."""
    assert (done.code, done.out) == (2, "") and done.err.startswith("usage: tftnhits"), done.err
    for word in words:
        assert word in done.err


# --- what every command has


def test_no_command_shows_help(typed):
    done = typed()
    assert (done.code, done.out) == (2, "") and all(
        f"\n    {name} " in done.err for name in COMMANDS
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_that_parse_and_exit_codes(typed, command):
    done = typed(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert "exit codes: 0 done" in done.out and "130" in done.out
    examples = re.findall(r"^  tftnhits ([^|<>\n]+)", done.out, re.MULTILINE)
    assert examples
    for line in examples:
        assert cli.parse(line.replace("'", "").split()).command.__name__ == command


def test_the_commands_in_the_readme_parse():
    lines = re.findall(
        r"^tftnhits .*", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    found = [cli.parse(shlex.split(re.split("[|<]", line)[0], comments=True)[1:]) for line in lines]
    assert {args.command.__name__ for args in found} == set(COMMANDS)


def test_help_and_info_come_without_what_is_heavy():
    done = python("""
import importlib.abc, sys
from tftnhits.apps.cli import main
heavy = {"pandas", "scipy", "sklearn", "papermill", "matplotlib", "joblib", "nbformat", "modelscope", "tqdm"}
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in heavy and "torch" not in sys.modules:
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Blocker())
try:
    main(["--help"])
except SystemExit as left:
    assert left.code == 0
assert not {"numpy", "torch"} & set(sys.modules)
sys.exit(main(["info"]))
""")
    assert done.returncode == 0, done.stderr
    assert "presets" in done.stdout


def test_info_names_versions_the_shipped_model_and_presets(typed):
    done = typed("info")
    assert (done.code, done.err) == (0, "")
    assert re.search(rf"^  pandas +{re.escape(pd.__version__)}$", done.out, re.MULTILINE)
    assert re.search(r"^  modelscope +\S", done.out, re.MULTILINE)
    assert all(
        re.search(rf"^  {name} +(enhanced|classic), TFT hidden", done.out, re.MULTILINE)
        for name in PRESETS
    )
    shipped = tn.Predictor.load()
    assert (
        f"shipped model: {ROOT / 'data' / 'pretrained'}" in done.out
        and f"{shipped.horizon} bars ahead" in done.out
    )
    for name in ("tft", "nhits"):
        member = shipped.members[name]
        line = rf"^  {name} +{len(member.models)} networks? +from {member.context} bars on$"
        assert re.search(line, done.out, re.MULTILINE), done.out
    assert done.out.splitlines()[-1].startswith("torch ")


def test_version(typed):
    assert typed("--version").out == f"tftnhits {tn.__version__}\n"


def test_what_libraries_print_goes_to_standard_error(capsys):
    def command():
        print("a library says hello")
        yield "data"

    cli._answer(command(), sys.stdout)
    assert capsys.readouterr() == ("data\n", "a library says hello\n")


@pytest.mark.parametrize("debug", [None, "0", "1"])
def test_an_unexpected_exception_is_one_sentence(typed, monkeypatch, bars_csv, debug):
    def broken(*_):
        raise ZeroDivisionError("by zero\nof course")

    monkeypatch.setattr(tn.Predictor, "load", broken)
    if debug is not None:
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
    assert (done.code, done.out) == (130, "")
    assert done.err == "interrupted; the same command goes on from here\n"


# --- predict: forms


def test_predict_gives_the_numbers_of_the_predictor(typed, bars_csv, model):
    expected = tn.Predictor.load(model).predict(tn.load_bars(bars_csv), horizon=2, level=0.8)
    done = typed("predict", bars_csv, "--model", model, "--horizon", 2, "--level", 0.8, "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert len(found) == 2
    for one, other in zip(found, expected.summary()):
        assert one["prediction"] == pytest.approx(other["prediction"], rel=1e-9)
        assert one["interval"]["lower"] == pytest.approx(other["interval"]["lower"], rel=1e-9)
        assert {
            k: one[k] for k in ("symbol", "origin", "model_used", "confidence", "warnings")
        } == {k: other[k] for k in ("symbol", "origin", "model_used", "confidence", "warnings")}
    raw = bars_csv.read_bytes()
    done = typed(
        "predict", "-", "--model", model, "--horizon", 2, "--level", 0.8, "--csv", stdin=raw
    )
    assert (done.code, done.err) == (0, "")
    frame = pd.read_csv(io.StringIO(done.out), parse_dates=["origin", "date"])
    assert list(frame.columns) == list(expected.frame.columns)
    pd.testing.assert_frame_equal(frame, expected.frame, check_dtype=False, rtol=1e-9)


def test_a_calendar_tells_the_dates_ahead(typed, one_csv, model):
    pytest.importorskip("exchange_calendars")
    for name, weekend in (("XNYS", False), ("24/7", True)):  # the last bar is a Friday's
        found = typed("predict", one_csv, "--csv", "--model", model, "--calendar", name).out
        dates = pd.read_csv(io.StringIO(found), parse_dates=["date"])["date"]
        assert (dates.dt.day_of_week >= 5).any() == weekend
    refused(typed("predict", one_csv, "--model", model, "--calendar", "XNOPE"), "XNOPE")


def test_one_symbol_is_one_json_object(typed, one_csv, model):
    found = json.loads(typed("predict", one_csv, "--model", model, "--json").out)
    assert found["symbol"] == "my own bars" and len(found["prediction"]) == 5


def test_the_table_is_readable(typed, bars_csv, model):
    done = typed("predict", bars_csv, "--model", model)
    assert (done.code, done.err) == (0, "")
    forecast = tn.Predictor.load(model).predict(tn.load_bars(bars_csv))
    aapl, ibm, end = done.out.strip().split("\n\n")
    for symbol, table in {"AAPL": aapl, "GOOG": ibm}.items():
        head, names, *rows = table.splitlines()
        close = float(forecast.bars.loc[forecast.bars["symbol"] == symbol, "close"].iloc[-1])
        assert head == f"{symbol}: close {close:,.2f} on Fri 2017-12-29"
        assert names.split() == ["step", "date", "median", "change", "lower", "upper"]
        part = forecast.frame[forecast.frame["symbol"] == symbol]
        for row, own in zip(rows, part.itertuples(), strict=True):
            step, *day, median, change, lower, upper = row.split()
            assert (int(step), day[1]) == (own.step, str(own.date.date()))
            cells = [float(x.replace(",", "")) for x in (median, lower, upper)]
            assert cells == pytest.approx([own.median, own.lower, own.upper], abs=0.005001)
            assert float(change.rstrip("%")) == pytest.approx(
                100 * (own.median / close - 1), abs=0.005001
            )
        assert len({len(row) for row in [names, *rows]}) == 1
    assert end.splitlines() == [
        f"model used: {forecast.reports['AAPL'].model_used}",
        forecast.caption("AAPL"),
    ]


def test_a_short_history_is_answered_and_said(typed, tmp_path, bars_csv, model):
    bars = pd.read_csv(bars_csv)
    short = pd.concat([bars[bars["symbol"] == "AAPL"], bars[bars["symbol"] == "GOOG"].tail(2)])
    (tmp_path / "short.csv").write_text(short.to_csv(index=False))
    done = typed("predict", tmp_path / "short.csv", "--model", model)
    assert done.code == 0
    assert "AAPL\nmodel used: ensemble" in done.out and "GOOG\nmodel used: " in done.out
    warning = done.out.strip().splitlines()[-1]
    assert warning.startswith("warning: ") and "GOOG has 2 bars" in warning
    for form in ("--csv", "--json", "--plot"):
        assert (
            typed("predict", tmp_path / "short.csv", "--model", model, form).err == warning + "\n"
        )


@pytest.mark.parametrize(
    ("width", "digits"),
    [(1.03, 2), (0.66, 2), (0.02, 4), (0.3, 2), (1e-7, 9), (1e9, 2), (0, 6), (float("nan"), 6)],
)
def test_prices_have_the_digits_that_their_interval_needs(width, digits):
    assert text._digits(width) == digits


def test_names_from_data_can_not_steer_a_terminal(typed, tmp_path, model):
    assert text.printable("a\x1b[31mb\u202e\r\n日本") == r"a\x1b[31mb\u202e\r\n日本"
    odd = "\u202eLPAA 日本"
    made_bars(("A",), bars=80).assign(symbol=odd).to_csv(tmp_path / "odd.csv", index=False)
    done = typed("predict", tmp_path / "odd.csv", "--model", model)
    assert done.code == 0 and done.out.startswith(r"\u202eLPAA 日本: close ")
    assert (
        json.loads(typed("predict", tmp_path / "odd.csv", "--model", model, "--json").out)["symbol"]
        == odd
    )
    for worse in ("a\x1b[31mb", "x" * 300):
        raw = made_bars(("A",), bars=80).assign(symbol=worse).to_csv(index=False).encode()
        refused(typed("predict", "-", "--model", model, stdin=raw), "symbol")


def test_bars_without_dates_are_counted(typed, tmp_path, model):
    made_bars(("A",), bars=80, freq=None).drop(columns=["symbol", "date"]).to_csv(
        tmp_path / "bare.csv", index=False
    )
    done = typed("predict", tmp_path / "bare.csv", "--model", model)
    assert done.code == 0 and "no dates" in done.err
    head, names, *_ = done.out.splitlines()
    assert head.endswith("at bar 80") and "date" not in names


# --- predict: what is named


def test_symbols_of_the_bundled_set_say_where_they_end(typed, bars_csv, model):
    done = typed("predict", "meta", "--model", model, "--horizon", 1, "NVDA", "--csv")
    assert done.code == 0
    assert list(pd.read_csv(io.StringIO(done.out))["symbol"]) == ["META", "NVDA"]
    last = tn.load_bars("stocks", symbol="META")["date"].max()
    notes = done.err.splitlines()
    assert [note.split(":")[1].strip() for note in notes] == ["meta", "NVDA"]
    assert all(f"bundled bars, which end on {last:%Y-%m-%d}" in note for note in notes)


def test_files_and_symbols_are_one_panel(typed, tmp_path, bars_csv, one_csv, model):
    done = typed("predict", bars_csv, "META", one_csv, "--model", model, "--csv")
    assert done.code == 0
    bars = pd.concat(
        [tn.load_bars(bars_csv), tn.load_bars("stocks", symbol="META"), tn.load_bars(one_csv)]
    )
    expected = tn.Predictor.load(model).predict(bars).frame
    found = pd.read_csv(io.StringIO(done.out), parse_dates=["origin", "date"])
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-9)


def test_a_file_goes_before_a_symbol_of_the_same_name(typed, model, one_csv):
    Path("META").write_bytes(one_csv.read_bytes())
    done = typed("predict", "META", "--model", model, "--csv")
    assert (done.code, done.err) == (0, "")
    assert pd.read_csv(io.StringIO(done.out))["median"].iloc[0] == pytest.approx(50, rel=0.9)
    os.remove("META")
    os.mkdir("META")  # nor does a folder of that name hide the symbol
    assert "bundled" in typed("predict", "META", "--model", model).err


def test_one_symbol_from_two_sources_is_refused(typed, tmp_path, bars_csv, one_csv):
    refused(typed("predict", bars_csv, "aapl"), "'AAPL'", "'aapl'", "column 'symbol'")
    refused(typed("predict", "stocks", "META"), "'META'", "'stocks'")
    refused(typed("predict", bars_csv, bars_csv), "twice")
    refused(typed("predict", "-", "-", stdin=bars_csv.read_bytes()), "'-'", "twice")
    other = tmp_path / "other" / one_csv.name
    other.parent.mkdir()
    other.write_bytes(one_csv.read_bytes())
    refused(typed("predict", one_csv, other), "'my own bars'", "the file's name is the symbol")


def test_bars_with_and_without_dates_do_not_mix(typed, tmp_path, bars_csv):
    made_bars(("A",), bars=80, freq=None).drop(columns=["symbol", "date"]).to_csv(
        tmp_path / "bare.csv", index=False
    )
    refused(typed("predict", bars_csv, tmp_path / "bare.csv"), "bare.csv", "no dates")


def test_what_is_repaired_is_said(typed, tmp_path, model):
    bars = made_bars(("A",), bars=80)
    bars.loc[40, "close"] = float("nan")
    bars.to_csv(tmp_path / "hole.csv", index=False)
    done = typed("predict", tmp_path / "hole.csv", "--model", model, "--csv")
    day = bars["date"][40].date()
    assert done.code == 0
    assert (
        done.err == f"note: {tmp_path / 'hole.csv'}, A: missing close filled (1 x, first {day})\n"
    )


def test_unknown_names_and_folders_get_an_offer(typed, tmp_path, bars_csv):
    symbols = ("AAPL", "META", "NVDA", "'stocks'")
    refused(typed("predict", tmp_path / "none.csv"), "none.csv", "standard input", *symbols)
    refused(typed("predict", "ZZZZ"), "'ZZZZ'", *symbols)
    refused(typed("predict", ""), "''")
    for odd in ("x" * 5000, "a\0b", "\udcff", "a\nb\x1b[0m", "日本"):
        refused(typed("predict", odd), "neither a file nor a bundled symbol")
    refused(typed("predict", tmp_path / "here"), "here", "without CSV or Parquet")
    refused(typed("predict", bars_csv.parent), str(bars_csv))


def test_without_the_bundled_bars_symbols_are_not_offered(typed, tmp_path, monkeypatch):
    monkeypatch.setenv("TFTNHITS_DATA", str(tmp_path))
    done = typed("predict", "META")
    refused(done, "'META'", "standard input")
    assert "stocks" not in done.err


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"date,open\n2020-01-01,1\n", "close"),
        (b"open,high,low,close\n", "no row"),
        (b"open,high,low,close\n1,1,1,x\n", "'x'"),
        ("open,high,low,close\n1,1,1,1\n".encode("utf-16"), "1 bars"),
        ("symbol,open,high,low,close\nÖ,1,1,1,1\n".encode("latin-1"), "Ö has 1 bars"),
        (b"\x80\x04\x95\x0b\0\0\0", "binary"),
        (b"open,high,low,close\n1,\0,1,1\n", "binary"),
        (b"PAR1 but no more", "Parquet"),
    ],
)
def test_standard_input_that_is_no_bars_is_refused(typed, raw, word):
    refused(typed("predict", "-", stdin=raw), word)


def test_closed_standard_input_is_refused(typed, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert cli.main(["predict", "-"]) == 2
    assert "Standard input is closed" in capsys.readouterr().err


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_few_rows_get_an_answer_or_a_sentence(typed, model, rows):
    raw = made_bars(("A",), bars=rows).to_csv(index=False).encode("utf-8-sig")  # as Excel writes it
    done = typed("predict", "-", "--model", model, "--json", stdin=raw)
    if rows == 1:
        return refused(done, "A has 1 bar")
    found = json.loads(done.out)
    assert done.code == 0 and found["symbol"] == "A" and len(found["prediction"]) == 5
    assert found["model_used"] and f"warning: {found['warnings'][0]}\n" in done.err


def test_predict_refuses_impossible_settings(typed, tmp_path, bars_csv, model):
    refused(typed("predict", bars_csv, "--model", model, "--horizon", 5000), "5000")
    refused(typed("predict", bars_csv, "--model", model, "--horizon", 0), "0")
    for level in ("1.5", "0", "nan", "-1"):
        refused(typed("predict", bars_csv, "--model", model, f"--level={level}"), level)
    refused(typed("predict", bars_csv, "--model", tmp_path / "nowhere"), "nowhere")


def test_wrong_usage_exits_with_2(typed, bars_csv):
    misused(typed("predict"), "FILE|SYMBOL")
    misused(typed("predict", bars_csv, "--json", "--csv"), "not allowed")
    misused(typed("predict", bars_csv, "--horizon", "two"), "'two'")
    misused(typed("predict", bars_csv, "--jsn"), "--jsn")
    misused(typed("predict", "--plot", "META"), "'META'", ".png", ".html")
    misused(typed("info", "me"), "me")
    misused(typed("forecast"), "forecast")


# --- predict: figures


def test_plots_go_into_the_current_folder(typed, bars_csv, model):
    done = typed("predict", bars_csv, "--model", model, "--plot")
    assert (done.code, done.out, done.err) == (0, "AAPL.png\nGOOG.png\n", "")
    assert all(Path(name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for name in done.out.split())
    assert sorted(os.listdir()) == ["AAPL.png", "GOOG.png"]


def test_plots_go_where_they_are_sent(typed, bars_csv, one_csv, model):
    pytest.importorskip("plotly")
    done = typed("predict", one_csv, "--model", model, "--plot", "new/fan.html")
    assert (done.code, done.out) == (0, "new/fan.html\n")
    page = Path("new/fan.html").read_text(encoding="utf-8")
    assert "my own bars" in page and "<script" in page
    done = typed("predict", bars_csv, "--model", model, "--plot", "fan.png")
    assert done.out == "fan-AAPL.png\nfan-GOOG.png\n" and Path("fan-GOOG.png").exists()
    Path("file").write_text("")
    refused(typed("predict", one_csv, "--model", model, "--plot", "file/fan.png"), "file/fan.png")


def test_figures_of_odd_symbols_stay_in_the_folder(typed, tmp_path, model):
    names = ["../../x", "/etc/passwd", "a/b", "$^{", "x" * 100, "..", "日本"]
    made_bars(tuple(names), bars=70).to_csv(tmp_path / "odd.csv", index=False)
    before = set(tmp_path.rglob("*"))
    done = typed("predict", tmp_path / "odd.csv", "--model", model, "--plot", "fan.png")
    assert done.code == 0, done.err
    made = set(tmp_path.rglob("*")) - before
    assert len(made) == len(names) and all(path.parent == tmp_path / "here" for path in made)
    assert {path.name for path in made} == set(done.out.split())


HOSTILE = (
    "../../x",
    "/etc/passwd",
    "a\0b",
    "x" * 300,
    "",
    ".",
    "..",
    "-rf",
    "~",
    "CON",
    "nul.txt",
    "a\\b",
    "C:x",
)
LOOK_ALIKE = (
    "..∕x",
    "․․／x",
    "АAPL",
    "a\u202egnp.exe",
    "a\u0301",
    "\udcff",
    "AAPL\u200b",
    "aapl\n",
)


def test_usual_symbols_keep_their_names():
    for name in (
        "AAPL",
        "BRK.B",
        "BRK-B",
        "^GSPC",
        "EURUSD=X",
        "BTC-USD",
        "005930.KS",
        "my bars",
        "X",
    ):
        assert safe_name(name) == name


@given(
    st.one_of(
        st.text(max_size=300),
        st.text('./\\~-:*?"<>|\0\n ab', max_size=20),
        st.sampled_from(HOSTILE),
    )
)
@example("AAPL-0123abcd")
def test_safe_names_stay_in_their_folder(name):
    found = safe_name(name)
    assert re.fullmatch(r"[A-Za-z0-9^_][A-Za-z0-9^_=+. -]{0,79}", found) and len(found) <= 80
    assert found[-1] not in ". " and found == safe_name(name)
    assert Path("folder", f"{found}.png").resolve().parent == Path("folder").resolve()
    assert not re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)", found.split(".")[0])
    assert found == name or re.search("-[0-9a-f]{8}$", found)


@given(st.lists(st.text(max_size=12), unique=True, max_size=8))
def test_different_texts_have_different_names(names):
    assert len({safe_name(name) for name in names}) == len(names)
    assert all(
        safe_name(safe_name(name)) != safe_name(name) for name in names if safe_name(name) != name
    )


def test_hostile_and_look_alike_names_become_plain_files(tmp_path):
    names = (*HOSTILE, *LOOK_ALIKE)
    for name in names:
        assert safe_name(name) != name and safe_name(name).isascii()
        (tmp_path / f"{safe_name(name)}.png").write_text(
            name, encoding="utf-8", errors="surrogatepass"
        )
    assert len(os.listdir(tmp_path)) == len(names)


# --- train, backtest, publish


def test_train_leaves_the_predictor_that_python_trains(typed, bars_csv):
    ends = {"train_end": "2017-03-31", "valid_end": "2017-08-31"}
    command = ("train", bars_csv, "--out", "m", "--preset", "tiny", "--horizon", 3, "--seed", 5)
    command += ("--train-end", ends["train_end"], "--valid-end", "2017-8-31")
    done = typed(*command)
    assert (done.code, done.out) == (0, "m\n"), done.err
    for name in ("tft", "nhits"):
        assert re.search(
            rf"^{name}: best validation loss \d\.\d{{4}}, 1 epochs trained$", done.err, re.MULTILINE
        )
    assert re.search(
        r"^ensemble: \d+\.\d% of outcomes inside the 93% interval", done.err, re.MULTILINE
    )
    panel = tn.make_panel(tn.load_bars(bars_csv), tn.PanelConfig(horizon=3, **ends))
    training = replace(tn.preset("tiny")[3], seed=5)
    expected = (
        tn.train_predictor(panel, "tiny", training, progress=False)
        .predict(tn.load_bars(bars_csv))
        .frame
    )
    found = tn.Predictor.load("m").predict(tn.load_bars(bars_csv)).frame
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6)
    again = typed(*command)
    assert (again.code, again.out) == (0, "m\n")
    refused(typed(*command[:-1], "2017-09-30"), "m")  # another split's training states are there


def test_train_refuses_before_it_trains(typed, bars_csv, tmp_path):
    misused(typed("train", bars_csv), "--out")
    misused(typed("train", bars_csv, "--out", "m", "--train-end", "soon"), "'soon'", "2012-01-31")
    misused(typed("train", bars_csv, "--out", "m", "--train-end", f"1-{10**30}-1"), "no date")
    for seed in ("-1", "1.5", "9" * 5000):
        misused(typed("train", bars_csv, "--out", "m", "--seed", seed), f"'{seed}'")
    misused(typed("train", bars_csv, "--out", "m", "--horizon", "0"), "'0'")
    refused(typed("train", bars_csv, "--out", "m", "--preset", "huge"), "huge", *PRESETS)
    assert os.listdir() == []
    Path("file").write_text("")
    refused(typed("train", bars_csv, "--out", "file"), "file", "--out")
    refused(typed("train", "ZZZZ", "--out", "m"), "ZZZZ")
    dates = ("--train-end", "2017-06-30", "--valid-end", "2017-01-31")
    refused(typed("train", bars_csv, "--out", "m", *dates), "2017-06-30", "2017-01-31")


@pytest.fixture(scope="module")
def early_csv(tmp_path_factory) -> Path:
    """Bars to walk through."""
    path = tmp_path_factory.mktemp("early") / "early.csv"
    stocks(("AAPL", "GOOG"), "2011-01-01", "2013-12-31").to_csv(path, index=False)
    return path


def test_backtest_prints_the_leaderboard(typed, early_csv):
    pytest.importorskip("arch")
    command = (
        "backtest",
        early_csv,
        "--out",
        "walk",
        "--preset",
        "tiny",
        "--start",
        "2013-01-01",
        "--months",
        6,
    )
    command += ("--members", "HAR, EWMA,random walk", "--horizon", 2)
    done = typed(*command)
    assert done.code == 0 and "backtest:" in done.err, done.err
    expected = leaderboard.summary(tn.Backtest.load("walk").frame)
    head, *rows = done.out.split("\n\n")[0].splitlines()
    assert [row[: len(name)] for row, name in zip(rows, expected.index)] == list(expected.index)
    assert head.split()[:2] == ["forecaster", "loss"] and "p: beats HAR" in head
    assert [float(row.split()[-6]) for row in rows] == pytest.approx(
        expected["pinball"].tolist(), abs=0.00501
    )
    stamp = Path("walk/manifest.json").stat().st_mtime_ns
    parts = {path: path.stat().st_mtime_ns for path in Path("walk/parts").glob("*.parquet")}
    found = pd.read_csv(io.StringIO(typed(*command, "--csv").out), index_col="forecaster")
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    rows = json.loads(typed(*command, "--json").out)
    assert [row["forecaster"] for row in rows] == list(expected.index)
    assert [row["dm_p"] for row in rows if row["forecaster"] == "HAR"] == [None]
    assert parts == {
        path: path.stat().st_mtime_ns for path in parts
    }  # resumed: nothing was made again
    assert Path("walk/manifest.json").stat().st_mtime_ns > stamp
    refused(typed(*command, "--months", 12), "walk", "months")


def test_backtest_refuses_before_it_walks(typed, early_csv):
    common = ("backtest", early_csv, "--out", "walk")
    misused(typed("backtest", early_csv), "--out")
    misused(typed(*common, "--start", "1.2.2012"), "2012-01-31")
    misused(typed(*common, "--jobs", "0"), "'0'")
    misused(typed(*common, "--months", "1000000000"), "1000")
    misused(typed(*common, "--seeds", "0,x"), "'x'")
    refused(typed(*common, "--seeds", "1,1"), "seeds")
    refused(
        typed(*common, "--start", "2013-01-01", "--end", "2012-01-01"), "2013-01-01", "2012-01-01"
    )
    refused(typed(*common, "--preset", "huge"), "huge")
    assert os.listdir() == []
    refused(typed(*common, "--members", "HAR,Prophet"), "Prophet", "HAR")


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
        assert done.code == 0, done.err
        assert done.out.split() == sorted(hub.models["me/small"]) and "predictor.json" in done.out
        assert hub.private == {"me/small"}
        loaded = typed("predict", bars_csv, "--model", "me/small", "--csv")
        assert loaded.code == 0, loaded.err
        refused(typed("predict", bars_csv, "--model", "me/other"), "me/other")
    assert loaded.out == typed("predict", bars_csv, "--model", model, "--csv").out
    assert "secret" not in done.out + done.err + loaded.err


# --- run


def test_unknown_preset_and_notebook_are_refused(typed, tmp_path, make_notebook):
    folder = make_notebook("00_first", "1", parameters='run_dir = "."\npreset = "quick"')
    where = ("--notebooks", folder, "--out", tmp_path / "out")
    refused(typed("run", *where, "--preset", "huge"), "huge", *PRESETS)
    refused(typed("run", *where, "--only", "05"), "'05'", "00_first")
    refused(typed("run", *where, "-p", "ticker=AAPL"), "'ticker'", "00_first.ipynb", "preset")
    refused(typed("run", *where, "--timeout", "0"), "time-out")
    refused(typed("run", "--notebooks", tmp_path / "none"), "none")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    refused(
        typed("run", "--notebooks", folder, "--out", tmp_path / "file" / "out"), "file/out", "--out"
    )


def test_run_executes_and_ends_with_the_report(typed, tmp_path, make_notebook):
    make_notebook("00_first", "1", parameters="preset = 'quick'\nticker = 'X'\nrun_dir = '.'")
    folder = make_notebook("01_second", "raise RuntimeError('not this one')")
    out = tmp_path / "out"
    where = ("--notebooks", folder, "--out", out)
    done = typed("run", *where, "--only", "00", "--preset", "tiny", "-p", "ticker=NO")
    assert done.code == 0, done.err
    assert done.out.split() == ["report", str(out / "index.html")]
    told = json.loads((out / "manifest.json").read_text())
    assert told["given"] == {"preset": "tiny", "ticker": "NO"}
    assert [n["name"] for n in told["notebooks"]] == ["00_first"]


def test_failed_notebook_fails_the_command(typed, tmp_path, make_notebook):
    folder = make_notebook("00_first", "1 / 0")
    done = typed("run", "--notebooks", folder, "--out", tmp_path / "out")
    assert (done.code, done.out) == (2, "")
    assert "error: 00_first.ipynb failed at code cell 3: ZeroDivisionError" in done.err
    assert "Traceback" not in done.err and str(tmp_path / "out" / "00_first.ipynb") in done.err


# --- pipes


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_it_pipes(bars_csv, model):
    """Standard input through json.tool; a reader that stops; a full disk; closed streams: all side by side."""
    args = ("--model", model)
    with open(bars_csv) as stdin, open("/dev/full", "w") as full:
        whole = process("predict", "-", *args, "--json", stdin=stdin)
        tool = subprocess.Popen(
            [sys.executable, "-m", "json.tool"],
            stdin=whole.stdout,
            stdout=subprocess.PIPE,
            text=True,
        )
        headless = process("predict", bars_csv, *args, "--csv")
        headless.stdout.close()  # `| head` that is gone
        disk = process("predict", bars_csv, *args, "--csv", stdout=full)
        mute = process(
            "predict", bars_csv, *args, "--csv", stdout=None, preexec_fn=lambda: os.close(1)
        )
        blind = process(
            "predict", "META", *args, "--csv", stderr=None, preexec_fn=lambda: os.close(2)
        )
        whole.stdout.close()
        assert len(json.loads(tool.communicate(timeout=60)[0])) == 2
    ends = {
        name: (p.wait(60), p.stderr.read())
        for name, p in {"whole": whole, "headless": headless, "disk": disk, "mute": mute}.items()
    }
    assert ends["whole"] == ends["headless"] == (0, "")
    assert ends["disk"][0] == 2 and re.fullmatch(
        "error: [^\n]*No space left on device[^\n]*\n", ends["disk"][1]
    )
    assert ends["mute"][0] == 2 and re.fullmatch(
        "error: Standard output is closed[^\n]*\n", ends["mute"][1]
    )
    out, _ = blind.communicate(timeout=60)
    assert blind.returncode == 0 and out.startswith("symbol,origin") and "bundled" not in out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_ctrl_c_in_a_process(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    waiting = process("predict", tmp_path / "pipe.csv")
    with open(
        tmp_path / "pipe.csv", "w"
    ):  # it opens when the command does, which then waits for bars
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, out, err) == (130, "", "interrupted\n")


def test_a_terminal_that_lacks_letters_gets_escapes(tmp_path, model):
    made_bars(("Größe",), bars=70).to_csv(tmp_path / "a.csv", index=False)
    done = process(
        "predict",
        tmp_path / "a.csv",
        "--model",
        model,
        env=environment() | {"PYTHONIOENCODING": "ascii"},
    )
    out, err = done.communicate(timeout=60)
    assert (done.returncode, err) == (0, "") and out.startswith(r"Gr\xf6\xdfe: close ")


def test_sources_are_named_in_one_place():
    bars, notes = sources.read_sources(["META", "NVDA"])
    assert list(bars["symbol"].unique()) == ["META", "NVDA"] and len(notes) == 2


def test_how_a_file_is_read_can_be_told(tmp_path, capsys):
    path = tmp_path / "odd.csv"
    rows = [f"0{day}/02/2020;A;1,474;1,480;1,470;1,47{day}" for day in range(1, 8)]
    path.write_text(
        "\n".join(["when;symbol;o;h;l;c", *rows, "01/02/2020;B;1,474;1,480;1,470;-1,474"])
    )
    given = ["predict", str(path), "--column", "date=when", "--dayfirst", "--decimal", ","]
    assert cli.main(given) == 0
    told = capsys.readouterr()
    assert (
        "close 1.4770 on Fri 2020-02-07" in told.out
        and "B: left out" in told.out
        and "B, row 8" in told.out
    )
    assert cli.main([*given, "--strict"]) == 2
    assert "B, row 8" in capsys.readouterr().err
    assert cli.main([*given[:-2], "--decimal", ".", "--monthfirst"]) == 0
    assert "on Thu 2020-07-02" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["predict", str(path), "--column", "when"])
    assert "date=trade_date" in capsys.readouterr().err
    assert cli.main(["predict", str(path), "--column", "colour=when"]) == 2
    assert "no role 'colour'" in capsys.readouterr().err
