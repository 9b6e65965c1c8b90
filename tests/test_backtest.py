"""The walk-forward backtest: what it forecasts, that it can't see ahead, and what survives a killed process."""

import os
import pickle
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import joblib
import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence, python, stocks

from tftnhits import Backtest, BacktestConfig, backtest, make_panel
from tftnhits.config import PRESETS, QUANTILES
from tftnhits.errors import (
    BacktestIncomplete,
    CheckpointError,
    ConfigError,
    DataError,
    HistoryTooShort,
)
from tftnhits.evaluation.folds import fold_bars, make_folds
from tftnhits.evaluation.metrics import INTERVALS
from tftnhits.evaluation.part import ENSEMBLES, MEMBERS, Part, Run, attempt, train_member
from tftnhits.forecast.conformal import Conformal
from tftnhits.forecast.ensemble import combine, learn_weights
from tftnhits.models.baselines import BASELINES, Baseline

NETS = ("TFT", "N-HITS")
CONFIG = BacktestConfig(
    start="2014-01-01",
    end="2014-06-30",
    months=3,
    valid_months=2,
    preset="tiny",
    seeds=(3, 1),
    members=("TFT", "N-HITS", "gradient boosting", "EWMA", "HAR"),
)
QUICK = replace(CONFIG, members=("EWMA", "HAR"), seeds=(0,))  # nothing to train
PRICES = [f"{q:g}" for q in QUANTILES]
ENDS = ["lower_80", "upper_80", "lower_93", "upper_93"]


def run(bars, config, folder, **options):
    return backtest(bars, config, folder, **{"progress": False, **options})


@contextmanager
def one_thread():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def bars():
    return stocks(("AAPL", "GOOG", "META"), "2012-06-01", "2014-08-31")


@pytest.fixture(scope="module")
def result(bars, tmp_path_factory):
    with one_thread():
        return run(bars, CONFIG, tmp_path_factory.mktemp("backtest"))


def spans(result, number):
    fold = result.manifest["folds"][number]
    return tuple(pd.Timestamp(fold[k]) for k in ("test_begin", "test_end"))


def test_every_forecaster_answers_at_every_origin(bars, result):
    frame = result.frame
    assert tuple(frame["forecaster"].cat.categories) == CONFIG.members + ENSEMBLES
    assert list(frame.columns[:11]) == [
        *(
            "symbol",
            "origin",
            "step",
            "date",
            "fold",
            "seed",
            "forecaster",
            "close",
            "scale",
            "naive",
            "actual",
        )
    ]
    assert list(frame.columns[11:]) == PRICES + ENDS
    days = bars["date"][(bars["date"] >= CONFIG.start) & (bars["date"] <= CONFIG.end)].unique()
    seeds = {}
    for (name, seed), part in frame.groupby(["forecaster", "seed"], observed=True):
        seeds.setdefault(name, []).append(seed)
        origins = part[["symbol", "origin", "step"]].astype({"symbol": str})
        assert len(part) == 3 * len(days) * 5 and not origins.duplicated().any()
        np.testing.assert_array_equal(np.unique(part["origin"]), np.sort(days))
    assert seeds == {
        m: [1, 3] if m in NETS + ENSEMBLES else [3] for m in CONFIG.members + ENSEMBLES
    }
    for number in (0, 1):
        own = frame[frame["fold"] == number]["origin"]
        assert (own.min(), own.max()) == spans(result, number)


def test_the_members_are_the_trained_ones_and_the_baselines():
    assert MEMBERS[:3] == ("TFT", "N-HITS", "gradient boosting") and MEMBERS[3:] == BASELINES


def test_prices_are_those_of_the_bars(bars, result):
    frame = result.frame
    closes = bars.set_index(["symbol", "date"])["close"]
    for at, column in (("origin", "close"), ("date", "actual")):
        keys = pd.MultiIndex.from_arrays([frame["symbol"].astype(str), frame[at]])
        np.testing.assert_array_equal(closes.reindex(keys), frame[column])
    prices = frame[PRICES].to_numpy()
    assert (np.diff(prices, axis=1) >= 0).all() and (prices > 0).all()
    assert (frame["lower_93"] < frame["lower_80"]).all() and (
        frame["lower_80"] < frame["upper_80"]
    ).all()
    assert (frame["upper_80"] < frame["upper_93"]).all()


