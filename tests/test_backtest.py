"""The walk-forward backtest: its forecasts, no look-ahead, and what survives a killed process."""

import os
import pickle
import signal
from dataclasses import replace

import joblib
import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence, python, stocks
from scipy.stats import norm

from tftnhits import Backtest, BacktestConfig, backtest, make_panel
from tftnhits.config import PRESETS, QUANTILES
from tftnhits.errors import (
    BacktestIncomplete,
    CheckpointError,
    ConfigError,
    DataError,
    HistoryTooShort,
)
from tftnhits.evaluation.fold_run import ENSEMBLES, MEMBERS, NETWORKS, attempt
from tftnhits.evaluation.folds import make_folds
from tftnhits.evaluation.metrics import ENDS, INTERVALS
from tftnhits.forecast.conformal import Conformal, quantiles_at, shifted
from tftnhits.forecast.ensemble import combine
from tftnhits.models.baselines import BASELINES, Baseline

CONFIG = BacktestConfig(
    start="2014-01-01",
    end="2014-06-30",
    months=3,
    valid_months=2,
    preset="tiny",
    seeds=(3, 1),
    members=("TFT", "N-HITS", "gradient boosting", "EWMA", "HAR"),
)
FIRST = replace(CONFIG, end="2014-03-31")  # its first fold alone
QUICK = replace(CONFIG, members=("EWMA", "HAR"), seeds=(0,))  # nothing to train
PRICES = [f"{q:g}" for q in QUANTILES]
SYMBOLS = ("AAPL", "GOOG")
WHERE = r"^fold-00-seed-0 \(test 2014-01-02 to 2014-03-31\)"


def run(bars, config, folder, **options):
    return backtest(bars, config, folder, **{"progress": False, **options})


@pytest.fixture(scope="module")
def bars():
    return stocks(SYMBOLS, "2012-06-01", "2014-08-31")


@pytest.fixture(scope="module")
def result(bars, tmp_path_factory):
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as several processes have, whose frame is the same to the bit
    yield run(bars, CONFIG, tmp_path_factory.mktemp("backtest"))
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def quick(bars, tmp_path_factory):
    return run(bars, QUICK, tmp_path_factory.mktemp("quick"))


def rows_of(frame, **chosen):
    for column, value in chosen.items():
        frame = frame[frame[column] == value]
    return frame.reset_index(drop=True)


def returns(rows, columns):
    """[K, H, …] log returns of a forecaster's rows."""
    values = np.log(rows[columns].to_numpy(float) / rows["close"].to_numpy()[:, None])
    return values.reshape(-1, 5, len(columns))


def same_frame(one, other):
    pd.testing.assert_frame_equal(one, other, check_exact=True)


# --- what is forecast


def test_every_forecaster_answers_at_every_origin(bars, result):
    frame = result.frame
    assert tuple(frame["forecaster"].cat.categories) == CONFIG.members + ENSEMBLES
    days = bars["date"][bars["date"].between(CONFIG.start, CONFIG.end)].unique()
    seeds = {}
    for (name, seed), rows in frame.groupby(["forecaster", "seed"], observed=True):
        seeds.setdefault(name, []).append(seed)
        assert len(rows) == len(SYMBOLS) * len(days) * 5
        assert not rows.duplicated(["symbol", "origin", "step"]).any()
        np.testing.assert_array_equal(np.unique(rows["origin"]), np.sort(days))
    seeded = NETWORKS + ENSEMBLES
    assert seeds == {m: [1, 3] if m in seeded else [3] for m in CONFIG.members + ENSEMBLES}
    for fold in result.manifest["folds"]:
        origins = rows_of(frame, fold=fold["number"])["origin"].dt.strftime("%Y-%m-%d")
        assert (origins.min(), origins.max()) == (fold["test_begin"], fold["test_end"])


