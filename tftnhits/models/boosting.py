"""Gradient boosting with the quantile loss: the answer where PyTorch or a long history is missing.

One scikit-learn model a quantile level, over the features at the origin, the calendar of the
target date and the step. Once fitted the trees are plain arrays: a saved model is data, the same
for all versions of scikit-learn, and an answer does not wait for scikit-learn to be imported.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import safetensors
import safetensors.numpy

from ..config import BoostingConfig
from ..data.windows import Panel
from ..errors import CheckpointError, ConfigError, HistoryTooShort
from .caller import own_sklearn
from .checkpoint import Part

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

BLOCK = 64  # rows at a time, whose places in all trees stay in the processor's cache


class Boosting:
    """Boosted quantiles, from two bars of history on.

    Parameters
    ----------
    config : settings
    trees : those of a fitted model; None before `fit`
    """

    def __init__(self, config: BoostingConfig, trees: Trees | None = None):
        self.config = config
        self.trees = trees
        self.context = config.context  # bars that an origin needs, itself included
        self.horizon = config.horizon
        self.levels = config.quantiles

    @own_sklearn()
    def fit(self, panel: Panel) -> Boosting:
        """Fit on (origin, step) pairs drawn from the training split.

        Raises HistoryTooShort without a training origin, ConfigError if the panel's horizon is
        shorter.
        """
        from sklearn.ensemble import HistGradientBoostingRegressor

        config = self.config
        origins = panel.origins("train", config.context)
        if not len(origins):
            raise HistoryTooShort(
                f"The training split has no origin with {config.context} bars; give more bars."
            )
        if config.horizon > panel.config.horizon:
            raise ConfigError(
                f"The boosting's horizon is {config.horizon} but the panel's "
                f"{panel.config.horizon}; make both the same."
            )
        # pairs of origin and step, and the scaled returns that they are to forecast
        generator = np.random.default_rng(config.seed)
        count = min(config.rows, len(origins) * config.horizon)
        if panel.mixture is None:
            rows = origins[generator.integers(0, len(origins), count)]
        else:
            rows = origins[panel.mixture.draw(panel.symbol_of(origins), count, generator)]
        steps = generator.integers(0, config.horizon, count)
        target = np.asarray(panel.target)[rows, steps]
        known = np.isfinite(target)
        inputs = _inputs(panel, rows, steps)[known]

        models = []
        for level in config.quantiles:
            model = HistGradientBoostingRegressor(
                loss="quantile",
                quantile=level,
                max_iter=config.trees,
                learning_rate=config.learning_rate,
                max_leaf_nodes=config.leaves,
                min_samples_leaf=config.min_leaf,
                early_stopping=False,
                random_state=config.seed,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a constant feature in a small panel is no news
                models.append(model.fit(inputs, target[known]))
        self.trees = Trees.of(models)
        return self

    def quantiles(self, panel: Panel, rows: np.ndarray) -> np.ndarray:
        """Quantiles [K, H, Q] of the cumulative log return from the origins `rows` [K]."""
        steps = np.arange(panel.steps)
        inputs = _inputs(panel, np.repeat(rows, len(steps)), np.tile(steps, len(rows)))
        scaled = self.trees.predict(inputs).reshape(len(rows), len(steps), -1)  # [K, H, Q]
        unit = np.asarray(panel.scale, float)[rows] * np.sqrt(steps + 1)  # [K, H]
        return np.sort(scaled, axis=-1) * unit[..., None]

    def to_part(self) -> Part:
        """The fitted model as data, to be saved."""
        weights = safetensors.numpy.save(self.trees.arrays())
        return Part({"config": self.config.to_dict()}, weights)

    @classmethod
    def from_part(cls, part: Part) -> Boosting:
        """Inverse of `to_part`; raises CheckpointError on what is no such model."""
        try:
            config = BoostingConfig.from_dict(part.record.get("config"))
            arrays = safetensors.numpy.load(part.weights)
        except (ConfigError, LookupError, safetensors.SafetensorError) as error:
            reason = str(error).rstrip(".")
            raise CheckpointError(
                f"The boosted trees can't be read ({reason}); save them again."
            ) from error
        return cls(config, Trees.from_arrays(arrays, len(config.quantiles)))


@dataclass(frozen=True)
class Trees:
    """Q models of I trees each, their M nodes one after the other. A leaf is its own children."""

    feature: np.ndarray  # [M] int16 column that a node looks at
    threshold: np.ndarray  # [M] float64 it goes right above this
    child: np.ndarray  # [M, 2] int32 left and right
    value: np.ndarray  # [M] float64 of a leaf, 0 inside
    root: np.ndarray  # [Q, I] int32
    base: np.ndarray  # [Q] float64 the model without trees
    depth: int

    @classmethod
    def of(cls, models: list[HistGradientBoostingRegressor]) -> Trees:
        """From fitted models without categories or missing values, of one tree an iteration."""
        trees = [tree.nodes for model in models for (tree,) in model._predictors]
        sizes = [len(tree) for tree in trees]
        first = np.cumsum([0, *sizes])[:-1]  # [Q · I] the node that each tree starts at
        nodes = np.concatenate(trees)
        is_leaf = nodes["is_leaf"].astype(bool)
        itself = np.arange(len(nodes))
        start = np.repeat(first, sizes)  # [M]
        children = [np.where(is_leaf, itself, start + nodes[side]) for side in ("left", "right")]
        return cls(
            feature=np.where(is_leaf, 0, nodes["feature_idx"]).astype(np.int16),
            threshold=np.where(is_leaf, np.inf, nodes["num_threshold"]),
            child=np.stack(children, -1).astype(np.int32),
            value=np.where(is_leaf, nodes["value"], 0.0),
            root=first.reshape(len(models), -1).astype(np.int32),
            base=np.array([np.asarray(model._baseline_prediction).item() for model in models]),
            depth=int(nodes["depth"].max()),
        )

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """inputs [N, F], finite → [N, Q]; raises CheckpointError if F are too few."""
        if self.feature.max() >= inputs.shape[1]:
            raise CheckpointError(
                f"The boosted trees ask for more than {inputs.shape[1]} inputs; "
                f"save the model again."
            )
        feature = self.feature.astype(np.intp)
        child = self.child.astype(np.intp).ravel()
        roots = self.root.reshape(1, -1).astype(np.intp)
        out = np.empty((len(inputs), len(self.base)))
        for first in range(0, len(inputs), BLOCK):
            block = np.ascontiguousarray(inputs[first : first + BLOCK], float)  # [n, F]
            cells = block.ravel()
            row = (np.arange(len(block)) * block.shape[1])[:, None]
            node = np.repeat(roots, len(block), 0)  # [n, Q · I]
            for _ in range(self.depth):
                right = cells.take(row + feature.take(node)) > self.threshold.take(node)
                node = child.take(2 * node + right)
            values = self.value.take(node).reshape(len(block), *self.root.shape)  # [n, Q, I]
            out[first : first + BLOCK] = self.base + values.sum(-1)
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays to save, whole and contiguous; `depth` [1]."""
        return {f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], models: int) -> Trees:
        """Inverse of `arrays` for Q = `models`; raises CheckpointError on no such trees."""
        problem = CheckpointError("The boosted trees don't fit each other; save them again.")
        if set(arrays) != {f.name for f in fields(cls)}:
            raise problem
        nodes, trees = arrays["value"].size, arrays["root"].shape[-1:]  # M, (I,)
        expected = {
            "feature": ("i", (nodes,)),
            "threshold": ("f", (nodes,)),
            "child": ("i", (nodes, 2)),
            "value": ("f", (nodes,)),
            "root": ("i", (models, *trees)),
            "base": ("f", (models,)),
            "depth": ("i", (1,)),
        }
        given = {name: (array.dtype.kind, array.shape) for name, array in arrays.items()}
        if given != expected or not nodes or not arrays["root"].size:
            raise problem
        indices = np.concatenate([arrays["child"].ravel(), arrays["root"].ravel()])
        inside = indices.min() >= 0 and indices.max() < nodes
        finite = np.isfinite(arrays["value"]).all() and np.isfinite(arrays["base"]).all()
        depth = int(arrays["depth"][0])
        if not (inside and finite and arrays["feature"].min() >= 0 and 0 <= depth < nodes):
            raise problem
        return cls(**{**arrays, "depth": depth})


def _inputs(panel: Panel, rows: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """[K, F_o + F_k + F_s + 1]: the origin's features, the target date's calendar, symbol, step."""
    parts = (
        np.asarray(panel.observed)[rows],
        np.asarray(panel.known)[rows + 1 + steps],
        np.asarray(panel.static)[panel.symbol_of(rows)],
        (steps + 1.0)[:, None],
    )
    return np.concatenate(parts, axis=1)
