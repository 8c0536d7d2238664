"""The steps of all copies: batches, settings and draws of each, one graph for all."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from pyro_mivae.batches import Batch
from pyro_mivae.infer.compiled.capture import NotCapturedError
from pyro_mivae.infer.compiled.checking import RecordingError
from pyro_mivae.infer.compiled.graphs import Scalars, signature
from pyro_mivae.infer.compiled.settings import StepSettings, settings_of
from pyro_mivae.training.many.batching import Argument, StackedGraph, batch_graph
from pyro_mivae.training.many.copies import CopyLoop
from pyro_mivae.training.many.draws import Draws, Streams
from pyro_mivae.training.many.recording import Inputs, Recorded, look, record
from pyro_mivae.training.many.stack import Stack
from pyro_mivae.training.steps import is_checked

GRAPHS = 8
"""Graphs at most: whole and last batches, with and without the term, and some to spare."""


class Stepping:
    """The computation of a step of all copies.

    Args:
        loops: The copies.
        stack: Their parameters and buffers.
        compile: Whether Inductor compiles the graphs.

    Attributes:
        last: Steps done before the last one.
    """

    last = 0

    def __init__(self, loops: Sequence[CopyLoop], stack: Stack, compile: bool) -> None:  # noqa: A002
        self.loops, self.stack, self.compile = loops, stack, compile
        self.device = loops[0].fabric.device
        self.streams = Streams(loops, self.device)
        self._graphs: dict[Hashable, StackedGraph] = {}
        self._scalars = Scalars()
        self._constants: dict[int, tuple[Tensor, Argument]] = {}  # of the first copy, by id
        self._looked = False
        self._programs: dict[Hashable, tuple[str, list[Tensor]]] = {}  # of the first copy

    def prepare(self) -> None:
        """Makes the graph of the first step, before anything is written.

        Raises:
            ValueError: If the pairs can't be trained as one.
        """
        states = [loop.random for loop in self.loops]
        self._graph(self._batches())
        for loop, state in zip(self.loops, states, strict=True):
            loop.random = state

    def __call__(self) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor], float]:
        """Computes a step.

        Returns:
            The stacked parameters, their gradients, the terms ``(copies,)`` summed over the data,
            and the number of data that these sums are divided by.
        """
        batches = self._batches()
        graph, inputs = self._graph(batches)
        graph.draws.active = [i for i, loop in enumerate(self.loops) if loop.active]
        gradients, terms = graph(inputs, self.device)
        return graph.trained, gradients, terms, self._divisor(batches[0])

    def _divisor(self, batch: Batch) -> float:
        return self.loops[0].objective.game.divisor(batch.count)

    def _batches(self) -> list[Batch]:
        """The batch of each copy; one that is not trained has that of another."""
        batches: dict[int, Batch] = {}
        for number, loop in enumerate(self.loops):
            if loop.active:
                with self.streams.of(number):  # for draws of prepare
                    batches[number] = loop.batch()
        spare = next(iter(batches.values()))
        return [batches.get(number, spare) for number in range(len(self.loops))]

    def _graph(self, batches: Sequence[Batch]) -> tuple[StackedGraph, list[Tensor]]:
        """The graph of a step, and its inputs but for draws."""
        flat = [pytree.tree_flatten((batch.args, batch.kwargs)) for batch in batches]
        leaves, spec = flat[0]
        kind = (spec, *signature(leaves), batches[0].count)
        for loop, batch, (other, nesting) in zip(self.loops, batches, flat, strict=True):
            if (nesting, *signature(other), batch.count) != kind:
                raise ValueError(
                    f"data: the batches of seeds {self.loops[0].seed} and {loop.seed} differ in "
                    f"shape, type or number at step {loop.step + 1}, or in what is no tensor. "
                    "Train each seed with fit, in a loop"
                )
        settings = [settings_of(loop.elbo) for loop in self.loops]
        if len({one.key for one in settings}) > 1:
            raise ValueError(
                "make_pair: the ELBOs of the seeds have weights or scales of different kinds, as 0 "
                "in one, which leaves the term out, and another number in another"
            )
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        inputs = [_together([other[place] for other, _ in flat]) for place in places]
        inputs += self._settings_inputs(settings, self._divisor(batches[0]))
        key = (kind, settings[0].key, tuple(argument.stacked for argument in inputs))
        if key not in self._graphs:
            if len(self._graphs) == GRAPHS:
                raise ValueError(
                    f"fit_many has made {GRAPHS} graphs, one for each shape of the arguments and "
                    "kind of settings, and there is need for more. Train each seed with fit, in a "
                    "loop"
                )
            self._graphs[key], first = self._make(batches, flat, settings, inputs)
            self._programs[key] = first.module.code, first.lifted
        elif self._is_due():
            self._require_same_program(*self._programs[key], batches, flat, settings)
        return self._graphs[key], [argument.tensor for argument in inputs]

    def _settings_inputs(self, settings: Sequence[StepSettings], count: float) -> list[Argument]:
        """Weights and scales, one of all copies where these have the same number."""
        inputs = []
        columns = list(zip(*(one.inputs for one in settings), strict=True))
        common = self._scalars((*(column[0] for column in columns), 1 / count), self.device)
        for column, shared in zip(columns, common, strict=False):
            same = all(value is column[0] or _equal(value, column[0]) for value in column)
            values = [torch.as_tensor(v, dtype=shared.dtype).to(self.device) for v in column]
            inputs.append(Argument(shared if same else torch.stack(values), not same))
        return [*inputs, Argument(common[-1], False)]

    def _make(
        self,
        batches: Sequence[Batch],
        flat: Sequence[tuple[list[Any], Any]],
        settings: Sequence[StepSettings],
        inputs: Sequence[Argument],
    ) -> tuple[StackedGraph, Recorded]:
        def recorded(number: int) -> Recorded:
            if not self._looked:
                look(self.loops[number], batches[number].args, batches[number].kwargs)
            return self._record(number, batches[number], flat[number], settings[number])

        try:
            first = recorded(0)
            known = all(
                id(tensor) in self._constants or self.stack.place(0, tensor) is not None
                for tensor in first.lifted
            )
            if not (self._looked and known):
                others = [recorded(number) for number in range(1, len(self.loops))]
                self._compare(first, others)
            self._looked = True
            lifted = [self._argument(tensor) for tensor in first.lifted]
            draws = Draws(first.groups, self.streams, [])
            run = batch_graph(first, inputs, lifted, draws, compile=self.compile)
        except NotCapturedError as error:
            raise ValueError(
                f"fit_many can't train these pairs as one: {error}. Train each seed with fit, in a "
                "loop"
            ) from error
        places = [self.stack.place(0, leaf) for leaf in first.leaves]
        trained = [self.stack.values[place] for place in places if place is not None]
        if len(trained) < len(places):
            raise ValueError(
                "make_pair: model or guide use a parameter that belongs to none of their modules. "
                "Train each seed with fit, in a loop"
            )
        graph = StackedGraph(run, [a.tensor for a in lifted], trained, first.names, draws)
        return graph, first

    def _record(
        self, number: int, batch: Batch, flat: tuple[list[Any], Any], settings: StepSettings
    ) -> Recorded:
        scalars = self._scalars((*settings.inputs, 1 / self._divisor(batch)), self.device)
        return record(self.loops[number], Inputs(*flat, settings, scalars))

    def _is_due(self) -> bool:
        """Whether the first copy's program is looked at again, before this step."""
        return self.loops[0].active and is_checked(self.loops[0].step, self.last)

    def _require_same_program(
        self,
        code: str,
        lifted: Sequence[Tensor],
        batches: Sequence[Batch],
        flat: Sequence[tuple[list[Any], Any]],
        settings: Sequence[StepSettings],
    ) -> None:
        """Refuses a first copy whose step is not any more what was recorded.

        Raises:
            RecordingError: If its operations, numbers or tensors are others.
        """
        random = self.loops[0].random
        again = self._record(0, batches[0], flat[0], settings[0])
        self.loops[0].random = random
        constants = (
            (tensor, other)
            for tensor, other in zip(lifted, again.lifted, strict=False)
            if self.stack.place(0, tensor) is None
        )
        if again.module.code == code and all(torch.equal(*pair) for pair in constants):
            return
        raise RecordingError(
            f"the step of seed {self.loops[0].seed} is not any more what was recorded "
            f"{self.loops[0].step} steps ago or less. The program depends on something that was a "
            "constant then: a number or a flag of Python's, or a counter. Keep it in a buffer, "
            "which a recorded step reads anew, or train each seed with fit, in a loop"
        )

    def _argument(self, tensor: Tensor) -> Argument:
        """What the graph of all copies has in the place of a tensor of the first copy's."""
        place = self.stack.place(0, tensor)
        if place is not None:
            return Argument(self.stack.values[place], True)
        return self._constants[id(tensor)][1]

    def _compare(self, first: Recorded, others: Sequence[Recorded]) -> None:
        """Looks whether the copies are one program, and finds the tensors that tell them apart.

        Raises:
            ValueError: If they are not.
        """
        for loop, other in zip(self.loops[1:], others, strict=True):
            if other.module.code != first.module.code:
                operations = (_operations(recorded.module.code) for recorded in (first, other))
                pairs = zip_longest(*operations, fillvalue="no more operations")
                one, another = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
                raise ValueError(
                    f"make_pair: expected one program for all seeds, but those of "
                    f"{self.loops[0].seed} and {loop.seed} differ, first in '{one}' and "
                    f"'{another}'. The seed may change weights and data alone, not numbers that "
                    "are attributes, and not the channel or the number of draws"
                )
        for number, tensor in enumerate(first.lifted):
            column = [tensor, *(other.lifted[number] for other in others)]
            places = {self.stack.place(copy, one) for copy, one in enumerate(column)}
            if len(places) > 1:
                raise ValueError(
                    "make_pair: the copies use their parameters in different places: make new "
                    "modules in each call"
                )
            if places == {None}:
                same = all(one is tensor or torch.equal(one, tensor) for one in column)
                own = tensor if same else torch.stack([one.detach() for one in column])
                self._constants[id(tensor)] = (tensor, Argument(own.detach(), not same))


def _operations(code: str) -> list[str]:
    """The lines of a graph's code behind its signature."""
    return [line.strip() for line in code.splitlines() if not line.startswith("def ")]


def _together(leaves: Sequence[Tensor]) -> Argument:
    """The tensors of all copies as one; one and the same is not stacked."""
    if all(leaf is leaves[0] for leaf in leaves):
        return Argument(leaves[0].detach(), False)
    return Argument(torch.stack([leaf.detach() for leaf in leaves]), True)


def _equal(value: Any, other: Any) -> bool:
    numbers = not isinstance(value, Tensor) and not isinstance(other, Tensor)
    return numbers and bool(value == other)