def test_prices_are_those_of_the_bars(bars, result):
    frame = result.frame
    closes = bars.set_index(["symbol", "date"])["close"]
    for date, column in (("origin", "close"), ("date", "actual")):
        keys = pd.MultiIndex.from_arrays([frame["symbol"].astype(str), frame[date]])
        np.testing.assert_array_equal(closes.reindex(keys), frame[column])
    assert (np.diff(frame[PRICES], axis=1) >= 0).all() and (frame[PRICES] > 0).all(axis=None)
    assert (np.diff(frame[list(ENDS)], axis=1) > 0).all()
    levels = {round((1 + sign * v) / 2, 6) for v in INTERVALS for sign in (-1, 1)}
    assert levels == set(ENDS.values()) and levels <= set(QUANTILES)


def test_a_baseline_is_fitted_on_its_folds_training_bars_alone(bars, result):
    for record in result.records[::2]:
        fold = record["fold"]
        config = make_folds(bars, CONFIG, 20)[fold["number"]].panel_config(CONFIG)
        fitted = make_panel(bars[bars["date"] <= fold["train_end"]], config).fitted
        for name, values in record["fitted"].items():
            np.testing.assert_array_equal(values, fitted[name])
        whole = make_panel(bars, config)
        day = whole.date.astype("datetime64[D]").astype(str)
        tested = (day >= fold["test_begin"]) & (day <= fold["test_end"])
        rows = np.flatnonzero(tested & np.isfinite(whole.close))
        expected = Baseline("HAR", whole, QUANTILES).quantiles(whole, rows)
        made = rows_of(result.frame, forecaster="HAR", fold=fold["number"])
        np.testing.assert_allclose(returns(made, PRICES), expected, atol=2e-7)


def test_ensembles_are_weighted_averages_with_the_weights_on_record(result):
    for record in result.records:
        in_fold = rows_of(result.frame, fold=record["fold"]["number"])
        rows = rows_of(in_fold, seed=record["seed"])
        quantiles = {m: returns(rows_of(rows, forecaster=m), PRICES) for m in NETWORKS}
        quantiles["HAR"] = returns(rows_of(in_fold, forecaster="HAR"), PRICES)
        assert tuple(record["weights"]) == ENSEMBLES
        assert record["weights"]["ensemble"] == {"TFT": 0.65, "N-HITS": 0.35}
        for name, weights in record["weights"].items():
            assert sum(weights.values()) == pytest.approx(1)
            found = returns(rows_of(rows, forecaster=name), PRICES)
            np.testing.assert_allclose(found, combine(quantiles, weights), atol=4e-7)


def test_intervals_start_from_the_calibration_on_record_and_move_on(result):
    for record in result.records:
        rows = rows_of(result.frame, fold=record["fold"]["number"], seed=record["seed"])
        assert set(record["calibration"]) == set(rows["forecaster"])
        for name, score in record["calibration"].items():
            made = rows_of(rows, forecaster=name)
            state = Conformal(np.array(score))
            assert not np.array_equal(state.score, Conformal.start(5).score)  # validation moved it
            base, ends = norm.ppf(QUANTILES), norm.ppf(list(ENDS.values()))
            expected = quantiles_at(returns(made, PRICES), base, shifted(state.score, ends))
            same = np.isclose(returns(made, list(ENDS)), expected, atol=1e-6).all((1, 2))
            first = (made["origin"] == made["origin"].min()).to_numpy()[::5]
            assert same[first].all() and not same[~first].any()


def test_the_record_says_what_happened(result):
    report = result.report
    assert report["run"].tolist() == [f"fold-0{f}-seed-{s}" for f in (0, 1) for s in (3, 1)]
    assert (report["members.TFT.epochs"] == 1).all() and (report["seconds"] > 0).all()
    assert report["members.N-HITS.validation_loss"].between(0.1, 0.4).all()
    assert result.missing == [] and not list((result.folder / "work").iterdir())
    for record in result.records:
        every = set(CONFIG.members) if record["seed"] == 3 else {*NETWORKS, "HAR"}
        assert set(record["members"]) == every and record["missing_outcomes"] == {}
    read = Backtest.load(result.folder)
    assert read.records == result.records
    same_frame(read.frame, result.frame)


