"""In what order a program is computed, in which loops, and in whose memory: the same for one point and for many."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..program import LIBRARY_CALLS, Element, Program, Whole


@dataclass(frozen=True)
class Loop:
    """Nodes computed in one loop: ``numbers`` together, ``vectors`` of one width lane by lane, one ``dot``, one
    ``stack``."""

    kind: str
    nodes: tuple[int, ...]


def schedule(program: Program) -> list[Loop]:
    """Loops as few as the dependencies allow: each takes whatever has become ready since the one before."""
    nodes = program.nodes
    needs = [{a.node for a in node.arguments if isinstance(a, Element | Whole)} for node in nodes]
    done, waiting, steps = {0}, list(range(1, len(nodes))), []
    while waiting:
        chosen: list[int] = []
        kind, width = "", 0
        for want in ("numbers", "call", "vectors", "stack", "dot"):
            for index in waiting:
                # Inside a loop of numbers or lanes one operation may follow the other.
                ready = needs[index] <= (done | set(chosen) if want in ("numbers", "vectors") else done)
                if _kind(program, index) == want and ready and (not chosen or nodes[index].width == width):
                    chosen.append(index)
                    width = nodes[index].width
                    if want in ("call", "stack", "dot"):
                        break
            if chosen:
                kind = want
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
    # A call in a loop of other operations would keep a compiler from vectorising any of them.
    return "call" if node.operation in LIBRARY_CALLS else "numbers"


def stored(program: Program, steps: Sequence[Loop]) -> set[int]:
    """Nodes whose values outlive their loop. Conditions never do: they are written where they are used."""
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
    """What a node reads, conditions replaced by what they are made of."""
    read: list[Element | Whole] = []
    for a in program.nodes[index].arguments:
        if isinstance(a, Element | Whole):
            read += _values_read(program, a.node) if program.nodes[a.node].boolean else [a]
    return read


def buffers(program: Program, steps: Sequence[Loop], kept: set[int]) -> dict[int, int]:
    """Which piece of memory each stored vector takes: one whose last reader is past is given to the next of its width.

    Returns:
        ``{node: number of its buffer}``; a buffer is named after the first node that had it.
    """
    last: dict[int, int] = {item.node: len(steps) for item in program.outputs if isinstance(item, Element)}
    for i, step in reversed(list(enumerate(steps))):
        for index in step.nodes:
            for a in _values_read(program, index):
                last.setdefault(a.node, i)
    taken: dict[int, int] = {0: 0}
    free: list[int] = []
    for i, step in enumerate(steps):
        dead = [node for node in taken if node and last.get(node, -1) == i]
        if step.kind == "vectors":  # lane by lane: a result may go where its argument was
            free += [taken[node] for node in dead]
        for index in step.nodes:
            if index in kept and program.nodes[index].vector:
                same = [b for b in free if program.nodes[b].width == program.nodes[index].width]
                taken[index] = same[0] if same else index
                if same:
                    free.remove(same[0])
        if step.kind != "vectors":
            free += [taken[node] for node in dead]
    return taken
