"""What a network is made of, as far as stability goes: normalisation, residual connections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lrsearch.diagnosis.range_test import kept_generators, kept_network
from lrsearch.tasks import Supervised, as_input

_MANY_LAYERS = 4
"""Weight layers from which a network without either is named deep."""


@dataclass(frozen=True)
class Network:
    """What a network is made of.

    Args:
        layers: how many weights of two or more dimensions it has.
        normalised: whether it has a layer of normalisation.
        residual: how many residual connections: sums of two paths from one activation.
        post_norm: how many of these sums nothing but a normalisation reads: Norm(x + f(x)).
    """

    layers: int
    normalised: bool
    residual: int
    post_norm: int

    def advice(self) -> list[str]:
        """Return what would make training more stable, a sentence each; none if all is there."""
        lines = []
        if not self.normalised:
            lines.append(
                f"The network ({self.layers} layers of weights) has no normalisation: add it after "
                "each (nn.BatchNorm2d, nn.LayerNorm)."
            )
        if not self.residual and self.layers >= _MANY_LAYERS:
            lines.append(
                "It has no residual connection: x + Norm(f(x)) keeps deep networks trainable, "
                "best with f starting at zero."
            )
        if self.post_norm > 1:  # the last sum of a pre-norm network is normalised too
            lines.append(
                f"{self.post_norm} of its residual sums are normalised afterwards, Norm(x + f(x)), "
                "which is known to be unstable: normalise inside, x + f(Norm(x)) "
                "(norm_first=True in torch's transformers)."
            )
        return lines


def inspect_network(task: Supervised, *, seed: int, device: str) -> Network:
    """Look for normalisation and residual connections, in the modules and in one forward pass."""
    with kept_generators(device), kept_network(task, seed, device, 1e-3) as training:
        network = training.network
        inputs = as_input(training.data.train[0][: task.batch_size])
        if inputs.is_floating_point():
            inputs = inputs.detach().clone().requires_grad_()  # x + f(x) counts in the first layer
        graph = _Graph(_tensors(network.train()(inputs)), network.parameters())
    weights = [p for p in network.parameters() if p.dim() > 1]
    names = (type(module).__name__.lower() for module in network.modules())
    return Network(
        layers=len(weights),
        normalised=any("norm" in name for name in names) or any(map(_normalises, graph.nodes)),
        residual=len(graph.residual),
        post_norm=sum(
            bool(readers := graph.readers[node]) and all(map(_normalises, readers))
            for node in graph.residual
        ),
    )


class _Graph:
    """autograd's graph of a forward pass."""

    def __init__(self, outputs: Iterable[Tensor], parameters: Iterable[nn.Parameter]) -> None:
        self._constant = {id(p) for p in parameters}
        self.nodes: list[Any] = []
        self.readers: dict[Any, list[Any]] = {}
        waiting = [output.grad_fn for output in outputs if output.grad_fn is not None]
        self.readers.update((node, []) for node in waiting)
        while waiting:
            node = waiting.pop()
            self.nodes.append(node)
            for before in _before(node):
                if before not in self.readers:
                    self.readers[before] = []
                    waiting.append(before)
                self.readers[before].append(node)
        self.residual = [node for node in self.nodes if self._is_residual(node)]

    def _is_residual(self, node: Any) -> bool:
        paths = list(_before(node))
        if not node.name().startswith("AddBackward") or len(paths) != 2:
            return False
        first, second = (self._activations(path) for path in paths)
        return bool(first & second)

    def _activations(self, node: Any) -> set[Any]:
        """Return what a node comes from, itself included, parameters left out."""
        found, waiting = set(), [node]
        while waiting:
            node = waiting.pop()
            if node in found or id(getattr(node, "variable", None)) in self._constant:
                continue
            found.add(node)
            waiting.extend(_before(node))
        return found


def _before(node: Any) -> Iterator[Any]:
    return (before for before, _ in node.next_functions if before is not None)


def _normalises(node: Any) -> bool:
    name = node.name()
    return "BatchNorm" in name or "LayerNorm" in name or "GroupNorm" in name or "RmsNorm" in name


def _tensors(outputs: Any) -> list[Tensor]:
    """Return the tensors among a network's outputs."""
    if isinstance(outputs, Tensor):
        return [outputs]
    inner = outputs.values() if isinstance(outputs, dict) else outputs
    return [t for t in inner if isinstance(t, torch.Tensor)] if hasattr(inner, "__iter__") else []