def test_a_symbol_that_ends_early_keeps_its_forecasts(bars, tmp_path):
    last = pd.Timestamp("2014-05-15")
    found = run(bars[(bars["symbol"] != "GOOG") | (bars["date"] <= last)], QUICK, tmp_path)
    rows = rows_of(found.frame, symbol="GOOG", forecaster="HAR")
    assert rows["origin"].max() == last and np.isfinite(rows[PRICES + list(ENDS)]).all(axis=None)
    assert rows["actual"].isna().equals(rows["date"] > last) and rows["actual"].isna().sum() == 15
    assert [r["missing_outcomes"] for r in found.records] == [{}, {"GOOG": 15}]
    assert rows_of(found.frame, symbol="AAPL")["actual"].notna().all()


# --- no look-ahead


def shuffled_after(bars, date):
    """The same dates, with the bars that belong to those after `date` dealt out anew by symbol."""
    rng, out = np.random.default_rng(0), bars.copy()
    columns = ["open", "high", "low", "close", "volume"]
    for _, rows in bars[bars["date"] > date].groupby("symbol"):
        out.loc[rows.index, columns] = bars.loc[rng.permutation(rows.index), columns].to_numpy()
    return out


def test_shuffling_the_future_changes_no_forecast_made_before_it(bars, result, quick, tmp_path):
    date = pd.Timestamp("2014-01-10")
    shuffled = shuffled_after(bars, date)
    other = run(shuffled, replace(FIRST, seeds=(3,)), tmp_path / "first")
    before = rows_of(result.frame, fold=0, seed=3)
    columns = [c for c in before if c != "actual"]
    past, changed = before["origin"] <= date, other.frame["origin"] > date
    assert before["origin"][past].max() == date and past.sum() > 500
    same_frame(other.frame[past][columns], before[past][columns])
    # What the fold fits: scalers, networks, weights, and the calibration that its test starts from
    one, two = result.records[0], other.records[0]
    for name in ("fold", "fitted", "weights", "calibration", "origins"):
        assert one[name] == two[name]
    for member, notes in one["members"].items():
        assert notes.get("validation_loss") == two["members"][member].get("validation_loss")
    # The test can fail: forecasts of the shuffled days are others, and so is the next fold's fit
    assert (before["0.5"] != other.frame["0.5"])[changed].mean() > 0.9
    again = run(shuffled, QUICK, tmp_path / "quick")
    for name in ("fitted", "calibration"):
        assert quick.records[0][name] == again.records[0][name]
        assert quick.records[1][name] != again.records[1][name]


# --- processes, resume, errors


def test_two_processes_make_the_frame_of_one(bars, result, tmp_path):
    found = run(bars, FIRST, tmp_path, jobs=2)
    same_frame(found.frame, rows_of(result.frame, fold=0))


@pytest.mark.parametrize("backend", ["threading", "multiprocessing"])
def test_joblibs_context_says_where_runs_go(bars, quick, tmp_path, backend):
    with joblib.parallel_config(backend=backend, n_jobs=2):
        same_frame(run(bars, QUICK, tmp_path).frame, quick.frame)


def killed_attempt(bars, run, setup):
    """Dies as by `kill -9` in the second fold, and leaves its process's number in a file."""
    if run.fold.number != 1:
        return attempt(bars, run, setup)
    (setup.folder / f"killed-{os.getpid()}").touch()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_costs_its_run_alone(bars, tmp_path, monkeypatch):
    config = replace(QUICK, months=1, end="2014-03-31")
    whole = run(bars, config, tmp_path / "whole")
    folder = tmp_path / "killed"
    monkeypatch.setattr("tftnhits.evaluation.backtest.attempt", killed_attempt)
    with pytest.raises(BacktestIncomplete, match=r"fold-01-seed-0 was killed twice") as caught:
        run(bars, config, folder, jobs=2)
    assert one_sentence(str(caught.value)) and str(folder) in str(caught.value)
    assert len(list(folder.glob("killed-*"))) == 2  # once beside others, once alone
    partial = Backtest.load(folder)
    assert partial.missing == ["fold-01-seed-0"]
    same_frame(partial.frame, whole.frame[whole.frame["fold"] != 1].reset_index(drop=True))
    monkeypatch.undo()
    same_frame(run(bars, config, folder).frame, whole.frame)


