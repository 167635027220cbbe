"""Bad files and bad words never harm: one clear line, no more memory than the file has bytes, nothing else written.

Readers are taken from ``fuzz.READERS`` and options from the command line itself: new ones are covered by being there.
"""

import contextlib
import io
import os
import random
import re
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import click
import fuzz
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kdpinn_jax as kd
from kdpinn_jax.base.names import one_line
from kdpinn_jax.base.storage import atomic
from kdpinn_jax.cli import _types, main
from kdpinn_jax.models.history import LARGEST
from kdpinn_jax.runs import read_points as _read_points
from kdpinn_jax.serving.export import FORMATS
from kdpinn_jax.serving.export._describe import identifier
from kdpinn_jax.serving.export.c import source

every_reader = pytest.mark.parametrize("reader", fuzz.READERS, ids=lambda reader: reader.name)
MODEL, TABLE, ARRAY, _, HISTORY = fuzz.READERS[:5]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A valid file for every reader."""
    good = tmp_path_factory.mktemp("valid")
    for reader in fuzz.READERS:
        reader.write(good / reader.name)
    return good


def check(reader, good, content):
    """Written to a file of its own, the content is read, or refused in one line."""
    path = good / f"bad-{reader.name}"
    path.write_bytes(content)
    assert fuzz.fault(reader, path) is None


# Files ----------------------------------------------------------------------------------------------------------------


@every_reader
def test_a_valid_file_is_read(reader, good):
    reader.read(good / reader.name)


@every_reader
@given(st.binary(max_size=300))
def test_any_bytes(reader, good, content):
    check(reader, good, content)


@every_reader
@settings(max_examples=100)
@given(st.integers(0, 2**32))
def test_damaged_bytes(reader, good, seed):
    """A damaged file is refused, or it is a file still: another weight, another point."""
    check(reader, good, fuzz.damaged((good / reader.name).read_bytes(), random.Random(seed)))


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@pytest.mark.parametrize("part", ["change", "about"])
@settings(max_examples=80)
@given(st.data(), anything)
def test_anything_in_place_of_a_field(good, part, data, value):
    def put(header):
        container, key = data.draw(st.sampled_from(fuzz.spots(header)))
        container[key] = value

    check(MODEL, good, fuzz.rewritten((good / MODEL.name).read_bytes(), **{part: put}))


@every_reader
def test_what_is_no_file(reader, tmp_path):
    """A folder, a pipe nobody writes to, a device without end, a link to itself, a name too long, nothing at all."""
    place = lambda kind: tmp_path / f"{kind}.{reader.name}"
    place("folder").mkdir()
    os.mkfifo(place("pipe"))
    place("zeros").symlink_to("/dev/zero")
    place("loop").symlink_to(place("loop"))
    place("empty").touch()
    for kind in ("folder", "pipe", "zeros", "loop", "missing", "empty", "long" * 99):
        with pytest.raises(reader.error, match=kind):
            reader.read(place(kind))
        assert fuzz.fault(reader, place(kind)) is None


@contextlib.contextmanager
def traced():
    """The most that was held at a time within the block, in bytes."""
    memory = SimpleNamespace()
    tracemalloc.start()
    try:
        yield memory
    finally:
        memory.peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


def npy(shape, version=(1, 0), promised=None):
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text) if promised is None else promised)
    return b"\x93NUMPY" + bytes(version) + length + text + bytes(160)


def model_with(**change):
    def make(content):
        def about(outer):
            outer["dense_0.kernel"] |= change

        return fuzz.rewritten(content, about=about)

    return make


def network_of(hidden):
    return lambda content: fuzz.rewritten(content, lambda header: header["network"].update(hidden=hidden))


def brackets_within(content):
    return fuzz.rewritten(content, about=lambda outer: outer["__metadata__"].update(kdpinn_jax="[" * 10**6))


TITLES = b"role,stage,step,seconds,loss"
PROMISES = {
    "header of 2^62 bytes": (MODEL, lambda _: struct.pack("<Q", 2**62) + b"{}"),
    "tensor of 10^12 numbers": (MODEL, model_with(shape=[10**6, 10**6])),
    "tensor of 10^12 numbers, offsets too": (MODEL, model_with(shape=[10**6, 10**6], data_offsets=[0, 8 * 10**12])),
    "network of 10^9 neurons": (MODEL, network_of([10**9, 10**9])),
    "network of 10^5 layers": (MODEL, network_of([3] * 10**5)),
    "brackets": (MODEL, lambda _: struct.pack("<Q", 10**6) + b"[" * 10**6),
    "brackets within": (MODEL, brackets_within),
    "array of 10^12 rows": (ARRAY, lambda _: npy((10**12, 2))),
    "array of 10^4000 rows": (ARRAY, lambda _: npy((10**4000, 2))),
    "array of -1 rows": (ARRAY, lambda _: npy((-1, 2))),
    "array header of 4 GB": (ARRAY, lambda _: npy((1, 2), (2, 0), 2**32 - 1)),
    "line of 10^7 bytes": (TABLE, lambda _: b"0.5," * 2_500_000),
    "history of many roles": (HISTORY, lambda _: TITLES + b"".join(b"\n%d,A,1,1,1" % i for i in range(10**4))),
    "history of many stages": (HISTORY, lambda _: TITLES + b"\na,A,1,1,1" * 10**4),
    "history of many terms": (HISTORY, lambda _: TITLES + b",x" * 10**5),
}


@pytest.mark.parametrize("promise", PROMISES)
def test_what_is_promised_is_not_believed(promise, good, tmp_path):
    """Refused, with no more memory than fifty times the file and some."""
    reader, make = PROMISES[promise]
    path = tmp_path / reader.name
    path.write_bytes(make((good / reader.name).read_bytes()))
    with traced() as memory, pytest.raises(reader.error):
        reader.read(path)
    assert memory.peak < 50 * path.stat().st_size + 5_000_000


@every_reader
def test_a_large_file_without_sense_is_not_read_to_its_end(reader, tmp_path):
    path = tmp_path / reader.name
    with path.open("wb") as file:
        file.truncate(max(2**31, LARGEST + 1))  # zeros that take no room on the disk
    with traced() as memory, pytest.raises(reader.error):
        reader.read(path)
    assert memory.peak < 30_000_000


@pytest.mark.parametrize("order", "CF")
def test_a_file_that_shrinks_while_it_is_read(order, tmp_path, monkeypatch):
    monkeypatch.setattr(_read_points, "BLOCK", 4000)
    np.save(tmp_path / "p.npy", np.zeros((9000, 2), order=order))
    blocks = _read_points.read_points(tmp_path / "p.npy", fuzz.PROBLEM)
    assert len(next(blocks)) == 4000
    os.truncate(tmp_path / "p.npy", 80_000)
    with pytest.raises(_read_points.PointsError, match="cut short"):
        list(blocks)


class Trap:
    """Opens a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@every_reader
