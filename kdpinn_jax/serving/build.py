"""Builds a program node by node: constants are folded, equal nodes shared, and unused nodes dropped.

An array in a program is a NumPy array of dtype object that holds elements of nodes and constants. An array of constants
alone has a numerical dtype.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from .program import LAX_NAMES, Argument, Element, Node, Program, Whole

#: A row of at least this many numbers is a vector; a shorter row is split into numbers.
WIDE = 4

#: An element of a node, or a constant.
Scalar = Element | float | bool


class Bits(NamedTuple):
    """The bits of a number as an integer, which a program cannot contain and a trace may pass through.

    Attributes:
        number: the number, of float64.
        sign: whether only the bit of the sign is left, and the others are zero or equal to it.
    """

    number: Scalar
    sign: bool = False


class ProgramBuilder:
    """Collects the nodes of a program.

    Attributes:
        nodes: the nodes so far; the first is the input.
        point: the input as an array of elements, (d,).
    """

    def __init__(self, inputs: int) -> None:
        self.nodes: list[Node] = []
        self._indices: dict[Any, int] = {}
        self.point = scalar_array(self._add_vector(Node("input", inputs)), (inputs,))

    def number(self, operation: str, arguments: Sequence[Scalar]) -> Scalar:
        """An operation on numbers: a constant or an argument if that is the result, otherwise a node."""
        if not any(isinstance(argument, Element) for argument in arguments):
            return _folded(operation, arguments)
        if (result := _simplified(operation, arguments)) is not None:
            return result
        return Element(self._add(Node(operation, 1, tuple(arguments))), 0)

    def vector(self, operation: str, rows: Sequence[np.ndarray]) -> list[Element]:
        """An operation on rows of equal length, lane by lane. The sum of a product and a constant becomes its bias."""
        width = len(rows[0])
        arguments = [self._argument(normalised(row)) for row in rows]
        if operation == "add":
            for product, constant in (arguments, arguments[::-1]):
                node = self.nodes[product.node] if isinstance(product, Whole) else None
                if node and node.operation == "dot" and node.bias is None and type(constant) in (tuple, float):
                    bias = np.broadcast_to(constant, width)
                    return self._add_vector(Node("dot", width, node.arguments, node.matrix, bias))
        return self._add_vector(Node(operation, width, tuple(arguments)))

    def times_matrix(self, row: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """row @ matrix, as one node if the row or the product is a vector."""
        row, outputs = normalised(row), matrix.shape[1]
        if is_constant(row):
            return row @ matrix
        if outputs < WIDE and not self._whole(row):
            return scalar_array([self.sum_of_products(row, column) for column in matrix.T], (outputs,))
        node = Node("dot", outputs, (self._whole(row) or self._stacked(row),), np.ascontiguousarray(matrix))
        return scalar_array(self._add_vector(node), (outputs,))

    def sum_of_products(self, x: np.ndarray, y: np.ndarray) -> Scalar:
        """Σ xᵢ yᵢ, without the products that have a constant factor of zero."""
        pairs = zip(map(as_scalar, x), map(as_scalar, y), strict=True)
        products = [self.number("mul", [a, b]) for a, b in pairs if not (_equals(a, 0.0) or _equals(b, 0.0))]
        return functools.reduce(lambda a, b: self.number("add", [a, b]), products) if products else 0.0

    def program(self, outputs: Sequence[Scalar]) -> Program:
        """The program of the nodes that the outputs depend on, and of the input."""
        needed, pending = {0}, [output.node for output in outputs if isinstance(output, Element)]
        while pending:
            index = pending.pop()
            if index not in needed:
                needed.add(index)
                pending += [a.node for a in self.nodes[index].arguments if isinstance(a, Element | Whole)]
        new_index = {old: new for new, old in enumerate(sorted(needed))}

        def renumbered(argument: Any) -> Any:
            return (
                argument._replace(node=new_index[argument.node]) if isinstance(argument, Element | Whole) else argument
            )

        nodes = tuple(
            Node(node.operation, node.width, tuple(map(renumbered, node.arguments)), node.matrix, node.bias)
            for node in (self.nodes[old] for old in sorted(needed))
        )
        return Program(nodes, tuple(map(renumbered, outputs)))

    def _add(self, node: Node) -> int:
        """The index of the node, or of an equal one."""
        matrices = tuple(a if a is None else (a.shape, a.tobytes()) for a in (node.matrix, node.bias))
        # The types distinguish 0.0 from False and 1.0 from True, which Python considers equal.
        arguments = tuple((type(argument), argument) for argument in node.arguments)
        key = node.operation, node.width, arguments, matrices
        if key not in self._indices:
            self._indices[key] = len(self.nodes)
            self.nodes.append(node)
        return self._indices[key]

    def _add_vector(self, node: Node) -> list[Element]:
        return _elements(self._add(node), node.width)

    def _argument(self, row: np.ndarray) -> Argument:
        """A row as an argument of a vector node; numbers of several nodes are stacked first."""
        if is_constant(row):
            return row[0].item() if (row == row[0]).all() else tuple(row.tolist())
        if isinstance(row[0], Element) and all(item == row[0] for item in row):
            return row[0]
        return self._whole(row) or self._stacked(row)

    def _whole(self, row: np.ndarray) -> Whole | None:
        """The vector whose lanes are exactly the row, if there is one."""
        first = row[0]
        if isinstance(first, Element) and self.nodes[first.node].vector:
            return Whole(first.node) if list(row) == _elements(first.node, self.nodes[first.node].width) else None
        return None

    def _stacked(self, row: np.ndarray) -> Whole:
        return Whole(self._add(Node("stack", len(row), tuple(map(as_scalar, row)))))


def is_constant(array: np.ndarray) -> bool:
    """Whether an array holds constants alone."""
    return array.dtype != object


def normalised(array: np.ndarray) -> np.ndarray:
    """The array with a numerical dtype if it holds constants alone."""
    if array.dtype == object and not any(isinstance(item, Element | Bits) for item in array.reshape(-1)):
        return np.array(array.tolist()).reshape(array.shape)
    return array


def scalar_array(items: Sequence[Scalar | Bits], shape: tuple[int, ...]) -> np.ndarray:
    """An array of elements and constants."""
    array = np.empty(len(items), object)
    array[:] = items
    return normalised(array.reshape(shape))


def as_scalar(item: Any) -> Any:
    """An item of an array as an element, a Python number, or bits."""
    return item.item() if isinstance(item, np.generic) else item


def _elements(node: int, width: int) -> list[Element]:
    return [Element(node, lane) for lane in range(width)]


def _equals(item: Scalar, value: float) -> bool:
    """Whether an item is a constant of this value."""
    return not isinstance(item, Element) and item == value


def _simplified(operation: str, arguments: Sequence[Scalar]) -> Scalar | None:
    """The result of x + 0, x − x, x · 1, x · 0 and the like; None if the operation does not simplify.

    A derivative along one axis is full of such operations, and there x · 0 = 0 is correct for every x.
    """
    if operation not in ("add", "sub", "mul", "div"):
        return None
    a, b = arguments
    if operation == "sub" and a == b:
        return 0.0
    if operation in ("mul", "div") and (_equals(a, 0.0) or (operation == "mul" and _equals(b, 0.0))):
        return 0.0
    neutral = 0.0 if operation in ("add", "sub") else 1.0
    if _equals(b, neutral):
        return a
    return b if operation in ("add", "mul") and _equals(a, neutral) else None


def _folded(operation: str, arguments: Sequence[Scalar]) -> Scalar:
    """The value of an operation on constants; whole numbers are numbers as well."""
    values = [np.asarray(a if isinstance(a, bool) else float(a)) for a in arguments]  # pyright: ignore[reportArgumentType]
    if operation == "rint":
        return float(np.rint(values[0]))
    return np.asarray(getattr(jax.lax, LAX_NAMES.get(operation, operation))(*values)).item()
