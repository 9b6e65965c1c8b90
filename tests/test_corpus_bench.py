"""What bench/corpus.py says of a corpus that a user names wrongly: one sentence, with the place."""

import importlib
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import ROOT, made_bars, one_sentence

import tftnhits as tn
from tftnhits.config import preset
from tftnhits.data.windows import gather, make_panel, training_starts
from tftnhits.models.store import build
from tftnhits.training.loop import split_loss

GOOD = 'file = "{}"\ntrain_end = "2015-09-30"\nvalid_end = "2015-12-31"\n'


@pytest.fixture
def corpus(monkeypatch):
    """The module, which the other commands of bench/ import from their folder."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    yield importlib.import_module("corpus")
    sys.modules.pop("corpus", None)


@pytest.fixture
def bench(corpus):
    """Another module of bench/."""
    yield importlib.import_module
    for name in ("scaling", "holdout", "pretrain", "teachers", "protocol", "tables"):
        sys.modules.pop(name, None)


@pytest.fixture
def folder(tmp_path):
    """Writes a corpus.toml beside days.parquet, four symbols; `text` follows the markets' names."""
    made_bars().to_parquet(tmp_path / "days.parquet")

    def write(text: str, name="corpus"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "corpus.toml").write_text(text.replace("{}", "../days.parquet"))
        return tmp_path / name

    return write


def said(call, *arguments) -> str:
    with pytest.raises(SystemExit) as caught:
        call(*arguments)
    assert one_sentence(str(caught.value))
    return str(caught.value)


def test_a_market_becomes_a_panel_and_longer_bars_one_each(corpus, folder):
    days, weeks = corpus.markets_in([folder(f'[days]\n{GOOD}resample = ["W"]\n')], 5)
    assert (days.name, weeks.name) == ("days", "days_W") and days.config.horizon == 5
    assert days.panel().symbols == weeks.panel().symbols == ("A", "B", "C", "D")
    assert weeks.panel().length.max() < days.panel().length.max() / 4


def test_a_corpus_is_written_once_and_mapped(corpus, folder, tmp_path):
    markets = corpus.markets_in([folder(f'[days]\n{GOOD}resample = ["2D"]\n')], 7)
    panel = corpus.read_corpus(markets, tmp_path / "panel", 10, 0.0)
    assert panel.mixture.names == ("days", "days_2D") and panel.mixture.chunks.tolist() == [5, 5]
    assert len(panel.symbols) == 8 and (panel.mixture.unit > 0).all()
    assert isinstance(panel.observed, np.memmap) and panel.config.horizon == 7
    alone = make_panel(made_bars(), markets[0].config, panel.fitted)
    np.testing.assert_array_equal(panel.observed[: len(alone.close)], alone.observed)
    np.testing.assert_array_equal(panel.target[: len(alone.close)], alone.target)
    written = (tmp_path / "panel" / "panel.json").stat().st_mtime_ns
    again = corpus.read_corpus(markets, tmp_path / "panel", 100, 1.0)
    assert (tmp_path / "panel" / "panel.json").stat().st_mtime_ns == written
    assert again.mixture.chunks[0] > 50 and again.digest() != panel.digest()
    longer = corpus.markets_in([tmp_path / "corpus"], 8)
    assert corpus.read_corpus(longer, tmp_path / "panel", 10, 0.0).config.horizon == 8


def test_scaling_trains_on_a_part_of_the_corpus(corpus, bench, folder, tmp_path):
    markets = corpus.markets_in([folder(f'[days]\n{GOOD}resample = ["2D"]\n')], 5)
    panel = corpus.read_corpus(markets, tmp_path / "panel", 10, 0.0)
    restricted = bench("scaling").restricted
    some = restricted(panel, ["days:2"])
    train = np.unique(some.symbol_of(some.origins("train")))
    assert [some.symbols[s] for s in train] == ["days/A", "days/C"]
    assert some.mixture.chunks.tolist() == [10, 0]
    assert len(some.origins("valid")) < len(panel.origins("valid"))
    assert "There is no market moon" in said(restricted, panel, ["moon"])


def test_a_hold_out_that_was_trained_on_is_refused(bench):
    seen = bench("holdout").seen_in_training
    panel = make_panel(made_bars(("A", "B")))
    rows, days = panel.origins("test"), panel.date[panel.origins("test")]
    market = {"begins": "2015-01-01", "train_end": str(days.min())[:10], "symbols": ["B", "Z"]}
    model = SimpleNamespace(manifest={"corpus": {"stocks": market}})
    sentence = seen(panel, rows, model)
    assert one_sentence(sentence) and "B of" in sentence and "stocks to" in sentence
    market["train_end"] = str(days.min() - np.timedelta64(1, "D"))[:10]
    assert seen(panel, rows, model) == ""
    # bars from before the market's first are not those that it had, whatever the name
    later = {"begins": str(days.max() + np.timedelta64(1, "D"))[:10], "train_end": "2030-01-01"}
    assert seen(panel, rows, SimpleNamespace(manifest={"corpus": {"coins": market | later}})) == ""
    assert seen(panel, rows, SimpleNamespace(manifest={})) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[days]\nfile = "{}"\nvalid_end = "2015-12-31"\n', ("[days]", "lacks train_end")),
        ('[days]\nfile = "{}"\ntrain_end = "2015-09-30"\n', ("[days]", "lacks valid_end")),
        (f'[days]\n{GOOD}symbol = "A"\n', ("[days]", "has symbol", "resample")),
        ("[days\n", ("no readable corpus.toml",)),
        ('file = "{}"\n', ("outside of a market", "file")),
    ],
)
def test_a_list_that_names_no_market_is_refused(corpus, folder, text, words):
    where = folder(text)
    message = said(corpus.markets_in, [where], 5)
    assert all(word in message for word in (*words, str(where)))