def returns(part, columns):
    """[K, H, …] log returns of a forecaster's rows."""
    found = np.log(part[columns].to_numpy(float) / part["close"].to_numpy()[:, None])
    return found.reshape(-1, 5, len(columns))


def test_a_baseline_is_fitted_on_its_folds_training_bars_alone(bars, result):
    for record in result.records[::2]:
        fold = record["fold"]
        own = bars[bars["date"] <= fold["train_end"]]  # nothing else is needed to fit it
        fitted = make_panel(
            own, make_folds(bars, CONFIG, 20)[fold["number"]].panel_config(CONFIG)
        ).fitted
        for name, values in record["fitted"].items():
            np.testing.assert_array_equal(values, fitted[name])
        whole = make_panel(bars, make_folds(bars, CONFIG, 20)[fold["number"]].panel_config(CONFIG))
        day = whole.date.astype("datetime64[D]").astype(str)
        rows = np.flatnonzero(
            (day >= fold["test_begin"]) & (day <= fold["test_end"]) & np.isfinite(whole.close)
        )
        expected = Baseline("HAR", whole, QUANTILES).quantiles(whole, rows)
        part = result.frame[
            (result.frame["forecaster"] == "HAR") & (result.frame["fold"] == fold["number"])
        ]
        np.testing.assert_allclose(returns(part, PRICES), expected, atol=2e-7)


def test_ensembles_are_weighted_averages_with_the_weights_on_record(result):
    frame = result.frame
    for record in result.records:
        here = frame[
            (frame["fold"] == record["fold"]["number"]) & (frame["seed"] == record["seed"])
        ]
        har = frame[(frame["fold"] == record["fold"]["number"]) & (frame["forecaster"] == "HAR")]
        found = {m: returns(here[here["forecaster"] == m], PRICES) for m in NETS} | {
            "HAR": returns(har, PRICES)
        }
        assert tuple(record["weights"]) == ENSEMBLES
        assert record["weights"]["ensemble"] == {"TFT": 0.65, "N-HITS": 0.35}
        for name, weights in record["weights"].items():
            assert sum(weights.values()) == pytest.approx(1) and set(weights) <= {*NETS, "HAR"}
            own = returns(here[here["forecaster"] == name], PRICES)
            np.testing.assert_allclose(own, combine(found, weights), atol=4e-7)


def test_intervals_start_from_the_calibration_on_record_and_move_on(result):
    frame, order = result.frame, [0.035, 0.1, 0.9, 0.965]
    columns = ["lower_93", "lower_80", "upper_80", "upper_93"]
    for record in result.records:
        assert set(record["calibration"]) == set(record["forecasters"])
        here = frame[
            (frame["fold"] == record["fold"]["number"]) & (frame["seed"] == record["seed"])
        ]
        for name, state in record["calibration"].items():
            part = here[here["forecaster"] == name]
            state = Conformal.from_dict(state)
            assert not np.array_equal(
                state.score, Conformal.start(5).score
            )  # validation has moved it
            found, raw = returns(part, columns), returns(part, PRICES)
            same = np.isclose(found, state.calibrate(raw, QUANTILES, order), atol=1e-6).all((1, 2))
            first = part["origin"].to_numpy()[::5] == part["origin"].min().to_numpy()
            assert same[first].all() and not same[~first].any()


def test_the_record_says_what_happened(result):
    report = result.report
    assert len(report) == 4 and result.missing == [] and result.manifest["missing"] == []
    assert report["part"].tolist() == [f"fold-0{f}-seed-{s}" for f in (0, 1) for s in (3, 1)]
    assert (report["TFT epochs"] == 1).all() and (report["missing outcomes"] == 0).all()
    assert (
        report["N-HITS validation_loss"].between(0.1, 0.4).all() and (report["seconds"] > 0).all()
    )
    assert not (result.folder / "work").exists() or not list((result.folder / "work").iterdir())
    for record in result.records:
        lead = record["seed"] == 3
        assert set(record["members"]) == (set(CONFIG.members) if lead else {*NETS, "HAR"})
    read = Backtest.load(result.folder)
    assert read.records == result.records and read.frame.equals(result.frame)


