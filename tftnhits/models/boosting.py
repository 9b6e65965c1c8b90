"""Gradient boosting with the quantile loss: the answer where PyTorch is missing or the history is short.

One scikit-learn model a quantile level, over the features at the origin, the calendar of the target date and
the step. Once fitted the trees are plain arrays (models/trees.py), saved as safetensors.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors
import safetensors.numpy

from ..config import BoostingConfig
from ..data.windows import Panel
from ..errors import CheckpointError, ConfigError, HistoryTooShort, MissingDependency, shown
from ..files import atomic_write, data_file, read_json, sha256, write_json
from .trees import Trees

if TYPE_CHECKING:
    from sklearn.ensemble import (
        HistGradientBoostingRegressor,
    )  # imported late: it takes longer than a forecast

FORMAT = 2  # 1: by skops; it is still read
# what the models of format 1 are made of; older versions of skops don't know these themselves
TRUSTED = {
    *(
        f"sklearn._loss.{name}"
        for name in ("link.IdentityLink", "link.Interval", "loss.PinballLoss")
    ),
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
}


class Boosting:
    """Quantiles [K, H, Q] of the cumulative log return, from two bars of history on."""

    def __init__(self, config: BoostingConfig, trees: Trees | None = None):
        self.config, self.trees = config, trees

    @property
    def context(self) -> int:
        """Bars that an origin needs, itself included."""
        return self.config.context

    @property
    def levels(self) -> tuple[float, ...]:
        """Quantile levels, ascending."""
        return self.config.quantiles

    @property
    def horizon(self) -> int:
        """Steps ahead that it was trained for."""
        return self.config.horizon

    def fit(self, panel: Panel) -> Boosting:
        """Fit on (origin, step) pairs drawn from the training split; raises HistoryTooShort if there is none."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        rows, c = panel.origins("train", self.context), self.config
        if not len(rows):
            raise HistoryTooShort(
                f"The training split has no origin with {self.context} bars; give more bars."
            )
        if self.horizon > panel.config.horizon:
            raise ConfigError(
                f"The boosting's horizon is {self.horizon} but the panel's {panel.config.horizon}; make both the same."
            )
        generator, models = np.random.default_rng(c.seed), []
        rows = rows[generator.integers(0, len(rows), min(c.rows, len(rows) * c.horizon))]
        steps = generator.integers(0, c.horizon, len(rows))
        y = np.asarray(panel.target)[rows, steps]
        x = _inputs(panel, rows, steps)
        known = np.isfinite(y)
        for level in c.quantiles:
            model = HistGradientBoostingRegressor(
                loss="quantile",
                quantile=level,
                max_iter=c.trees,
                learning_rate=c.learning_rate,
                max_leaf_nodes=c.leaves,
                min_samples_leaf=c.min_leaf,
                early_stopping=False,
                random_state=c.seed,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a constant feature in a small panel is no news
                models.append(model.fit(x[known], y[known]))
        self.trees = Trees.of(models)
        return self

    def quantiles(self, panel: Panel, rows: np.ndarray) -> np.ndarray:
        """Quantiles [K, H, Q] of the cumulative log return from the origins `rows` [K], sorted along Q."""
        horizon = self.horizon
        pairs, steps = np.repeat(rows, horizon), np.tile(np.arange(horizon), len(rows))
        x = _inputs(panel, pairs, steps)
        raw = self.trees.predict(x).reshape(len(rows), horizon, -1)
        root = np.sqrt(np.arange(1, horizon + 1))[:, None]
        return np.sort(raw, axis=-1) * np.asarray(panel.scale, float)[rows, None, None] * root

    def save(self, folder: str | Path) -> Path:
        """Write boosting.json and the trees beside it; returns the JSON's path."""
        data = safetensors.numpy.save(
            {k: np.ascontiguousarray(v) for k, v in self.trees.arrays().items()}
        )
        digest = sha256(data)
        path = atomic_write(Path(folder) / f"boosting-{digest[:8]}.safetensors", data)
        record = {
            "format": FORMAT,
            "config": self.config.to_dict(),
            "models": path.name,
            "sha256": digest,
        }
        written = write_json(Path(folder) / "boosting.json", record)
        for old in [
            *Path(folder).glob("boosting-*.safetensors"),
            *Path(folder).glob("boosting-*.skops"),
        ]:
            if old != path:
                old.unlink()
        return written

    @classmethod
    def load(cls, path: str | Path) -> Boosting:
        """Read what `save` wrote, by its JSON's path; raises CheckpointError if it is missing, corrupt or foreign.

        Folders of format 1 need the package skops: MissingDependency says so.
        """
        path = Path(path)
        record = read_json(path)
        if type(record.get("format")) is not int or not 1 <= record["format"] <= FORMAT:
            raise CheckpointError(
                f"{path} has format {shown(record.get('format'))}, not one this version reads; upgrade tftnhits."
            )
        file = data_file(path.parent, record.get("models"))
        try:
            data = file.read_bytes()
        except OSError as error:
            raise CheckpointError(
                f"The models {file} can't be read: {error.strerror}; save them again."
            ) from error
        if sha256(data) != record.get("sha256"):
            raise CheckpointError(
                f"The models {file} don't match their hash in {path.name}: corrupt; save them again."
            )
        try:
            config = BoostingConfig.from_dict(record["config"])
            count = len(config.quantiles)
            if record["format"] == 1:
                return cls(config, Trees.of(_by_skops(data, file, count)))
            return cls(config, Trees.from_arrays(safetensors.numpy.load(data), count))
        except (
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            safetensors.SafetensorError,
        ) as error:
            raise CheckpointError(
                f"{path} or {file.name} can't be read ({error}); save them again."
            ) from error


def _by_skops(data: bytes, file: Path, count: int) -> list[HistGradientBoostingRegressor]:
    """The `count` models of a folder of format 1, if skops vouches for all their types but TRUSTED."""
    try:
        import skops.io
    except (ImportError, OSError) as error:  # OSError: a broken torch beneath it
        raise MissingDependency(
            f"{file} is of an older version and needs the package skops ({error})."
        ) from error
    if skops.__version__.startswith(
        ("0.9", "0.10", "0.11")
    ):  # before 0.12 an archive could call what it liked
        raise MissingDependency(
            f"{file} is read by skops 0.12 or later, not {skops.__version__}; upgrade skops."
        )
    from sklearn.ensemble import HistGradientBoostingRegressor

    try:
        unknown = skops.io.get_untrusted_types(data=data)
        foreign = sorted(set(unknown) - TRUSTED)
        models = skops.io.loads(data, trusted=unknown) if not foreign else []
    except Exception as error:  # skops raises whatever a foreign archive makes it stumble over
        raise CheckpointError(
            f"The models {file} can't be read ({error!r}); save them again."
        ) from error
    if foreign:
        raise CheckpointError(
            f"The models {file} hold the foreign type {foreign[0]}; don't use this folder."
        )
    if (
        not isinstance(models, list)
        or [type(m) for m in models] != [HistGradientBoostingRegressor] * count
    ):
        raise CheckpointError(f"The models {file} are not {count} boosted trees; save them again.")
    return models


def _inputs(panel: Panel, rows: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """[K, F_o + F_k + F_s + 1]: the origin's features, the target date's calendar, the symbol, the step."""
    parts = (
        np.asarray(panel.observed)[rows],
        np.asarray(panel.known)[rows + 1 + steps],
        np.asarray(panel.static)[panel.symbol_of(rows)],
        (steps + 1.0)[:, None],
    )
    return np.concatenate(parts, axis=1)