SECOND = """
import sys
from test_backtest import QUICK, SYMBOLS, run
from helpers import stocks
from tftnhits.errors import OutputError
try:
    run(stocks(SYMBOLS, "2012-06-01", "2014-08-31"), QUICK, sys.argv[1])
except OutputError as error:
    print(error)
"""


def test_a_second_process_is_kept_from_the_folder(bars, quick, tmp_path, monkeypatch):
    said = []

    def attempt_beside_another(*task):
        said.append(python(SECOND, tmp_path).stdout)
        return attempt(*task)

    monkeypatch.setattr("tftnhits.evaluation.backtest.attempt", attempt_beside_another)
    same_frame(run(bars, QUICK, tmp_path).frame, quick.frame)
    assert len(said) == 2 and all(one_sentence(text.strip()) for text in said)
    assert all(f"Another process holds {tmp_path}" in text for text in said)


def test_a_second_call_does_only_what_is_left(bars, quick, tmp_path):
    run(bars, QUICK, tmp_path)
    stamps = {file: file.stat().st_mtime_ns for file in (tmp_path / "runs").glob("*")}
    run(bars, QUICK, tmp_path)
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps and len(stamps) == 4
    (tmp_path / "runs" / "fold-01-seed-0.json").unlink()
    assert Backtest.load(tmp_path).missing == ["fold-01-seed-0"]
    again = run(bars, QUICK, tmp_path)
    changed = {file.stem for file in stamps if file.stat().st_mtime_ns != stamps[file]}
    assert changed == {"fold-01-seed-0"} and again.missing == []
    same_frame(again.frame, quick.frame)


def test_networks_that_were_cut_short_go_on_from_their_state(bars, tmp_path, monkeypatch):
    """A state that can't be read ends its run, named, and the others finish."""
    pytest.importorskip("torch")
    config = replace(CONFIG, members=("N-HITS", "HAR"), seeds=(0,))
    state = tmp_path / "work" / "fold-00-seed-0" / "nhits.state"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"no state")
    with pytest.raises(CheckpointError, match=WHERE + ": The training state .*delete it"):
        run(bars, config, tmp_path)
    assert Backtest.load(tmp_path).missing == ["fold-00-seed-0"]
    state.unlink()
    assert run(bars, config, tmp_path).frame["forecaster"].unique().tolist() == ["N-HITS", "HAR"]


class Fails(Baseline):
    """Forecasts no number, or raises `error`, in the fold that tests the first quarter."""

    error = None

    def quantiles(self, panel, rows):
        quantiles = super().quantiles(panel, rows)
        if panel.date[rows[-1]] < np.datetime64("2014-04-01"):
            if self.error:
                raise self.error
            quantiles[-1, 0, 0] = np.nan
        return quantiles


@pytest.mark.parametrize(
    "error, kind, words",
    [
        (None, DataError, ": EWMA gives no finite forecast for GOOG at 2014-03-31"),
        (RuntimeError("a\nb"), BacktestIncomplete, " ended with 'RuntimeError: a b'; .* to resume"),
    ],
)
def test_a_run_that_fails_is_named_and_the_others_are_kept(
    bars, quick, tmp_path, monkeypatch, error, kind, words
):
    monkeypatch.setattr("tftnhits.evaluation.fold_run.Baseline", Fails)
    monkeypatch.setattr(Fails, "error", error)
    with pytest.raises(kind, match=WHERE + words) as caught:
        run(bars, QUICK, tmp_path)
    assert one_sentence(str(caught.value)) and type(caught.value) is kind
    told = pickle.loads(pickle.dumps(caught.value))  # as it comes from another process
    assert (type(told), str(told)) == (kind, str(caught.value))
    partial = Backtest.load(tmp_path)
    assert partial.missing == ["fold-00-seed-0"]
    same_frame(partial.frame, rows_of(quick.frame, fold=1))
    monkeypatch.undo()
    same_frame(run(bars, QUICK, tmp_path).frame, quick.frame)