def shuffled_after(bars, date, seed=0):
    """The same dates, with the bars that belong to those after `date` dealt out anew, symbol by symbol."""
    rng, out = np.random.default_rng(seed), bars.copy()
    columns = ["open", "high", "low", "close", "volume"]
    for _, part in bars[bars["date"] > date].groupby("symbol"):
        out.loc[part.index, columns] = bars.loc[rng.permutation(part.index), columns].to_numpy()
    return out


def test_shuffling_the_future_changes_no_forecast_made_before_it(bars, result, tmp_path):
    date = pd.Timestamp("2014-01-10")
    begin, end = spans(result, 0)
    assert begin < date < end
    with one_thread():
        other = run(shuffled_after(bars, date), CONFIG, tmp_path)
    columns = [c for c in result.frame if c != "actual"]
    past, here = (
        r.frame[r.frame["origin"] <= date].reset_index(drop=True) for r in (result, other)
    )
    assert past["origin"].max() == date and len(past) > 1_000
    pd.testing.assert_frame_equal(past[columns], here[columns], check_exact=True)
    # what a fold fits: scalers, networks, weights, and the calibration that its test starts from
    for one, two in zip(result.records[:2], other.records[:2]):
        for name in ("fold", "fitted", "weights", "calibration", "origins"):
            assert one[name] == two[name]
        for member, notes in one["members"].items():
            assert notes.get("validation_loss") == two["members"][member].get("validation_loss")
    # the test can fail: forecasts of the shuffled days are others, and so is what the next fold fits
    later, now = (r.frame[r.frame["origin"] > date] for r in (result, other))
    assert (later["0.5"].to_numpy() != now["0.5"].to_numpy()).mean() > 0.9
    for name in ("fitted", "weights", "calibration"):
        assert [r[name] for r in result.records[2:]] != [r[name] for r in other.records[2:]]


def test_weights_are_learnt_from_validation_outcomes_alone(bars, result, tmp_path, monkeypatch):
    seen = []

    def spy(quantiles, actual, levels):
        seen.append((quantiles, actual))
        return learn_weights(quantiles, actual, levels)

    monkeypatch.setattr("tftnhits.evaluation.part.learn_weights", spy)
    with one_thread():
        run(bars, replace(CONFIG, seeds=(3,), members=(*NETS, "HAR"), end="2014-03-31"), tmp_path)
    assert [list(q) for q, _ in seen] == [list(NETS), [*NETS, "HAR"]]
    fold = result.records[0]["fold"]
    panel = make_panel(
        bars[bars["date"] <= fold["valid_end"]],
        make_folds(bars, CONFIG, 20)[0].panel_config(CONFIG),
    )
    rows = panel.origins("valid", 20)
    expected = np.log(panel.close[rows[:, None] + np.arange(1, 6)] / panel.close[rows, None])
    assert np.isfinite(expected).all() and len(rows) > 50
    for quantiles, actual in seen:
        np.testing.assert_array_equal(actual, expected)
        assert all(q.shape == (len(rows), 5, len(QUANTILES)) for q in quantiles.values())


def test_a_second_call_does_only_what_is_left(bars, result, tmp_path):
    first = run(bars, QUICK, tmp_path)
    files = sorted((tmp_path / "parts").glob("*"))
    assert len(files) == 4
    stamps = {f: f.stat().st_mtime_ns for f in files}
    again = run(bars, QUICK, tmp_path)
    assert {f: f.stat().st_mtime_ns for f in files} == stamps and again.frame.equals(first.frame)
    (tmp_path / "parts" / "fold-01-seed-0.json").unlink()
    assert Backtest.load(tmp_path).missing == ["fold-01-seed-0"]
    assert len(Backtest.load(tmp_path).frame) < len(first.frame)
    again = run(bars, QUICK, tmp_path)
    changed = {f.name for f in files if f.stat().st_mtime_ns != stamps[f]}
    assert changed == {"fold-01-seed-0.json", "fold-01-seed-0.parquet"}
    assert again.frame.equals(first.frame) and again.missing == []


