"""Write the model card of data/pretrained: its words are here, every number comes from
data/results/*.json, and the size from the folder itself.

python bench/card.py [--results data/results] [--out data/pretrained/README.md]
"""

from __future__ import annotations

import statistics
from pathlib import Path
from string import Template

import tables

from tftnhits.files import read_json

SHIPPED = Path(__file__).parents[1] / "data" / "pretrained"
CARD = Template("""---
frameworks:
- pytorch
tasks:
- time-series-forecasting
license: Apache License 2.0
language:
- en
tags:
- finance
- temporal-fusion-transformer
- n-hits
- conformal-prediction
---

# TFT + N-HITS for financial bars

Forecasts the next $horizon bars (open, high, low, close, volume in; close out) of any symbol: the
median and any central interval, by a Temporal Fusion Transformer and N-HITS, each distilled from
$seeds seeds of both, averaged 65/35. Where they can't answer (no PyTorch, broken weights, under
$context bars), one of them alone, gradient boosting or a random walk does, each with its own
calibrated interval, and says so.

**Research and education, not trading advice.**

```python
import tftnhits as tn

model = tn.Predictor.load()  # these weights, with no network
print(model.predict("bars.csv", level=0.93).summary())  # prediction, interval, model_used …
```

or by ModelScope's pipeline, with rows of open, high, low, close and volume:

```python
import tftnhits.pipeline  # first, since modelscope finds no installed package by itself
from modelscope import pipeline

predictor = pipeline(task="time-series-forecasting", model="/path/to/this/folder")
financial_data = [[100.0, 102.5, 99.1, 101.7, 1200000], [101.8, 103.0, 101.2, 102.9, 1100000]]
predictor(financial_data)
# {"symbol": …, "prediction": …, "interval": …, "confidence": …, "model_used": …, "path": …, …}
```

Instead of the first line, `trust_remote_code=True` does. `prediction` is the next bar's median
price, `path` all bars ahead; `confidence` is the nominal level of the interval;
`interval["coverage"]` is the share of the symbol's own outcomes over its last 252 dates that such
intervals held: the volatility scale's, calibrated as the networks' are by what was known then (to
forecast that past by the networks would take too long); and `coverage_interval` what that tells of
the probability, at 95%. For a symbol with fewer than 100 dates it is that of the data below of the
same kind (bar length and volatility); for bars of another kind it is none, and `calibrated()`
measures it.

## Training
$origins_train training origins of $markets markets; $tft_weights and $nhits_weights weights. An
epoch draws from each market by its size to the power of a temperature that validation chose;
validation years follow each market's training years and chose everything else, too, by the mean
over markets of the loss (steps 1–5) over that of the volatility scale, which follows each symbol's
own past and is near a HAR fitted there. Longer bars are made of shorter ones.
Last columns: that ratio on validation, of one seed on average and of what is shipped.

$corpus

Every origin of a chunk is trained in one pass, five batches in six with the first five steps alone.
Inputs are scale-free (returns over a HAR volatility that knows the session's season and the
symbol's own past, ranges, relative volume, market averages, the earnings cycle) and name no symbol,
so that it answers for those that it never saw. Mean ratio by seed: TFT $tft_valid ± $tft_sd, N-HITS
$nhits_valid ± $nhits_sd; of the $seeds seeds' averages $tft_mean and $nhits_mean; of both together,
N-HITS by $weight and the median drawn $share of the way to the market's drift, $both; of the
shipped networks, $tft_taught and $nhits_taught. Bars of the kind of $special were taught by as many
seeds that learnt these markets alone ($special_both there, where the others have $others_both). The
drift is the median of
the training years, by kind of bars, shrunk by its standard error over dates: which way prices go
from day to day is soon learnt by heart and was worth nothing on validation.

## Results
Test years 2016–2017, $origins_test origins; none was trained on, and nothing was chosen by them,
though the project looked at them at several milestones. Mean pinball loss × 10⁴ of the cumulative
log return over nine quantile levels; MAE (× 10⁴) and MSE (× 10⁸) are of the median's, on the test
years; p is the one-sided Diebold-Mariano test against HAR, clustered by date; the 90% model
confidence set is of the forecasters with an entry in its column, and holds the best with 90%
confidence.

$board

The trading rule of the kit on these forecasts, after costs, has a Sharpe ratio of $sharpe ($holding
for buying and holding), and $deflated is the probability that it is more than the luck of about
$trials configurations tried (those before the log began are estimated): what these forecasts know
is how far prices move, hardly where to.

## Intervals
Test years; calibrated online for every forecaster alike, from the outcomes known at each origin.
Shares of outcomes inside, overall and by thirds of volatility; widths in basis points.

$intervals

## Limits
- The bars that it was trained and scored on are not bundled, since nothing says what their licence
  is (the repository's bench/protocol.py says which they are); those that are bundled are others.
- Trained on stocks of one country, currencies and crypto, as the table says; survivors, most of
  them. On other markets and bar lengths it rests on a scale that fits itself to the symbol's own
  past; `model.calibrated(bars)` makes a record of their kind.
- Prices are taken as adjusted for splits. A dividend or a split that is not adjusted looks like a
  return.
- Steps beyond $horizon bars need a model trained for them.

## Licence and citation
Published as Apache-2.0, weights and code.

```bibtex
$bibtex
```

The networks are those of B. Lim, S. Ö. Arik, N. Loeff, T. Pfister: Temporal Fusion Transformers for
interpretable multi-horizon time series forecasting, International Journal of Forecasting 37(4),
2021; and C. Challu, K. G. Olivares, B. N. Oreshkin, F. Garza Ramirez, M. Mergenthaler-Canseco,
A. Dubrawski: N-HiTS: Neural Hierarchical Interpolation for Time Series Forecasting, AAAI 37(6),
2023.

## Files
`predictor.json` (inputs, settings of the members, weights of the ensemble, state of the
calibration) and, named there with their SHA-256, the members' weights as safetensors;
`$calibration` (the calibration's state on earlier dates, so that a forecast of
the past is calibrated by what was known then); `configuration.json` and `ms_wrapper.py` for
ModelScope; $megabytes MB in all, no pickle. Made by
`python bench/pretrain.py --corpus FOLDER…`, scored by `python bench/djia.py --data FOLDER`, and
this card is by `python bench/readme.py`.
""")


