"""Fuzzing of every file reader of the library with damaged files.

    python tests/fuzz.py --seconds 60 --seed 1

Each case runs under limits on memory and time. The reader must return a value or raise its own error with a message of
one line; otherwise the file is kept and its path is printed. ``test_bad_files.py`` uses the same readers.
"""

import argparse
import contextlib
import json
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import kdpinn_jax as kd
from kdpinn_jax.base.tables.table import TableError
from kdpinn_jax.models.files import measured_errors
from kdpinn_jax.models.history import read_history, write_history
from kdpinn_jax.runs.read_points import read_points
from kdpinn_jax.training.checkpoint_file import LATEST, Content, FinishedStage, RunningStage, Unusable
from kdpinn_jax.training.checkpoint_file import read as read_checkpoint
from kdpinn_jax.training.checkpoint_file import write as write_checkpoint

PROBLEM = kd.problems.ALL["burgers"]


class Reader(NamedTuple):
    """A reader of the library.

    Attributes:
        name: the name of its files.
        write: writes a valid file.
        read: reads a whole file and checks the result.
        error: the type of the reader's own error.
    """

    name: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    error: type[Exception]


def small_model() -> kd.Model:
    """A network with hidden widths 3 and 2 and a made-up report of one stage."""
    report = kd.StageReport(
        stage="Adam",
        planned=40,
        steps=30,
        status=int(kd.Status.TIME_BUDGET),
        record_steps=np.array([20, 30]),
        history={"residual": np.array([0.5, 0.25]), "loss": np.array([0.75, 0.375])},
        fresh_loss=0.5,
        seconds_compiling=1.5,
        seconds=2.5,
        record_seconds=np.array([1.0, 2.5]),
    )
    rng = np.random.default_rng(0)
    params = {
        f"dense_{i}": {"kernel": rng.normal(size=(a, b)), "bias": rng.normal(size=b)}
        for i, (a, b) in enumerate(((2, 3), (3, 2), (2, 1)))
    }
    params = jax.tree.map(jax.numpy.asarray, params)
    return kd.Model(PROBLEM, kd.MLP((3, 2), outputs=1), params, dict(PROBLEM.coefficients), (report,))


def _write_model(path: Path) -> None:
    errors = {"u": kd.Errors(0.1, 0.2, 0.3)}
    kd.save(small_model(), path, metrics=kd.Metrics("u", errors, {"mild right": errors}, {"residual": 0.1}))


def _read_model(path: Path) -> None:
    model = kd.load(path)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(model.params))
    assert jax.eval_shape(model, jax.ShapeDtypeStruct((5, 2), model.dtype)).shape == (5, 1)
    [report.why() for report in model.training]
    kd.diagnose(model.training)
    if errors := measured_errors(path):
        assert not errors.errors or isinstance(errors.relative_l2, float)


def _read_points(path: Path) -> None:
    for z in read_points(path, PROBLEM).blocks:
        assert z.shape[1] == 2
        assert np.isfinite(z).all()


def _read_history(path: Path) -> None:
    for stages in read_history(path).values():
        assert all((np.diff(report.record_steps) > 0).all() for report in stages)


def _write_checkpoint(path: Path) -> None:
    report, leaves = small_model().training[0], [np.zeros(3), np.array(2)]
    rows = [{"loss": np.array(0.5), "step": np.array(20)}]
    content = Content((FinishedStage(report, 2.5),), (np.ones((2, 3)),), RunningStage(leaves, rows, 2.5, 0.5), 3.0)
    write_checkpoint(path.parent, content, {"problem": "burgers"})
    (path.parent / LATEST).rename(path)


def _read_checkpoint(path: Path) -> None:
    try:
        content, identity = read_checkpoint(path)
    except Unusable as reason:
        raise kd.CheckpointError(f"{path} {reason}") from None
    assert identity == {"problem": "burgers"}
    assert content.elapsed == 3.0


_POINTS = np.random.default_rng(0).uniform((0, -1), (1, 1), (9, 2))


def _write_german(path: Path) -> None:
    """A spreadsheet with decimal commas, a row number and a text."""
    rows = [f'{i};"{t:.6f}";{x:.6f};"Düse, links";\r\n'.replace(".", ",") for i, (t, x) in enumerate(_POINTS)]
    path.write_text("".join([';"t [s]";x [m];Ort;\r\n', *rows, ";;;;\r\n"]), encoding="utf-16")


def _write_comsol(path: Path) -> None:
    np.savetxt(path, np.c_[_POINTS, _POINTS], "%-22.15g", header="Nodes: 9\nx (m)  T (K)   t (s)  p", comments="% ")


#: All readers of the library, for the fuzzer and the tests.
READERS = (
    Reader("model.safetensors", _write_model, _read_model, kd.ModelFileError),
    Reader("points.csv", lambda path: np.savetxt(path, _POINTS, "%.6g", ",", header="t,x", comments=""), _read_points,
           TableError),
    Reader("points.npy", lambda path: np.save(path, _POINTS), _read_points, TableError),
    Reader("fortran.npy", lambda path: np.save(path, np.asfortranarray(_POINTS)), _read_points, TableError),
    Reader("history.csv", lambda path: write_history({"teacher": small_model().training}, path), _read_history,
           ValueError),
    Reader("checkpoint.safetensors", _write_checkpoint, _read_checkpoint, kd.CheckpointError),
    Reader("german.csv", _write_german, _read_points, TableError),
    Reader("comsol.txt", _write_comsol, _read_points, TableError),
)  # fmt: skip