def test_training_that_was_cut_short_goes_on(bars, tmp_path):
    pytest.importorskip("torch")
    fold = make_folds(bars, CONFIG, 20)[0]
    here = Run(CONFIG, CONFIG.members, ("AAPL", "GOOG", "META"), tmp_path, "key", False)
    panel = make_panel(fold_bars(bars, fold, 5), fold.panel_config(CONFIG))
    rows = panel.origins("test", 20)[:9]
    one, notes = train_member("N-HITS", panel, Part(fold, 5, True), here, tmp_path)
    state = tmp_path / "nhits.state"
    stamp = state.stat().st_mtime_ns
    other, again = train_member("N-HITS", panel, Part(fold, 5, True), here, tmp_path)
    assert notes == again and state.stat().st_mtime_ns == stamp  # no epoch was trained anew
    np.testing.assert_array_equal(one.quantiles(panel, rows), other.quantiles(panel, rows))
    with pytest.raises(
        CheckpointError, match="another train"
    ):  # and another seed's state is refused
        train_member("N-HITS", panel, Part(fold, 6, True), here, tmp_path)


class Killer(threading.Thread):
    """Sends SIGKILL to the process that works on a part, as often as `times`."""

    def __init__(self, folder, part, times):
        super().__init__(daemon=True)
        self.marker, self.times, self.killed = folder / "work" / part / "started", times, []
        self.start()

    def run(self):
        deadline = time.monotonic() + 120
        while len(self.killed) < self.times and time.monotonic() < deadline:
            try:
                pid = int(self.marker.read_text())
            except (OSError, ValueError):
                pid = None
            if pid and pid not in self.killed and pid != os.getpid():
                os.kill(pid, signal.SIGKILL)
                self.killed.append(pid)
            time.sleep(0.005)


def test_a_killed_process_costs_its_part_alone(bars, tmp_path):
    config = replace(QUICK, members=("gradient boosting", "HAR"), months=1, end="2014-03-31")
    whole = run(bars, config, tmp_path / "whole")
    killer = Killer(tmp_path / "killed", "fold-01-seed-0", 2)
    with pytest.raises(
        BacktestIncomplete, match=r"of fold-01-seed-0 was killed twice.*2 parts are kept"
    ) as caught:
        run(bars, config, tmp_path / "killed", jobs=2)
    assert one_sentence(str(caught.value)) and str(tmp_path) in str(caught.value)
    assert len(killer.killed) == 2
    partial = Backtest.load(tmp_path / "killed")
    assert partial.missing == partial.manifest["missing"] == ["fold-01-seed-0"]
    kept = whole.frame[whole.frame["fold"] != 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(partial.frame, kept, check_exact=True)
    done = run(bars, config, tmp_path / "killed")
    assert done.missing == []
    pd.testing.assert_frame_equal(done.frame, whole.frame, check_exact=True)


def test_two_processes_make_the_frame_of_one(bars, result, tmp_path):
    found = run(bars, replace(CONFIG, seeds=(3,)), tmp_path, jobs=2)
    one = result.frame[result.frame["seed"] == 3].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.frame, one, check_exact=True)


def test_joblibs_context_says_where_parts_run(bars, tmp_path):
    alone = run(bars, QUICK, tmp_path / "alone")
    for backend in ("threading", "multiprocessing"):
        with joblib.parallel_config(backend=backend, n_jobs=2):
            found = run(bars, QUICK, tmp_path / backend)
        pd.testing.assert_frame_equal(found.frame, alone.frame, check_exact=True)


def test_an_error_in_one_part_lets_the_others_finish(bars, tmp_path):
    pytest.importorskip("torch")
    config = replace(CONFIG, members=("N-HITS", "HAR"), seeds=(0,))
    state = tmp_path / "work" / "fold-00-seed-0" / "nhits.state"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"no state")
    where = r"^fold-00-seed-0 \(test 2014-01-02 to 2014-03-31\): "
    with pytest.raises(CheckpointError, match=where + "The training state .*delete it") as caught:
        run(bars, config, tmp_path)
    assert one_sentence(str(caught.value))
    assert Backtest.load(tmp_path).missing == ["fold-00-seed-0"]
    state.unlink()
    assert run(bars, config, tmp_path).frame["forecaster"].unique().tolist() == ["N-HITS", "HAR"]