# --- refusals


def constant(bars):
    """GOOG stands still."""
    prices = bars[["open", "high", "low", "close"]].where(bars["symbol"] != "GOOG", 40.0)
    return bars.assign(**prices)


@pytest.mark.parametrize(
    "change, changes, error, words",
    [
        (None, {"start": "2012-07-01"}, HistoryTooShort, "earliest possible start is 2013-"),
        (None, {"members": ("HAR", "prophet")}, ConfigError, "no forecaster 'prophet'"),
        (None, {"start": "2014-08-29", "end": "2014-08-29"}, DataError, "No outcomes in the test"),
        (None, {"valid_months": 1, "embargo": 20}, ConfigError, "no validation left"),
        (constant, {}, DataError, "close of GOOG never changes in .* fold 0"),
        (lambda bars: made_bars(("A",), 500, freq=None), {}, DataError, "column 'date'"),
    ],
)
def test_what_cannot_be_backtested_is_refused_before_any_training(
    bars, tmp_path, change, changes, error, words
):
    given = change(bars) if change else bars
    with pytest.raises(error, match=words) as caught:
        run(given, replace(QUICK, **changes), tmp_path)
    assert one_sentence(str(caught.value)) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("changed", ["embargo", "members", "data", "models", "backtest"])
def test_another_backtests_folder_is_refused(bars, tmp_path, monkeypatch, changed):
    found = run(bars, QUICK, tmp_path)
    config = {"embargo": replace(QUICK, embargo=2), "members": replace(QUICK, members=("HAR",))}
    data = bars[bars["date"] < "2014-08-01"] if changed == "data" else bars
    if changed == "models":  # the same name of a preset
        tft, nhits, boosting, train = PRESETS["tiny"]
        monkeypatch.setitem(PRESETS, "tiny", (tft, nhits, replace(boosting, trees=6), train))
    if changed == "backtest":  # a run that was copied in from elsewhere
        record = tmp_path / "runs" / "fold-00-seed-0.json"
        record.write_text(record.read_text().replace('"key": "', '"key": "x'))
    with pytest.raises(CheckpointError, match=f"another {changed}; choose") as caught:
        run(data, config.get(changed, QUICK), tmp_path)
    assert one_sentence(str(caught.value)) and Backtest.load(tmp_path).manifest == found.manifest


def test_files_that_are_damaged_or_absent_are_named(bars, tmp_path):
    with pytest.raises(CheckpointError, match="Can't read"):
        Backtest.load(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no backtest"):
        Backtest.load(tmp_path)
    found = run(bars, QUICK, tmp_path / "new")
    (tmp_path / "new" / "runs" / "fold-01-seed-0.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(CheckpointError, match=r"fold-01-seed-0.parquet can't be read"):
        _ = found.frame


BLOCKED = """
import importlib.abc, sys
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Blocker())
import tftnhits as tn
from helpers import stocks
bars = stocks(("AAPL", "GOOG"), "2012-06-01", "2014-08-31")
config = dict(start="2014-01-01", end="2014-02-28", months=2, valid_months=6, preset="tiny")
found = tn.backtest(bars, tn.BacktestConfig(**config), sys.argv[1], progress=False)
print(*found.frame["forecaster"].unique(), sep="\\n")
try:
    tn.backtest(bars, tn.BacktestConfig(**config, members=("TFT",)), sys.argv[1], progress=False)
except tn.MissingDependency as error:
    print(error)
"""


def test_without_torch_boosting_and_baselines_run(tmp_path):
    done = python(BLOCKED, tmp_path)
    assert done.returncode == 0, done.stderr
    *names, message = done.stdout.splitlines()
    assert tuple(names) == ("gradient boosting", *BASELINES) == MEMBERS[2:]
    assert "TFT can't run here" in message and "tftnhits[torch]" in message
