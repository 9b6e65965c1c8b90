"""Boosted trees as plain arrays: scikit-learn grows them, these answer.

Kept apart from scikit-learn so that a saved model is data, the same for all its versions (a pickle, or skops, holds
private classes of the one that trained), and so that an answer waits for neither of the two to be imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from ..errors import CheckpointError

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

BLOCK = 64  # rows at a time, whose places in all trees stay in the processor's cache


@dataclass(frozen=True)
class Trees:
    """Q models of I trees each, their M nodes one after the other. A leaf is its own two children."""

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
        parts: dict[str, list[np.ndarray]] = {
            name: [] for name in ("feature", "threshold", "child", "value")
        }
        root, size, depth = np.zeros((len(models), models[0].n_iter_), np.int32), 0, 0
        for q, model in enumerate(models):
            for i, (tree,) in enumerate(model._predictors):
                node, leaf = tree.nodes, tree.nodes["is_leaf"].astype(bool)
                own = np.arange(len(node), dtype=np.int64)
                children = [np.where(leaf, own, node[side]) for side in ("left", "right")]
                parts["feature"].append(np.where(leaf, 0, node["feature_idx"]))
                parts["threshold"].append(np.where(leaf, np.inf, node["num_threshold"]))
                parts["child"].append(size + np.stack(children, -1))
                parts["value"].append(np.where(leaf, node["value"], 0.0))
                root[q, i], size, depth = (
                    size,
                    size + len(node),
                    max(depth, int(node["depth"].max())),
                )
        base = np.array([np.asarray(m._baseline_prediction).item() for m in models])
        joined = {name: np.concatenate(values) for name, values in parts.items()}
        types = {"feature": np.int16, "child": np.int32}
        return cls(
            **{k: v.astype(types.get(k, np.float64)) for k, v in joined.items()},
            root=root,
            base=base,
            depth=depth,
        )

    def predict(self, x: np.ndarray) -> np.ndarray:
        """x [N, F], finite → [N, Q]; raises CheckpointError if they look at columns that there are not."""
        if self.feature.max() >= x.shape[1]:
            raise CheckpointError(
                f"The boosted trees ask for more than {x.shape[1]} inputs; save the model again."
            )
        child, feature = self.child.astype(np.intp).ravel(), self.feature.astype(np.intp)
        out = np.empty((len(x), len(self.base)))
        for first in range(0, len(x), BLOCK):
            part = np.ascontiguousarray(x[first : first + BLOCK], float)
            start, cells = (np.arange(len(part)) * part.shape[1])[:, None], part.ravel()
            node = np.repeat(self.root.reshape(1, -1).astype(np.intp), len(part), 0)  # [n, Q · I]
            for _ in range(self.depth):
                node = child.take(
                    2 * node + (cells.take(start + feature.take(node)) > self.threshold.take(node))
                )
            out[first : first + BLOCK] = self.base + self.value.take(node).reshape(
                len(part), *self.root.shape
            ).sum(-1)
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays to save."""
        return {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], models: int) -> Trees:
        """Inverse of `arrays` for Q = `models`; raises CheckpointError on arrays that are no such trees."""
        try:
            found = cls(**{**arrays, "depth": int(arrays["depth"].item())})
            nodes, kinds = (
                len(found.value),
                {k: v.dtype.kind for k, v in found.arrays().items() if k != "depth"},
            )
            shapes = {k: getattr(found, k).shape for k in ("feature", "threshold", "child", "base")}
            fits = shapes == {
                "feature": (nodes,),
                "threshold": (nodes,),
                "child": (nodes, 2),
                "base": (models,),
            }
            fits = (
                fits
                and "".join(kinds.values()) == "ififif"
                and found.root.ndim == 2
                and len(found.root) == models
            )
            fits = fits and all(v.min() >= 0 and v.max() < nodes for v in (found.child, found.root))
            fits = fits and found.feature.min() >= 0 and 0 < found.depth < nodes
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"The boosted trees are incomplete ({error}); save them again."
            ) from error
        if not fits or not (np.isfinite(found.value).all() and np.isfinite(found.base).all()):
            raise CheckpointError("The boosted trees don't fit each other; save them again.")
        return found
