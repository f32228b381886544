"""The network: torchvision's ResNeXt-50 32x4d with a head of our own size.

Xie et al., *Aggregated Residual Transformations for Deep Neural Networks*, CVPR 2017.
Input: float (N, 3, H, W), normalised as the manifest says; any H, W >= 32. Output: logits (N, classes).
"""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import resnext50_32x4d

ARCHITECTURE = "resnext50_32x4d"
FEATURES = 2048


def build(classes: int, dropout: float = 0.0) -> nn.Module:
    """A freshly initialised network; random weights, nothing is downloaded."""
    if classes < 2:
        raise ValueError("a classifier needs at least two classes")
    net = resnext50_32x4d(weights=None)
    net.fc = nn.Sequential(nn.Dropout(dropout), nn.Linear(FEATURES, classes))
    zero_last_gammas(net)
    return net


def zero_last_gammas(net: nn.Module) -> None:
    """Start every residual block as identity (Goyal et al. 2017): steadier first epochs."""
    for name, parameter in net.named_parameters():
        if name.endswith("bn3.weight"):
            nn.init.zeros_(parameter)


class FeaturesToo(nn.Module):
    """A head that gives the logits and, after them, the features it got: float (N, classes + 2048)."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.head(features).float(), features.float()], dim=1)


def give_features(net: nn.Module) -> None:
    """Make a built network give its features after the logits."""
    net.fc = FeaturesToo(net.get_submodule("fc"))


def last_layer(net: nn.Module) -> nn.Linear:
    """The linear layer that makes logits of features."""
    found = net.get_submodule("fc.head.1" if isinstance(net.fc, FeaturesToo) else "fc.1")
    if not isinstance(found, nn.Linear):
        raise TypeError("the network's head does not end in a linear layer")
    return found


def load_trunk(net: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Take everything but the head from another task's weights."""
    trunk = {key: value for key, value in state.items() if not key.startswith("fc.")}
    missing, unexpected = net.load_state_dict(trunk, strict=False)
    if unexpected or any(not key.startswith("fc.") for key in missing):
        raise ValueError("the weights to start from belong to another architecture")


def parameter_count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())
