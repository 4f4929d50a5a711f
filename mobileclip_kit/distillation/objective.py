"""What the trainer needs of an objective: modules with weights, and a loss for a batch; and how a loss is looked up."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from mobileclip_kit.data.images import Rows
from mobileclip_kit.distillation.tables import Term

# A scalar to descend, and its parts for the log.
LossAndLog = tuple[Tensor, dict[str, float]]


@dataclass(frozen=True)
class StepContext:
    """The place of a step in its run: random choices of a step depend on it, and on nothing that happened before.

    Attributes:
        step: From 0.
        steps: Of the whole run.
        epoch: From 0; passes over the images.
        seed: Of the run.
    """

    step: int
    steps: int
    epoch: int
    seed: int


@dataclass(frozen=True)
class Batch:
    """The inputs of an objective.

    Attributes:
        rows: The images' places in the training set, ``(n,)`` int64: objectives look up vectors or captions by them.
        images: Augmented and normalised, ``(n, 3, height, width)`` float32, on the training device. Channels are last
            in memory: convolutions on a CPU take 6 to 30 % less time so, and transformers do not care.
        context: The step's place in the run.
    """

    rows: Rows
    images: Tensor
    context: StepContext


class Objective(Protocol):
    """A loss together with the modules it trains."""

    def modules(self) -> Mapping[str, nn.Module]:
        """The modules to train, by name: parameters that require a gradient are updated and kept in checkpoints.

        The names must be the same in every run of one configuration: a checkpoint is read back by them.
        """
        ...

    def loss(self, batch: Batch) -> LossAndLog:
        """The scalar to descend, and its parts for the log.

        torch's random numbers are seeded for each step before the call, so that an objective may draw from them and a
        resumed run still equals the uninterrupted one.
        """
        ...


@dataclass(frozen=True)
class Encoded:
    """The vectors of a batch, each ``(n, d)`` and in the order of its rows.

    Attributes:
        trained: What gradients flow through.
        constant: The teachers'.
    """

    trained: dict[str, Tensor]
    constant: dict[str, Tensor]


@runtime_checkable
class VectorObjective(Objective, Protocol):
    """A loss of vectors that are computed image by image.

    Such a batch can be cut into parts that do not fit into memory together, or lie on several machines: the parts'
    vectors are brought together, compared as a whole, and the gradient goes back into each part.
    """

    def loss(self, batch: Batch) -> LossAndLog:
        """The loss of a batch that is all there is."""
        return self.compare(self.encode(batch), self.shared(batch.context), batch.rows, batch.context)

    def encode(self, batch: Batch) -> Encoded:
        """The vectors of some images of a batch."""
        ...

    def shared(self, context: StepContext) -> dict[str, Tensor]:
        """Vectors of a step that belong to no image (a bank of texts), computed in one go."""
        ...

    def compare(self, encoded: Encoded, shared: Mapping[str, Tensor], rows: Rows, context: StepContext) -> LossAndLog:
        """The loss of a whole batch.

        Args:
            encoded: Of all its images.
            shared: From :meth:`shared`.
            rows: The images' places in the training set.
            context: The step's place in the run.
        """
        ...


def compute_term(term: Term, *places: object) -> Tensor:
    """Call a term's loss.

    Args:
        term: The row of the recipe's table.
        places: Objects whose attributes its arguments are; the first that has one gives it.
    """
    module, _, name = term.loss.rpartition(".")
    function: Any = getattr(importlib.import_module(f"mobileclip_kit.losses.{module}"), name)
    arguments: list[Any] = []
    keywords: dict[str, Any] = {}
    for keyword, source in term.inputs:
        place = next((place for place in places if hasattr(type(place), source)), None)
        if place is None:
            raise TypeError(f"{term.loss} is to be given {source!r}, which is neither an input nor an option.")
        value = getattr(place, source)
        if keyword in ("", "*"):
            arguments += value if keyword else [value]
        else:
            keywords[keyword] = value
    loss: Tensor = function(*arguments, **keywords)
    return loss
