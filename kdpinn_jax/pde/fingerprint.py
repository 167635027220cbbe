"""Fingerprints: digests of what functions compute, taken from the programs that JAX traces.

Two functions with the same fingerprint compute the same values, wherever and under whatever name they are defined. A
function that is edited, or closes over another number, has another fingerprint.
"""

import enum
import functools
import hashlib
import re
from collections.abc import Callable, Mapping
from types import CodeType
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from ..base.types import is_key
from .probe import (
    abstract_floats,
    abstract_key,
    ansatz_arguments,
    draw_rows,
    probed_ansatz,
    probed_residual,
    residual_arguments,
)

if TYPE_CHECKING:  # Problem compares its fingerprints
    from .problem import Problem, Term

#: Primitives that call Python code, whose effect on the values is not part of the traced program.
_CALLBACKS = ("pure_callback", "io_callback", "python_callback")
#: Where an object's representation contains its address in memory.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+| 0x[0-9a-f]+")


class NoFingerprint(ValueError):
    """A function whose program cannot be compared with another one; the message says why."""


def fingerprint(what: str, function: Callable[..., Any], *arguments: Any) -> str:
    """A digest of the program of a function, with all of its constants, traced in float64.

    It depends on the versions of JAX and Python.

    Args:
        what: names the function in the message.
        function: a function that JAX can trace.
        arguments: pytrees of arrays or of ``jax.ShapeDtypeStruct``; their values are not part of the program.

    Raises:
        NoFingerprint: the function calls Python code through a callback, or depends on a value that is being traced.
    """
    with jax.enable_x64(True):
        program = jax.make_jaxpr(function)(*arguments)
    content: list[str] = []
    try:
        _describe(program, content)
    except NoFingerprint as reason:
        raise NoFingerprint(f"{what} cannot be compared with what it was before: {reason}") from None
    return hashlib.sha256("\n".join(content).encode()).hexdigest()[:32]


def _describe(value: Any, content: list[str]) -> None:
    """Append everything that distinguishes a parameter of a program."""
    if isinstance(value, ClosedJaxpr | Jaxpr):  # one class from JAX 0.12 on, whose attribute jaxpr is the object itself
        program: Any = value
        _describe_jaxpr(getattr(program, "jaxpr", program), content)
        for constant in getattr(program, "consts", ()):
            _describe(constant, content)
    elif isinstance(value, Tracer):
        raise NoFingerprint("it depends on a value that is being traced by jit, vmap or grad")
    elif isinstance(value, jax.Array | np.generic) or hasattr(value, "__array__"):  # JAX 0.8 and 0.9 wrap arrays
        array = np.asarray(jax.random.key_data(value) if isinstance(value, jax.Array) and is_key(value) else value)
        content.append(f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}")
    elif isinstance(value, Mapping):
        for name in sorted(value, key=str):
            content.append(f"{name}=")
            _describe(value[name], content)
    elif isinstance(value, tuple | list | set | frozenset):
        content.append(f"{type(value).__name__}{len(value)}")
        for element in sorted(value, key=str) if isinstance(value, set | frozenset) else value:
            _describe(element, content)
    elif isinstance(value, bool | int | float | complex | str | bytes | enum.Enum | np.dtype | None):
        content.append(repr(value))
    elif callable(value) and not isinstance(value, type):
        _describe_function(value, content)
    else:
        content.append(_ADDRESS.sub("", repr(value)))


def _describe_jaxpr(jaxpr: Jaxpr, content: list[str]) -> None:
    numbers: dict[Any, int] = {}

    def name(variable: Any) -> str:
        if isinstance(variable, Literal):
            _describe(variable.val, content)
            return f"literal {variable.aval}"
        return f"{numbers.setdefault(variable, len(numbers))}:{variable.aval}"

    content.append(" ".join(map(name, (*jaxpr.constvars, *jaxpr.invars))))
    for equation in jaxpr.eqns:
        if equation.primitive.name in _CALLBACKS:
            raise NoFingerprint(f"it calls Python code through {equation.primitive.name}, which could be edited unseen")
        inputs, outputs = " ".join(map(name, equation.invars)), " ".join(map(name, equation.outvars))
        content.append(f"{outputs} = {equation.primitive.name} {inputs}")
        _describe(equation.params, content)
    content.append("return " + " ".join(map(name, jaxpr.outvars)))


def _describe_function(function: Any, content: list[str]) -> None:
    """A function among the parameters of a program, such as the derivative rule of a custom_jvp."""
    function = getattr(function, "f", function)  # JAX wraps such rules
    content.append(
        f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}"
    )
    if isinstance(code := getattr(function, "__code__", None), CodeType):
        _describe_code(code, content)


def _describe_code(code: CodeType, content: list[str]) -> None:
    content.append(f"{code.co_code.hex()} {code.co_names}")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _describe_code(constant, content)
        else:
            _describe(constant, content)


#: The functions of a problem besides those of its terms.
FUNCTIONS = ("embedding", "ansatz", "inside")


class Fingerprints(NamedTuple):
    """A digest for each function of a problem that training uses.

    Attributes:
        functions: those of ``FUNCTIONS``, as far as the problem has them.
        terms: those of the terms, by name.
    """

    functions: dict[str, str]
    terms: dict[str, str]

    def labelled(self) -> dict[str, str]:
        """All digests, with labels for messages."""
        return self.functions | {f"term {name!r}": digest for name, digest in self.terms.items()}


def problem_fingerprints(problem: "Problem") -> Fingerprints:
    """The fingerprints of a problem.

    Args:
        problem: any problem.

    Raises:
        NoFingerprint: as ``fingerprint``.
    """
    with jax.enable_x64(True):
        z = abstract_floats(len(problem.axes))
        functions = {"embedding": fingerprint(f"the embedding of problem {problem.name!r}", problem.embedding, z)}
        if problem.ansatz is not None:
            apply = functools.partial(probed_ansatz, problem.ansatz)
            functions["ansatz"] = fingerprint(
                f"the ansatz of problem {problem.name!r}", apply, *ansatz_arguments(problem)
            )
        if problem.inside is not None:
            z = abstract_floats(problem.coordinates)
            functions["inside"] = fingerprint(f"inside of problem {problem.name!r}", problem.inside, z)
    terms = {name: term_fingerprint(problem, name, term) for name, term in problem.terms.items()}
    return Fingerprints(functions, terms)


def term_fingerprint(problem: "Problem", name: str, term: "Term") -> str:
    """A digest of where a term is sampled, of its residual, and of the numbers bound to both.

    Args:
        problem: supplies the axes, the fields and the coefficients.
        name: the name of the term in messages.
        term: one of the problem's terms, or another one for the same problem.

    Raises:
        NoFingerprint: as ``fingerprint``.
    """
    what = f"the term {name!r} of problem {problem.name!r}"
    key = abstract_key()
    draw, residual = functools.partial(draw_rows, term), functools.partial(probed_residual, term)
    with jax.enable_x64(True):
        row = abstract_floats(jax.eval_shape(draw, key).shape[1])
        arguments = residual_arguments(problem, row)
    return fingerprint(what, draw, key) + fingerprint(what, residual, *arguments)