def bibtex() -> str:
    """README's entry: there is one place for it."""
    readme = Path(__file__).parents[1] / "README.md"
    return readme.read_text(encoding="utf-8").split("```bibtex\n")[1].split("\n```")[0]


def render(results: Path) -> str:
    """The card's text from what was measured."""
    trained, djia = read_json(results / "pretrained.json"), read_json(results / "djia.json")
    values: dict[str, object] = {k: trained[k] for k in ("horizon", "context")}
    chosen, averaged = (trained["blend"][name] for name in ("chosen", "averaged"))
    special = trained["specialists' blend"][0]["chosen"]
    others = statistics.mean(chosen["markets"][name] for name in special["markets"])
    for kind in ("tft", "nhits"):
        runs = [r for r in trained["runs"] if r["network"] == kind]
        losses = [r["valid"] for r in runs]
        students = [r["valid"] for r in trained["students"] if r["network"] == kind]
        values |= {
            f"{kind}_weights": f"{runs[0]['weights']:,}",
            f"{kind}_valid": f"{statistics.mean(losses):.4f}",
            f"{kind}_sd": f"{statistics.stdev(losses):.4f}",
            f"{kind}_mean": f"{statistics.mean(averaged[kind].values()):.4f}",
            f"{kind}_taught": f"{students[0]:.4f}",
        }
    files = [path for path in SHIPPED.iterdir() if path.suffix not in (".lock", ".md")]
    return CARD.substitute(
        values,
        seeds=len(trained["seeds"]),
        markets=len(trained["corpus"]),
        corpus=tables.corpus(trained),
        share=f"{chosen['share']:.0%}",
        weight=f"{chosen['weight']:.0%}",
        special=" and ".join(special["markets"]),
        special_both=f"{special['valid']:.4f}",
        others_both=f"{others:.4f}",
        both=f"{chosen['valid']:.4f}",
        origins_train=f"{sum(market['origins'] for market in trained['corpus']):,}",
        origins_test=f"{djia['origins']['test']:,}",
        board=tables.leaderboard(djia),
        intervals=tables.intervals(djia),
        sharpe=f"{djia['trading']['rule']['sharpe']:.2f}",
        holding=f"{djia['trading']['buy and hold']['sharpe']:.2f}",
        deflated=f"{djia['trading']['rule']['deflated']:.0%}",
        trials=djia["trading"]["rule"]["trials"],
        bibtex=bibtex(),
        calibration=next(SHIPPED.glob("calibration-*.safetensors")).name,
        megabytes=f"{sum(path.stat().st_size for path in files) / 1e6:.1f}",
    )