def test_nothing_in_a_file_is_run(reader, tmp_path):
    stream = io.BytesIO()
    np.save(stream, np.array([[Trap(str(tmp_path / "sprung")), 1]], object), allow_pickle=True)
    content = stream.getvalue()
    for part in (content, content[content.index(b"\n") + 1 :]):
        (tmp_path / reader.name).write_bytes(part)
        with pytest.raises(reader.error):
            reader.read(tmp_path / reader.name)
    assert not (tmp_path / "sprung").exists()


def test_weights_beyond_float32_are_not_made_infinite(good, tmp_path, float32):
    content = (good / MODEL.name).read_bytes()
    (tmp_path / "m").write_bytes(content[:-8] + struct.pack("<d", 1e300))
    with pytest.raises(kd.ModelFileError, match="not finite"):
        kd.load(tmp_path / "m")


def test_devices_are_not_written_over(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    def write():
        with atomic(tmp_path / "pipe") as temporary:
            temporary.write_text("a file")

    with pytest.raises(OSError, match="not a regular file"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_the_longest_name_can_be_written(tmp_path):
    path = tmp_path / f"{'m' * 243}.safetensors"  # 255 bytes, as many as file systems allow
    MODEL.write(path)
    MODEL.read(path)


@pytest.mark.slow
def test_a_comment_of_c_cannot_be_left(decay, untrained):
    name = "*/ int trap; /*\n#define trap\n**//"
    metrics = kd.Metrics(name, {name: kd.Errors(1.0, 1.0, 1.0)}, {}, {})
    for text in source(untrained(decay), "u", metrics).values():
        assert "trap" not in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


@given(st.text())
def test_messages_are_one_printable_line(text):
    for surrogates in (text, text + "\udcff\x1b[2J\n"):
        assert one_line(surrogates).isprintable()
    if text.isprintable() and text == " ".join(text.split()) and len(text) < 300:
        assert one_line(text) == text


@pytest.mark.slow
def test_the_fuzz_finds_nothing_in_a_second(tmp_path):
    """A process of its own, with a limit on its memory."""
    program = [sys.executable, fuzz.__file__, "--seconds", "1", "--keep", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(kd.__file__).parents[1]), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(program, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 kinds of failure" in done.stdout


# Words ----------------------------------------------------------------------------------------------------------------

#: What a command does once its words are understood: no test here waits for it. ``run_phases`` is any training.
WORK = (
    *("runs.run.run", "runs.run.train_with", "runs.run.distill_with", "evaluation.evaluate.evaluate"),
    *("runs.point_files.predict_file", "runs.bench.bench", "evaluation.plots.solution", "evaluation.plots.history"),
    *("training.fit.run_phases", "runs.run_many.run_sweep", "runs.run_many.run_search"),
)
WORDS = (
    *("", " ", "-", "--", "-1", "0", "1", "1.5", "nan", "inf", "1e400", "1e-400", "9" * 5000, "0x10", "1_0", "١"),
    *("x", "=", "=1", "nu=", "nu=1", "nu=1e400", "nu=nan", "a=1=2", "1,", ",", "1,2", ",".join(["1"] * 5000), "True"),
    *("a\nb", "\x1b[2J", "a\tb\r", "\udcff", "é", "x" * 5000, "../x", "{}", "%s", "$x$", "*", "~", "'", '"'),
)


@pytest.fixture
def stubbed(monkeypatch, good, tmp_path):
    """Nothing trains, measures or draws; relative names fall into an empty folder."""

    def done(*_, **__):
        raise click.exceptions.Exit(0)

    for name in WORK:
        monkeypatch.setattr(f"kdpinn_jax.{name}", done)
    for form in FORMATS:
        monkeypatch.setitem(FORMATS, form, lambda model, out, *, name, metrics: done(identifier(model, name)))
    monkeypatch.setattr("kdpinn_jax.cli._host.set_up_jax", lambda: None)
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)


def valid(command, parameter, good):
    """A word the parameter takes, from its type."""
    if isinstance(parameter.type, click.Path):
        out = {
            "out": f"{command.name}.{'png' if command.name == 'plot' else 'csv'}",
            "points": str(good / "points.csv"),
        }
        return out.get(parameter.name, str(good / MODEL.name))
    if isinstance(parameter.type, _types.Word):
        return parameter.type.words[0]
    if isinstance(parameter.type, _types.Vary):
        return "seed=0:2"
    return "burgers" if isinstance(parameter.type, _types.ProblemName) or parameter.name == "source" else "1"


def call(command, parameter, value, good):
    """The command with this value in place, an output, and what else it requires."""
    options, arguments = [], []
    for other in command.params:
        if not (other is parameter or other.required or other.name == "out"):
            continue
        word = value if other is parameter else valid(command, other, good)
        if isinstance(other, click.Argument):
            arguments.append(word)
        else:
            options.append(f"{max(other.opts, key=len)}={word}")
    name = [] if command is main else [command.name]
    return CliRunner().invoke(main, [*name, *options, "--", *arguments])


def check_call(command, parameter, value, good):
    with fuzz.at_most(20):
        done = call(command, parameter, value, good)
    where = (command.name, parameter.name, value, done.output)
    assert done.exception is None or isinstance(done.exception, SystemExit), where
    assert done.exit_code in (0, 1, 2), where
    assert "Traceback" not in done.output, where
    if done.exit_code:
        assert done.stdout == "", where
        assert re.fullmatch(r"Error: [^\n]+\n", done.stderr), where
        assert done.stderr[:-1].isprintable(), where


PARAMETERS = [(command, parameter) for command in (main, *main.commands.values()) for parameter in command.params]
every_parameter = pytest.mark.parametrize(
    ("command", "parameter"), PARAMETERS, ids=[f"{command.name} {parameter.name}" for command, parameter in PARAMETERS]
)


@every_parameter
def test_any_word_as_a_value(command, parameter, stubbed, good, tmp_path):
    os.mkfifo("pipe")
    for value in (*WORDS, "pipe", "/dev/null", str(tmp_path / "no" / "folder.csv"), str(good)):
        if not (value == "../x" and isinstance(parameter.type, click.Path)):  # a folder that the caller does name
            check_call(command, parameter, value, good)
    assert {path.name for path in tmp_path.iterdir()} <= {"inside", "no"}


#: A name without a slash stays in the folder it is used in; the operating system passes no zero byte.
text = st.text(st.characters(exclude_characters="/\0"), max_size=12)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PARAMETERS), text.filter(lambda value: value != ".."))
def test_any_text_as_a_value(stubbed, good, one, value):
    check_call(*one, value, good)


def test_every_valid_word_reaches_the_work(stubbed, good):
    """So that the tests above look behind the first check."""
    for command in main.commands.values():
        for parameter in command.params:
            if parameter.required or parameter.name == "out":
                done = call(command, parameter, valid(command, parameter, good), good)
                assert done.exit_code == 0, (command.name, parameter.name, done.output)