def test_a_folder_without_a_list_is_refused(corpus, tmp_path):
    message = said(corpus.markets_in, [tmp_path], 5)
    assert str(tmp_path) in message and "write one" in message


def test_two_markets_of_one_name_are_refused(corpus, folder):
    first, other = folder(f"[days]\n{GOOD}"), folder(f"[days]\n{GOOD}", "other")
    message = said(corpus.markets_in, [first, other], 5)
    assert "Two markets are called days" in message
    # one that is made of longer bars counts too
    both = folder(f'[days]\n{GOOD}resample = ["W"]\n[days_W]\n{GOOD}')
    assert "called days_W" in said(corpus.markets_in, [both], 5)


def test_a_market_of_one_symbol_is_refused(corpus, folder, tmp_path):
    made_bars(("A",)).to_parquet(tmp_path / "days.parquet")
    (market,) = corpus.markets_in([folder(f"[days]\n{GOOD}")], 5)
    message = said(market.panel)
    assert "days.parquet" in message and "one symbol" in message


@pytest.mark.parametrize("kind", ["a note", "no prices", "missing"])
def test_what_is_no_bars_gets_the_loaders_own_words_with_the_file(corpus, folder, tmp_path, kind):
    path = tmp_path / "days.parquet"
    if kind == "a note":
        path.write_text("nothing to see here")
    elif kind == "no prices":
        made_bars()[["symbol", "date", "volume"]].to_parquet(path)
    else:
        path.unlink()
    (market,) = corpus.markets_in([folder(f"[days]\n{GOOD}")], 5)
    message = said(market.panel)
    with pytest.raises(tn.DataError) as caught:
        tn.load_bars(market.path)
    assert message == f"{market.path}: {caught.value}"


# --- the direction


def test_over_markets_a_network_is_judged_without_its_direction(corpus, folder, tmp_path):
    markets = corpus.markets_in([folder(f'[days]\n{GOOD}resample = ["2D"]\n')], 5)
    panel = corpus.read_corpus(markets, tmp_path / "panel", 10, 0.0)
    model = build(preset("tiny")[1], panel.inputs)
    alone = replace(panel, mixture=None)
    every, one = split_loss(model, panel), split_loss(model, alone)
    model.base += 0.3  # a drift
    assert split_loss(model, panel) == pytest.approx(every, rel=1e-5)
    assert split_loss(model, alone) > one + 0.005


def test_the_drift_of_a_kind_is_learnt_where_it_is_sure(corpus, bench, folder, tmp_path):
    teachers = bench("teachers")
    markets = corpus.markets_in([folder(f'[days]\n{GOOD}resample = ["2D"]\n')], 5)
    panel = corpus.read_corpus(markets, tmp_path / "panel", 10, 0.0)
    static, target = panel.static[:1], panel.target.copy()
    unsure = teachers.Drift.of(panel)
    assert len(unsure.gain) == 2  # days, and two days each
    sure = teachers.Drift.of(replace(panel, target=target + 0.5 * np.sqrt(5)))
    steps = sure.at(torch.as_tensor(static), 5)
    assert steps.shape == (1, 5) and 0.3 < float(steps[0, 0]) < 0.7
    assert float(steps[0, 3]) == pytest.approx(2 * float(steps[0, 0]), rel=1e-5)
    quantiles = torch.sort(torch.randn(1, 3, 5, 11)).values
    moved = teachers.drawn(quantiles, steps, 1.0)
    torch.testing.assert_close(moved[..., 5], steps[:, None].expand(1, 3, 5))
    torch.testing.assert_close(moved.diff(), quantiles.diff())
    torch.testing.assert_close(teachers.drawn(quantiles, steps, 0.0), quantiles)


def test_a_chunk_is_taught_by_those_who_know_its_kind(corpus, bench, folder, tmp_path):
    teachers = bench("teachers")
    markets = corpus.markets_in([folder(f'[days]\n{GOOD}resample = ["2D"]\n')], 5)
    panel = corpus.read_corpus(markets, tmp_path / "panel", 10, 0.0)
    drift = teachers.Drift.of(panel)
    special = teachers.kinds_of(panel, drift, ["days_2D"])
    assert special.sum() == 1
    tft, nhits, *_ = preset("tiny")
    averages = []
    for level in (1.0, 2.0):  # whoever teaches is known by what is forecast
        networks = {"tft": [build(tft, panel.inputs)], "nhits": [build(nhits, panel.inputs)]}
        for network in (networks["tft"][0], networks["nhits"][0]):
            network.base += level
        chosen = {"weight": 0.5, "share": 0.0}
        averages.append(teachers.Average(networks, chosen, drift).eval())
    teacher = teachers.Teacher(*averages, special).eval()
    starts = training_starts(panel, 20, 32, 0)
    batch = gather(panel.with_tensors("cpu"), starts, 20, 32, "train")
    mine = np.isin(panel.mixture.market[panel.symbol_of(starts)], [1])
    assert 0 < mine.sum() < len(mine)
    with torch.no_grad():
        taught = teacher(batch).quantiles
        others, specialists = (average(batch) for average in averages)
    mine = torch.as_tensor(mine)[:, None, None, None]
    torch.testing.assert_close(taught, torch.where(mine, specialists, others))
    assert not torch.allclose(others, specialists)
