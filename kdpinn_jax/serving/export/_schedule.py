"""The order and the loops in which a program is computed, and its buffers; the same for one point and for a block."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..program import LIBRARY_CALLS, Element, Program, Whole


@dataclass(frozen=True)
class Loop:
    """Nodes that are computed in one loop.

    Attributes:
        kind: ``numbers``, all together; ``vectors`` of one width, lane by lane; one ``dot``; or one ``stack``.
        nodes: their indices, in the order of evaluation.
    """

    kind: str
    nodes: tuple[int, ...]


def schedule(program: Program) -> list[Loop]:
    """Few loops, in an order that respects the dependencies: each takes every node that has become ready."""
    nodes = program.nodes
    needs = [{a.node for a in node.arguments if isinstance(a, Element | Whole)} for node in nodes]
    done, waiting, steps = {0}, list(range(1, len(nodes))), []
    while waiting:
        chosen: list[int] = []
        kind, width = "", 0
        for candidate in ("numbers", "call", "vectors", "stack", "dot"):
            for index in waiting:
                # Within a loop over numbers or lanes, an operation may depend on an earlier one of the same loop.
                ready = needs[index] <= (done | set(chosen) if candidate in ("numbers", "vectors") else done)
                if _kind(program, index) == candidate and ready and (not chosen or nodes[index].width == width):
                    chosen.append(index)
                    width = nodes[index].width
                    if candidate in ("call", "stack", "dot"):
                        break
            if chosen:
                kind = candidate
                break
        steps.append(Loop("numbers" if kind == "call" else kind, tuple(chosen)))
        done |= set(chosen)
        waiting = [index for index in waiting if index not in done]
    return steps


def _kind(program: Program, index: int) -> str:
    node = program.nodes[index]
    if node.operation in ("stack", "dot"):
        return node.operation
    if node.vector:
        return "vectors"
    # A library call in a loop with other operations would keep a compiler from vectorising any of them.
    return "call" if node.operation in LIBRARY_CALLS else "numbers"


def stored(program: Program, steps: Sequence[Loop]) -> set[int]:
    """The nodes whose values are needed after their loop.

    Conditions are never stored: their expressions are repeated where they are used.
    """
    step_of = {index: i for i, step in enumerate(steps) for index in step.nodes}
    kept = {item.node for item in program.outputs if isinstance(item, Element)}
    for index, node in enumerate(program.nodes):
        for a in _values_read(program, index):
            if isinstance(a, Element) and (program.nodes[a.node].vector or step_of[a.node] != step_of[index]):
                kept.add(a.node)
            if isinstance(a, Whole) and step_of.get(a.node) != step_of[index]:
                kept.add(a.node)
        if node.operation in ("stack", "dot"):
            kept.add(index)
    return kept | {0}


def _values_read(program: Program, index: int) -> list[Element | Whole]:
    """The values that a node reads; a condition is replaced by the values that it reads."""
    read: list[Element | Whole] = []
    for a in program.nodes[index].arguments:
        if isinstance(a, Element | Whole):
            read += _values_read(program, a.node) if program.nodes[a.node].boolean else [a]
    return read


def buffers(program: Program, steps: Sequence[Loop], kept: set[int]) -> dict[int, int]:
    """Assign a buffer to each stored vector. A buffer that is no longer read is reused by the next vector of its width.

    Args:
        program: supplies the nodes.
        steps: the loops of ``schedule``.
        kept: the nodes of ``stored``.

    Returns:
        ``{node: buffer}``; a buffer has the index of the first node that used it.
    """
    last_read: dict[int, int] = {item.node: len(steps) for item in program.outputs if isinstance(item, Element)}
    for i, step in reversed(list(enumerate(steps))):
        for index in step.nodes:
            for a in _values_read(program, index):
                last_read.setdefault(a.node, i)
    assigned: dict[int, int] = {0: 0}
    free: list[int] = []
    for i, step in enumerate(steps):
        released = [node for node in assigned if node and last_read.get(node, -1) == i]
        if step.kind == "vectors":  # lane by lane, so that a result may replace its argument
            free += [assigned[node] for node in released]
        for index in step.nodes:
            if index in kept and program.nodes[index].vector:
                fitting = [b for b in free if program.nodes[b].width == program.nodes[index].width]
                assigned[index] = fitting[0] if fitting else index
                if fitting:
                    free.remove(fitting[0])
        if step.kind != "vectors":
            free += [assigned[node] for node in released]
    return assigned