#: Byte strings that damage numbers, names, brackets and lengths.
TOKENS = (
    *(b"", b"\0", b"\n", b"\r", b",", b'"', b"\\", b"$", b"'", b"\x1b[2J", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    *(b"%", b"# t,x\n", b";", b"\t", b"  ", b"1,250", b"1D5", b"\xff\xfe", b'"\n"', b"t [s]"),
    *(b"nan", b"-inf", b"1e400", b"-1", b"0", b"1.5", b"true", b"null", b"[]", b"{}", b'"x"'),
    *(
        b"9" * 5000,
        b"1" + b"0" * 30,
        b"[" * 20_000,
        b"(" * 5000,
        b"{'a':" * 900,
        b"a" * 200_000,
        b",1" * 2000,
        b"0.5,0.5\n" * 50,
        b"-" * 3000,
    ),
    *(struct.pack("<Q", n) for n in (0, 2**31, 2**40, 2**63, 2**64 - 1)),
    *(b"|O", b">f8", b"<f2", b"<c16", b"<U4", b"<V9", b"BF16", b"F8_E4M3", b"I64", b"(1000000000000, 2)", b"True"),
)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content with one to four random changes: flipped bits, inserted tokens, deletions, copies, random bytes.

    Most changes are near the start of the file, which contains its structure.
    """
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        begin = rng.randrange(len(data) + 1)
        begin = min(begin, rng.randrange(len(data) + 1)) if rng.random() < 0.5 else begin
        end = min(len(data), begin + rng.choice((1, 1, 4, 8, 40)))
        kind = rng.randrange(6)
        if kind == 0 and begin < len(data):
            data[begin] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[begin:end] = rng.choice(TOKENS)
        elif kind == 2:
            data[begin:begin] = rng.choice(TOKENS)
        elif kind == 3:
            del data[begin : len(data) if rng.random() < 0.3 else end]
        elif kind == 4:
            data[begin:begin] = data[(start := rng.randrange(len(data) + 1)) : start + rng.randrange(60)]
        else:
            data[begin:end] = rng.randbytes(end - begin)
    return bytes(data)


def rewritten(
    content: bytes, change_header: Callable[[Any], Any] = id, change_tensors: Callable[[Any], Any] = id
) -> bytes:
    """A model or checkpoint with its header, or the description of its tensors, changed in place by a function."""
    length = int.from_bytes(content[:8], "little")
    outer = json.loads(content[8 : 8 + length])
    name = next(name for name in outer["__metadata__"] if name.startswith("kdpinn_jax"))
    header = json.loads(outer["__metadata__"][name])
    change_header(header)
    outer["__metadata__"][name] = json.dumps(header)
    change_tensors(outer)
    text = json.dumps(outer).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def entries(value: Any) -> list[tuple[Any, Any]]:
    """The (container, key) of every entry within a JSON value, the outer ones first."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [entry for key in keys for entry in [(value, key), *entries(value[key])]]


def _unexpected_value(rng: random.Random) -> Any:
    return rng.choice((
        *(None, True, False, 0, -1, 1.0, 1.5, 10**9, 10**30, -(10**400), 1e308, float("nan"), float("inf"), "", "0.5"),
        *([], {}, [[]], {"": 0}, ["a"], [1] * 1000, {"loss": 1}, "\x1b[2J\n", "../x", "a" * 10_000, "\ud800", "*/ x;"),
    ))  # fmt: skip


def _damaged_header(content: bytes, rng: random.Random) -> bytes:
    def change(value: dict[str, Any]) -> None:
        for _ in range(rng.choice((1, 1, 3))):
            container, key = rng.choice(entries(value))
            if rng.random() < 0.2:
                del container[key]
            elif isinstance(container, dict) and rng.random() < 0.2:
                container[rng.choice(("", "x", "loss", "dense_9.bias", "\n"))] = container[key]
            else:
                container[key] = _unexpected_value(rng)

    return rewritten(content, **{"change_header" if rng.random() < 0.7 else "change_tensors": change})


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise ``TimeoutError`` in a block that takes longer, even if it waits to open a pipe."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    handler = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)


def fault(reader: Reader, path: Path) -> str | None:
    """A description of what the reader does wrong with this file, or None."""
    try:
        with at_most(10), warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning would be printed on the terminal
            # A file may be of a model of another equation.
            warnings.filterwarnings("ignore", ".* has changed since the model was trained", RuntimeWarning)
            reader.read(path)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # including a panic in Rust
        if type(error) is not reader.error:
            return f"{type(error).__name__}: {error}"[:300]
        if str(path) not in str(error) or not str(error).isprintable() or len(str(error)) > 2000:
            return f"not one short line: {error!r}"[:300]
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="duration; default 60")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random changes; default 0")
    parser.add_argument("--keep", type=Path, help="folder for the files that failed; default a new temporary folder")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    rng, counts, failures = random.Random(options.seed), dict.fromkeys((r.name for r in READERS), 0), set()
    valid = {}
    for reader in READERS:
        path = folder / reader.name
        reader.write(path)
        reader.read(path)
        valid[reader.name] = path.read_bytes()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 500_000_000, resource.RLIM_INFINITY))
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        reader = rng.choice(READERS)
        in_header = reader.name.endswith(".safetensors") and rng.random() < 0.6
        content = (_damaged_header if in_header else damaged)(valid[reader.name], rng)
        counts[reader.name] += 1
        (folder / reader.name).write_bytes(content)
        failure = fault(reader, folder / reader.name)
        if failure and (reader.name, failure[:60]) not in failures:
            failures.add((reader.name, failure[:60]))
            path = folder / f"{len(failures)}.{reader.name}"
            path.write_bytes(content)
            print(f"{path}: {failure}")
    print(f"{sum(counts.values())} files, {len(failures)} kinds of failure; {counts}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