class Fails(Baseline):
    """Forecasts no number, or raises `error`, in the fold that tests the first quarter."""

    error = None

    def quantiles(self, panel, rows):
        found = super().quantiles(panel, rows)
        if panel.date[rows[-1]] < np.datetime64("2014-04-01"):
            if self.error:
                raise self.error
            found[-1, 0, 0] = np.nan
        return found


class Unpicklable(RuntimeError):
    """Holds what no other process can be told of."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


def test_a_part_that_fails_is_named_and_the_others_are_kept(bars, tmp_path, monkeypatch):
    whole = run(bars, QUICK, tmp_path / "whole")
    monkeypatch.setattr("tftnhits.evaluation.part.Baseline", Fails)
    where = r"^fold-00-seed-0 \(test 2014-01-02 to 2014-03-31\)"
    for number, (error, kind, words) in enumerate(
        (
            (None, DataError, ": EWMA gives no finite forecast for META at 2014-03-31"),
            (
                Unpicklable("two\nlines"),
                BacktestIncomplete,
                " ended with 'Unpicklable: two lines'; .* to resume",
            ),
        )
    ):
        monkeypatch.setattr(Fails, "error", error)
        with pytest.raises(kind, match=where + words) as caught:
            run(bars, QUICK, tmp_path / str(number))
        assert one_sentence(str(caught.value)) and type(caught.value) is kind
        assert caught.value.__cause__ is error or kind is DataError
        told = pickle.loads(pickle.dumps(caught.value))  # as it comes from another process
        assert (type(told), str(told)) == (kind, str(caught.value))
        partial = Backtest.load(tmp_path / str(number))
        assert partial.missing == partial.manifest["missing"] == ["fold-00-seed-0"]
        kept = whole.frame[whole.frame["fold"] == 1].reset_index(drop=True)
        pd.testing.assert_frame_equal(partial.frame, kept, check_exact=True)
    monkeypatch.undo()
    pd.testing.assert_frame_equal(
        run(bars, QUICK, tmp_path / "1").frame, whole.frame, check_exact=True
    )


def test_another_processs_error_comes_back_with_its_parts_name(bars, tmp_path):
    fold = make_folds(bars, QUICK, 20)[0]
    here = Run(QUICK, ("HAR",), ("AAPL", "GOOG", "META"), tmp_path, "key", False)
    where = "fold-00-seed-0 (test 2014-01-02 to 2014-03-31)"
    wrong = {
        DataError: (bars.drop(columns="high"), here, f"{where}: Missing column high"),
        BacktestIncomplete: (bars, replace(here, symbols=None), f"{where} ended with 'TypeError: "),
    }
    tasks = [
        joblib.delayed(attempt)(given, Part(fold, 0, True), settings)
        for given, settings, _ in wrong.values()
    ]
    for error, (kind, (*_, words)) in zip(
        joblib.Parallel(n_jobs=2)(tasks), wrong.items(), strict=True
    ):
        assert type(error) is kind and str(error).startswith(words)


def test_a_symbol_that_ends_early_keeps_its_forecasts(bars, tmp_path):
    last = pd.Timestamp("2014-05-15")
    short = bars[(bars["symbol"] != "GOOG") | (bars["date"] <= last)]
    found = run(short, QUICK, tmp_path)
    part = found.frame[(found.frame["symbol"] == "GOOG") & (found.frame["forecaster"] == "HAR")]
    assert part["origin"].max() == last and np.isfinite(part[PRICES + ENDS].to_numpy()).all()
    unknown = part[part["actual"].isna()]
    assert (unknown["date"] > last).all() and (part["date"] > last).sum() == len(
        unknown
    ) == 5 + 4 + 3 + 2 + 1
    assert (
        found.records[1]["missing_outcomes"] == {"GOOG": 15}
        and found.records[0]["missing_outcomes"] == {}
    )
    assert found.report["missing outcomes"].tolist() == [0, 15]
    others = found.frame[found.frame["symbol"] != "GOOG"]
    assert others["actual"].notna().all()


def test_a_constant_series_is_refused_before_any_training(bars, tmp_path):
    flat = bars.copy()
    flat.loc[flat["symbol"] == "GOOG", ["open", "high", "low", "close"]] = 40.0
    with pytest.raises(
        DataError, match=r"close of GOOG never changes in .* fold 0 .*leave it out"
    ) as caught:
        run(flat, QUICK, tmp_path)
    assert one_sentence(str(caught.value)) and not list(tmp_path.iterdir())
    assert run(flat[flat["symbol"] != "GOOG"], QUICK, tmp_path).missing == []


def test_another_backtests_folder_is_refused(bars, tmp_path, monkeypatch):
    run(bars, QUICK, tmp_path)
    for changed, words in (
        ((bars, replace(QUICK, embargo=2)), r"another config \(embargo\)"),
        ((bars[bars["date"] < "2014-08-01"], QUICK), "another data"),
        ((bars, replace(QUICK, members=("HAR",))), r"another config \(members\), members"),
    ):
        with pytest.raises(CheckpointError, match=words) as caught:
            run(*changed, tmp_path)
        assert one_sentence(str(caught.value))
    changed = (*PRESETS["tiny"][:2], replace(PRESETS["tiny"][2], trees=6), PRESETS["tiny"][3])
    with monkeypatch.context() as patch:  # the same name, and other models
        patch.setitem(PRESETS, "tiny", changed)
        with pytest.raises(CheckpointError, match="another models; choose"):
            run(bars, QUICK, tmp_path)
    assert run(bars, QUICK, tmp_path).missing == []
    # a part that was copied in from elsewhere is no part of this one
    record = tmp_path / "parts" / "fold-00-seed-0.json"
    record.write_text(record.read_text().replace('"key": "', '"key": "x'))
    with pytest.raises(CheckpointError, match="another backtest"):
        run(bars, QUICK, tmp_path)


def test_files_that_are_damaged_or_absent_are_named(bars, tmp_path):
    with pytest.raises(CheckpointError, match="Can't read"):
        Backtest.load(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no backtest"):
        Backtest.load(tmp_path)
    found = run(bars, QUICK, tmp_path / "new")
    (tmp_path / "new" / "parts" / "fold-01-seed-0.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(CheckpointError, match=r"fold-01-seed-0.parquet can't be read"):
        _ = found.frame


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"start": "2012-07-01"}, HistoryTooShort, "earliest possible start is 2013-"),
        ({"members": ("HAR", "prophet")}, ConfigError, "no forecaster 'prophet'"),
        ({"start": "2014-08-29", "end": "2014-08-29"}, DataError, "no outcomes in its test"),
        ({"valid_months": 1, "embargo": 20}, ConfigError, "without validation"),
    ],
)
def test_what_cannot_be_backtested_is_refused_before_any_training(
    bars, tmp_path, changes, error, words
):
    with pytest.raises(error, match=words) as caught:
        run(bars, replace(QUICK, **changes), tmp_path)
    assert one_sentence(str(caught.value)) and not list(tmp_path.iterdir())


def test_bars_without_dates_are_refused(tmp_path):
    with pytest.raises(DataError, match="column 'date'"):
        run(made_bars(("A",), 500, freq=None), QUICK, tmp_path)


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
    tn.backtest(bars, tn.BacktestConfig(**config, members=("TFT",)), sys.argv[1] + "x", progress=False)
except tn.MissingDependency as error:
    print(error)
"""


def test_without_torch_boosting_and_baselines_run(tmp_path):
    done = python(BLOCKED, tmp_path)
    assert done.returncode == 0, done.stderr
    *found, message = done.stdout.splitlines()
    assert found == [m for m in MEMBERS if m not in NETS]
    assert "TFT can't run here" in message and "tftnhits[torch]" in message


def test_intervals_are_levels_that_are_forecast():
    levels = {round(q, 6) for q in QUANTILES}
    assert {round((1 + s * v) / 2, 6) for v in INTERVALS for s in (-1, 1)} <= levels
