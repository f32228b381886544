"""Is a picture like those the network learned from?

Distance of the network's last features from the nearest class, in units of the spread within classes (Mahalanobis
distance; Lee et al., NeurIPS 2018), after shrinking the covariance (Ledoit and Wolf 2004) and keeping the directions
in which pictures differ most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor

from ml import metrics

DIMENSIONS = 192
PREFIX = "familiarity."


@dataclass(frozen=True)
class Familiarity:
    """`projection` (K, F) and `offset` (K,) map features (N, F) to where the spread within classes is 1.

    `means` (C, K) are the classes' middles there.
    """

    projection: Tensor
    offset: Tensor
    means: Tensor

    @property
    def state(self) -> dict[str, Tensor]:
        return {f"{PREFIX}{name}": getattr(self, name) for name in ("projection", "offset", "means")}

    @classmethod
    def of(cls, state: dict[str, Tensor]) -> Familiarity | None:
        """From a release's tensors; None where the release has none."""
        if f"{PREFIX}means" not in state:
            return None
        parts = (state[f"{PREFIX}{name}"].float() for name in ("projection", "offset", "means"))
        return cls(*parts)

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Of features (N, F): squared distance to the nearest class over the number of dimensions (N,).

        About 1 for what is familiar.
        """
        means = self.means.numpy().astype(np.float64)
        projected = features.astype(np.float64) @ self.projection.numpy().T.astype(np.float64) + self.offset.numpy()
        gaps = projected[:, None, :] - means[None]
        nearest: np.ndarray = (gaps**2).sum(2).min(1) / means.shape[1]
        return nearest


def fit(features: np.ndarray, labels: np.ndarray, dimensions: int = DIMENSIONS) -> Familiarity:
    """From features (N, F) of the pictures learned from and their classes (N,)."""
    classes = np.unique(labels)
    centres = np.stack([features[labels == label].mean(0) for label in classes])
    within = features - centres[np.searchsorted(classes, labels)]
    values, vectors = np.linalg.eigh(np.cov(features, rowvar=False))
    kept = vectors[:, np.argsort(-values)[: min(dimensions, features.shape[1])]]
    shrunk = LedoitWolf(assume_centered=True).fit(within @ kept).covariance_
    values, rotation = np.linalg.eigh(shrunk)
    whitening = kept @ (rotation / np.sqrt(np.maximum(values, 1e-12)))
    middle = features.mean(0)
    return Familiarity(
        projection=torch.from_numpy(whitening.T.astype(np.float32)).contiguous(),
        offset=torch.from_numpy((-middle @ whitening).astype(np.float32)),
        means=torch.from_numpy(((centres - middle) @ whitening).astype(np.float32)),
    )


def told_apart(near: np.ndarray, far: np.ndarray) -> dict[str, float]:
    """How well distances tell `far` from `near` pictures: AUROC, and the share of the near ones (0..1) that is lost
    when 95 % of the far ones are recognised."""
    truth = np.repeat([False, True], [len(near), len(far)])
    cut = np.quantile(far, 0.05)
    return {
        "images": len(far),
        "auroc": metrics.auroc(truth, np.concatenate([near, far])),
        "fpr_at_95_tpr": float((near >= cut).mean()),
    }
