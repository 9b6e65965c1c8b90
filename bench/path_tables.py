"""What data/results/paths.json says, as Markdown tables."""

from __future__ import annotations

from tables import markdown, p_value

SCORES = {
    "energy": ("energy", ".1f"),
    "variogram": ("variogram", ".0f"),
    "brier": ("Brier, touches", ".4f"),
    "crps high": ("high", ".1f"),
    "crps low": ("low", ".1f"),
    "crps range": ("log range", ".4f"),
    "crps highest": ("highest of 5", ".1f"),
    "crps lowest": ("lowest of 5", ".1f"),
    "crps volume": ("log volume", ".4f"),
}
PARTS = {
    "high": "high",
    "low": "low",
    "range": "log range",
    "highest": "highest of 5",
    "lowest": "lowest of 5",
    "volume": "log volume",
}
TESTS = {
    "kupiec": "Kupiec",
    "christoffersen": "Christoffersen",
    "dynamic quantile": "dynamic quantile",
    "acerbi-szekely": "Acerbi–Székely",
}
OURS = "ours"


def _name(row: dict) -> str:
    return f"**{OURS}**" if row["forecaster"] == OURS else row["forecaster"]


def paths(record: dict) -> str:
    """Scores of whole bars, best first, with p-values that ours are better."""
    rows = []
    for row in sorted(record["rows"], key=lambda row: row["energy"]):
        cells = [_name(row)]
        for key, (_, form) in SCORES.items():
            told = f" ({p_value(row[f'p {key}'])})" if row.get(f"p {key}") is not None else ""
            cells.append("–" if row.get(key) is None else f"{row[key]:{form}}{told}")
        rows.append(cells)
    return markdown(["paths", *(words for words, _ in SCORES.values())], rows)


def bar_coverage(record: dict) -> str:
    """Percent inside the intervals of the parts of bars."""
    head = ["paths", *(f"{level}%: {words}" for level in (93, 80) for words in PARTS.values())]
    rows = []
    for row in record["rows"]:
        found = [row.get(f"{level} {part}") for level in (93, 80) for part in PARTS]
        if found[0] is not None:
            rows.append([_name(row), *("–" if x is None else f"{100 * x:.1f}" for x in found)])
    return markdown(head, rows)


def touches(record: dict) -> str:
    """Slopes of touches on their probabilities, by barrier."""
    barriers = list(record["rows"][0]["slopes"])
    rows = [[_name(row), *(f"{row['slopes'][b]:.2f}" for b in barriers)] for row in record["rows"]]
    return markdown(["paths", *barriers], rows)


def value_at_risk(record: dict) -> str:
    """Hits of the next bar's value at risk, and the percent of symbols that pass each test."""
    head = ["paths", "level", "hits", *TESTS.values(), "Z₂"]
    rows = []
    for level in record["rows"][0]["var"]:
        for row in record["rows"]:
            found = row["var"][level]
            shares = [f"{found[name]:.0%}" for name in TESTS]
            cells = [_name(row), f"{float(level):.0%}", f"{found['hits']:.1%}", *shares]
            rows.append([*cells, f"{found['shortfall']:+.2f}"])
    return markdown(head, rows)


def portfolios(record: dict) -> str:
    """Percent of portfolios' gains inside their intervals, by what the symbols share."""
    rows = [
        [*name.split(", "), *(f"{100 * found[level]:.1f}" for level in ("93", "80"))]
        for name, found in record["portfolios"].items()
    ]
    return markdown(["portfolio", "templates", "93%: inside", "80%: inside"], rows)


def paths_speed(record: dict) -> str:
    """What ties bars together, and how long paths take, as far as it was measured."""
    told = []
    if follow := record.get("successive ranges over the scale"):
        told.append(
            f"Log ranges of successive bars, over the scale, correlate by {follow[OURS]:.2f} on a "
            f"path and by {follow['came']:.2f} in what came."
        )
    if speed := record.get("speed"):
        told.append(
            f"1,000 paths of 5 steps take {1000 * speed['1']['seconds']:.0f} ms for one symbol and "
            f"{speed['500']['seconds']:.1f} s and {speed['peak MB']:,.0f} MB for 500 (two cores)."
        )
    return " ".join(told) or "–"
