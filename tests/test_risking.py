"""`tftnhits risk`: the answers of Forecast's questions, in three forms, or a sentence."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence, stocks

import tftnhits as tn
from tftnhits.apps import cli


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    path = tmp_path_factory.mktemp("bars") / "two.csv"
    stocks(("AAPL", "GOOG"), "2014-01-01").to_csv(path, index=False)
    return str(path)


@pytest.fixture(scope="module")
def fc(csv):
    return tn.Predictor.load().predict(tn.load_bars(csv))


@pytest.fixture
def typed(capsys):
    def call(*args):
        code = cli.main(["risk", *map(str, args)])
        return code, *capsys.readouterr()

    return call


def test_json_is_what_the_forecast_answers(typed, csv, fc):
    touch = ("--touch", "AAPL=45", "--touch", "goog=1000", "--touch", "-2%")
    code, out, err = typed(csv, *touch, "--weights", "aapl=0.6,GOOG=0.4", "--short", "--json")
    told = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    assert code == 0 and (told["paths"], told["seed"], told["position"]) == (1000, 0, "short")
    both = [fc.risk("short"), fc.risk("short", {"AAPL": 0.6, "GOOG": 0.4})]
    expected = {
        "risk": pd.concat(both),
        "range": fc.range(),
        "closes": pd.concat([fc.probability(), fc.probability(weights={"AAPL": 0.6, "GOOG": 0.4})]),
        "touched": pd.concat([fc.touch({"AAPL": 45, "GOOG": 1000}), fc.touch(percent=-2)]),
    }
    for name, table in expected.items():
        table = table.assign(date=table["date"].dt.strftime("%Y-%m-%d")).reset_index(drop=True)
        pd.testing.assert_frame_equal(pd.DataFrame(told[name]), table, check_dtype=False)
    assert [f"warning: {line}" for line in told["warnings"]] == err.splitlines()[-2:]


def test_csv_has_a_value_a_row(typed, csv, fc):
    code, out, _ = typed(csv, "--level", 0.1, "--above", "AAPL=44", "--touch", "3%", "--csv")
    assert code == 0
    rows = pd.read_csv(io.StringIO(out)).set_index("question")
    assert list(rows) == ["symbol", "step", "date", "level", "price", "value"]
    assert rows["value"].notna().all() and set(rows.loc["var", "level"]) == {0.1}
    np.testing.assert_allclose(rows.loc["es", "value"], fc.risk(levels=(0.1,))["es"])
    np.testing.assert_allclose(rows.loc["touch above", "value"], fc.touch(percent=3)["probability"])
    above = fc.probability(above={"AAPL": 44})["probability"]
    np.testing.assert_allclose(rows.loc["close above", "value"], above)
    low = rows.loc["low"].query("symbol == 'GOOG' and level == 0.035")["value"]
    np.testing.assert_allclose(low, fc.range().query("symbol == 'GOOG' and what == 'low'")["0.035"])


def test_people_read_a_table_a_symbol(typed, csv, fc):
    code, out, _ = typed(csv, "--touch", "AAPL=45", "--touch", "AAPL=45", "--weights", "GOOG=1")
    apple, google, whole, notes = out.strip().split("\n\n")
    head, names, *rows = apple.splitlines()
    assert code == 0 and head == "AAPL, long"
    words = "step date VaR 5% ES 5% VaR 1% ES 1% up touch 45.00"
    assert names.split() == words.split()
    lost, touched = fc.risk().query("symbol == 'AAPL'"), fc.touch({"AAPL": 45})
    for k, row in enumerate(rows[:5]):
        shown = row.split()
        assert (
            shown[2] == f"{lost['var'].iloc[k]:.2%}" and shown[5] == f"{lost['es'].iloc[5 + k]:.2%}"
        )
        assert shown[7] == f"{touched['probability'].iloc[k]:.1%}"
    assert [row.split(":")[0] for row in rows[5:]] == ["next high", "next low", "next high ÷ low"]
    assert google.startswith("GOOG, long") and whole.startswith("portfolio, long")
    assert google.splitlines()[2].split()[:6] == whole.splitlines()[2].split()[:6]
    assert "VaR: loss" in notes and "warning: " in notes


def test_other_seeds_and_more_paths_give_other_numbers(typed, csv, fc):
    frame = fc.paths(300, 5)
    options = ("--paths", 300, "--seed", 5, "--touch", "1%", "--weights", "AAPL=1", "--json")
    _, out, _ = typed(csv, *options)
    lost = pd.DataFrame(json.loads(out)["risk"]).set_index("symbol")["var"]
    np.testing.assert_allclose(lost["portfolio"], lost["AAPL"])
    found = pd.DataFrame(json.loads(out)["touched"]).query("symbol == 'AAPL'")["probability"]
    last = fc.bars.query("symbol == 'AAPL'")["close"].iloc[-1]
    high = frame.query("symbol == 'AAPL'").set_index(["path", "step"])["high"].unstack()
    np.testing.assert_allclose(found, (high.cummax(axis=1) >= 1.01 * last).mean())


def test_what_bars_cannot_tell_is_missing_with_its_reason(typed, tmp_path):
    path = tmp_path / "few.csv"
    made_bars(("A",), 30).to_csv(path, index=False)
    code, out, err = typed(path, "--touch", "1%", "--json")
    told = json.loads(out)
    assert code == 0 and {row["probability"] for row in told["touched"]} == {None}
    assert any("fewer than 60" in line for line in told["warnings"]) and "fewer than 60" in err
    assert all(row["var"] is not None for row in told["risk"])
    _, out, _ = typed(path, "--touch", "1%")
    assert "nan" not in out and " -\n" in out and "next high" not in out
    assert "fewer than 60" in out


REFUSED = {
    "--touch 45": "by symbol, as AAPL=180",
    "--touch AAPL=-4": "no price",
    "--touch AAPL=nan": "no price",
    "--touch -100%": "no price",
    "--above TSLA=5": "'TSLA'",
    "--weights TSLA=1": "'TSLA'",
    "--weights AAPL=nan": "by symbol",
    "--level 5": "between 0 and 1",
    "--horizon 99": "99",
    "--touch high": "'high' is not a valid float",
    "--touch x%": "'x' is not a valid float",
    "--touch AAPL=5%": "not a valid float",
    "--weights 0.6": "AAPL=0.6,KO=0.4",
    "--weights AAPL=1,AAPL=2": "AAPL=0.6,KO=0.4",
    "--paths 0": "range",
    "--paths many": "many",
    "--json --csv": "not allowed together",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_is_no_question_is_one_sentence(typed, csv, line):
    code, out, err = typed(csv, *line.split())
    assert (code, out) == (2, "") and REFUSED[line] in err.splitlines()[-1], err
    assert one_sentence(err.splitlines()[-1]) or err.splitlines()[-1].startswith("Error: ")
