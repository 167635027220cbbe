"""Invalid files and arguments are reported in one line, take little memory, and have no other effect.

The readers come from ``fuzz.READERS`` and the options from the command line itself, so that new ones are covered.
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
from kdpinn_jax.base.tables import table as _table
from kdpinn_jax.cli import _types, main
from kdpinn_jax.models.history import LARGEST
from kdpinn_jax.runs.read_points import read_points
from kdpinn_jax.serving.export import FORMATS
from kdpinn_jax.serving.export._describe import identifier
from kdpinn_jax.serving.export.c import source

every_reader = pytest.mark.parametrize("reader", fuzz.READERS, ids=lambda reader: reader.name)
MODEL, CSV, NPY, _, HISTORY = fuzz.READERS[:5]


@pytest.fixture(scope="module")
def valid_files(tmp_path_factory):
    """A folder with a valid file for every reader."""
    folder = tmp_path_factory.mktemp("valid")
    for reader in fuzz.READERS:
        reader.write(folder / reader.name)
    return folder


def check(reader, folder, content):
    """Check that a file with this content is either read or rejected in one line."""
    path = folder / f"invalid-{reader.name}"
    path.write_bytes(content)
    assert fuzz.fault(reader, path) is None


# Files ----------------------------------------------------------------------------------------------------------------


@every_reader
def test_a_valid_file_is_read(reader, valid_files):
    reader.read(valid_files / reader.name)


@every_reader
@given(st.binary(max_size=300))
def test_any_bytes(reader, valid_files, content):
    check(reader, valid_files, content)


@every_reader
@settings(max_examples=100)
@given(st.integers(0, 2**32))
def test_damaged_bytes(reader, valid_files, seed):
    """A damaged file is rejected, unless it is still valid, with another weight or another point."""
    check(reader, valid_files, fuzz.damaged((valid_files / reader.name).read_bytes(), random.Random(seed)))


any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@pytest.mark.parametrize("part", ["change_header", "change_tensors"])
@settings(max_examples=80)
@given(st.data(), any_json)
def test_any_value_in_the_header(valid_files, part, data, value):
    def replace_entry(header):
        container, key = data.draw(st.sampled_from(fuzz.entries(header)))
        container[key] = value

    check(MODEL, valid_files, fuzz.rewritten((valid_files / MODEL.name).read_bytes(), **{part: replace_entry}))


@every_reader
def test_paths_that_are_not_regular_files(reader, tmp_path):
    """A folder, a pipe without a writer, an endless device, a link to itself, a missing or empty file, a long name."""
    path_of = lambda kind: tmp_path / f"{kind}.{reader.name}"
    path_of("folder").mkdir()
    os.mkfifo(path_of("pipe"))
    path_of("zeros").symlink_to("/dev/zero")
    path_of("loop").symlink_to(path_of("loop"))
    path_of("empty").touch()
    for kind in ("folder", "pipe", "zeros", "loop", "missing", "empty", "long" * 99):
        with pytest.raises(reader.error, match=kind):
            reader.read(path_of(kind))
        assert fuzz.fault(reader, path_of(kind)) is None


@contextlib.contextmanager
def traced_memory():
    """Yield an object whose ``peak`` is the largest number of bytes allocated at a time within the block."""
    memory = SimpleNamespace()
    tracemalloc.start()
    try:
        yield memory
    finally:
        memory.peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


def npy(shape, version=(1, 0), claimed_length=None):
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text) if claimed_length is None else claimed_length)
    return b"\x93NUMPY" + bytes(version) + length + text + bytes(160)


def model_with_tensor(**description):
    """A function that changes the description of a tensor in the content of a model."""

    def change_tensors(outer):
        outer["dense_0.kernel"] |= description

    return lambda content: fuzz.rewritten(content, change_tensors=change_tensors)


def model_with_network(hidden):
    return lambda content: fuzz.rewritten(content, lambda header: header["network"].update(hidden=hidden))


def model_with_brackets(content):
    brackets = "[" * 10**6
    return fuzz.rewritten(content, change_tensors=lambda outer: outer["__metadata__"].update(kdpinn_jax=brackets))


TITLES = b"role,stage,step,seconds,loss"
#: ``{description: (reader, function that turns the content of a valid file into the content of the file)}``.
OVERSIZED = {
    "header of 2^62 bytes": (MODEL, lambda _: struct.pack("<Q", 2**62) + b"{}"),
    "tensor of 10^12 numbers": (MODEL, model_with_tensor(shape=[10**6, 10**6])),
    "tensor of 10^12 numbers with offsets": (
        MODEL,
        model_with_tensor(shape=[10**6, 10**6], data_offsets=[0, 8 * 10**12]),
    ),
    "network of 10^9 neurons": (MODEL, model_with_network([10**9, 10**9])),
    "network of 10^5 layers": (MODEL, model_with_network([3] * 10**5)),
    "brackets": (MODEL, lambda _: struct.pack("<Q", 10**6) + b"[" * 10**6),
    "brackets within the header": (MODEL, model_with_brackets),
    "array of 10^12 rows": (NPY, lambda _: npy((10**12, 2))),
    "array of 10^4000 rows": (NPY, lambda _: npy((10**4000, 2))),
    "array of -1 rows": (NPY, lambda _: npy((-1, 2))),
    "array header of 4 GB": (NPY, lambda _: npy((1, 2), (2, 0), 2**32 - 1)),
    "line of 10^7 bytes": (CSV, lambda _: b"0.5," * 2_500_000),
    "history of many roles": (HISTORY, lambda _: TITLES + b"".join(b"\n%d,A,1,1,1" % i for i in range(10**4))),
    "history of many stages": (HISTORY, lambda _: TITLES + b"\na,A,1,1,1" * 10**4),
    "history of many terms": (HISTORY, lambda _: TITLES + b",x" * 10**5),
}


@pytest.mark.parametrize("description", OVERSIZED)
def test_claimed_sizes_are_not_trusted(description, valid_files, tmp_path):
    """The file is rejected, and the memory used is limited to fifty times its size plus 5 MB."""
    reader, make_content = OVERSIZED[description]
    path = tmp_path / reader.name
    path.write_bytes(make_content((valid_files / reader.name).read_bytes()))
    with traced_memory() as memory, pytest.raises(reader.error):
        reader.read(path)
    assert memory.peak < 50 * path.stat().st_size + 5_000_000


@every_reader
def test_a_large_meaningless_file_is_not_read_to_its_end(reader, tmp_path):
    path = tmp_path / reader.name
    with path.open("wb") as file:
        file.truncate(max(2**31, LARGEST + 1))  # a sparse file of zeros
    with traced_memory() as memory, pytest.raises(reader.error):
        reader.read(path)
    assert memory.peak < 30_000_000


@pytest.mark.parametrize("order", "CF")
def test_a_file_that_is_truncated_while_it_is_read(order, tmp_path, monkeypatch):
    monkeypatch.setattr(_table, "BLOCK", 4000)
    np.save(tmp_path / "p.npy", np.zeros((9000, 2), order=order))
    blocks = read_points(tmp_path / "p.npy", fuzz.PROBLEM).blocks
    assert len(next(blocks)) == 4000
    os.truncate(tmp_path / "p.npy", 80_000)
    with pytest.raises(_table.TableError, match="truncated while it was being read"):
        list(blocks)


class CreatesFile:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@every_reader
def test_pickled_objects_are_not_executed(reader, tmp_path):
    stream = io.BytesIO()
    np.save(stream, np.array([[CreatesFile(str(tmp_path / "created")), 1]], object), allow_pickle=True)
    content = stream.getvalue()
    for part in (content, content[content.index(b"\n") + 1 :]):
        (tmp_path / reader.name).write_bytes(part)
        with pytest.raises(reader.error):
            reader.read(tmp_path / reader.name)
    assert not (tmp_path / "created").exists()


def test_weights_too_large_for_float32_are_rejected(valid_files, tmp_path, float32):
    content = (valid_files / MODEL.name).read_bytes()
    (tmp_path / "m").write_bytes(content[:-8] + struct.pack("<d", 1e300))
    with pytest.raises(kd.ModelFileError, match="not finite"):
        kd.load(tmp_path / "m")


def test_devices_are_not_overwritten(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    def write():
        with atomic(tmp_path / "pipe") as temporary:
            temporary.write_text("a file")

    with pytest.raises(OSError, match="not a regular file"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_the_longest_file_name_can_be_written(tmp_path):
    path = tmp_path / f"{'m' * 243}.safetensors"  # 255 bytes, the limit of most file systems
    MODEL.write(path)
    MODEL.read(path)


@pytest.mark.slow
def test_names_cannot_end_a_comment_in_exported_c(decay, untrained):
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
def test_the_fuzzer_finds_no_failure_in_one_second(tmp_path):
    """The fuzzer runs in a separate process, because it limits its memory."""
    program = [sys.executable, fuzz.__file__, "--seconds", "1", "--keep", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(kd.__file__).parents[1]), "JAX_PLATFORMS": "cpu"}
    process = subprocess.run(program, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "0 kinds of failure" in process.stdout


# Arguments ------------------------------------------------------------------------------------------------------------

#: The functions that do the work of the commands, which these tests replace. ``run_phases`` is part of every training.
WORK = (
    *("runs.run.run", "runs.run.train_with", "runs.run.distill_with", "evaluation.evaluate.evaluate"),
    *("runs.point_files.predict_file", "runs.bench.bench", "evaluation.plots.solution", "evaluation.plots.history"),
    *("training.fit.run_phases", "runs.run_many.run_sweep", "runs.run_many.run_search"),
)
ARGUMENTS = (
    *("", " ", "-", "--", "-1", "0", "1", "1.5", "nan", "inf", "1e400", "1e-400", "9" * 5000, "0x10", "1_0", "١"),
    *("x", "=", "=1", "nu=", "nu=1", "nu=1e400", "nu=nan", "a=1=2", "1,", ",", "1,2", ",".join(["1"] * 5000), "True"),
    *("a\nb", "\x1b[2J", "a\tb\r", "\udcff", "é", "x" * 5000, "../x", "{}", "%s", "$x$", "*", "~", "'", '"'),
)


@pytest.fixture
def stubbed(monkeypatch, tmp_path):
    """Replace all training, measuring and drawing, and make an empty folder the working directory."""

    def exit_successfully(*_, **__):
        raise click.exceptions.Exit(0)

    for name in WORK:
        monkeypatch.setattr(f"kdpinn_jax.{name}", exit_successfully)
    for form in FORMATS:
        monkeypatch.setitem(
            FORMATS, form, lambda model, out, *, name, metrics: exit_successfully(identifier(model, name))
        )
    monkeypatch.setattr("kdpinn_jax.cli._host.set_up_jax", lambda: None)
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)


def valid_value(command, parameter, valid_files):
    """A valid value of a parameter."""
    if isinstance(parameter.type, click.Path):
        paths = {
            "out": f"{command.name}.{'png' if command.name == 'plot' else 'csv'}",
            "points": str(valid_files / "points.csv"),
        }
        return paths.get(parameter.name, str(valid_files / MODEL.name))
    if isinstance(parameter.type, _types.Choice):
        return parameter.type.choices[0]
    if isinstance(parameter.type, _types.Vary):
        return "seed=0:2"
    return "burgers" if isinstance(parameter.type, _types.ProblemName) or parameter.name == "source" else "1"


def call(command, parameter, value, valid_files):
    """Run the command with this value, an output file, and valid values of the other required parameters."""
    options, arguments = [], []
    for other in command.params:
        # The problem of a command is either its argument or the option --problem.
        needed = other.required or (isinstance(other, click.Argument) and parameter.name != "own")
        if not (other is parameter or needed or other.name == "out"):
            continue
        text = value if other is parameter else valid_value(command, other, valid_files)
        if isinstance(other, click.Argument):
            arguments.append(text)
        else:
            options.append(f"{max(other.opts, key=len)}={text}")
    name = [] if command is main else [command.name]
    return CliRunner().invoke(main, [*name, *options, "--", *arguments])


def check_call(command, parameter, value, valid_files):
    """Check that the command succeeds, or fails with one printable line on stderr."""
    with fuzz.at_most(20):
        result = call(command, parameter, value, valid_files)
    case = (command.name, parameter.name, value, result.output)
    assert result.exception is None or isinstance(result.exception, SystemExit), case
    assert result.exit_code in (0, 1, 2), case
    assert "Traceback" not in result.output, case
    if result.exit_code:
        assert result.stdout == "", case
        assert re.fullmatch(r"Error: [^\n]+\n", result.stderr), case
        assert result.stderr[:-1].isprintable(), case


PARAMETERS = [(command, parameter) for command in (main, *main.commands.values()) for parameter in command.params]
every_parameter = pytest.mark.parametrize(
    ("command", "parameter"), PARAMETERS, ids=[f"{command.name} {parameter.name}" for command, parameter in PARAMETERS]
)


@every_parameter
def test_difficult_values(command, parameter, stubbed, valid_files, tmp_path):
    os.mkfifo("pipe")
    for value in (*ARGUMENTS, "pipe", "/dev/null", str(tmp_path / "no" / "folder.csv"), str(valid_files)):
        if not (value == "../x" and isinstance(parameter.type, click.Path)):  # a valid path outside the folder
            check_call(command, parameter, value, valid_files)
    assert {path.name for path in tmp_path.iterdir()} <= {"inside", "no"}


#: A path without a slash stays in the working directory, and an argument cannot contain a zero byte.
any_text = st.text(st.characters(exclude_characters="/\0"), max_size=12)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PARAMETERS), any_text.filter(lambda value: value != ".."))
def test_any_text_as_a_value(stubbed, valid_files, command_and_parameter, value):
    check_call(*command_and_parameter, value, valid_files)


def test_valid_values_reach_the_work(stubbed, valid_files):
    """Otherwise the tests above would not get past the first check of a command."""
    for command in main.commands.values():
        for parameter in command.params:
            if parameter.required or parameter.name == "out":
                result = call(command, parameter, valid_value(command, parameter, valid_files), valid_files)
                assert result.exit_code == 0, (command.name, parameter.name, result.output)
