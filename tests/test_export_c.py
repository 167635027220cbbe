"""Exported C compiles without warnings and gives the model's values, with every problem's embedding and ansatz."""

import functools
import shutil
import subprocess
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.serving.trace import UnsupportedPrimitive

COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wdouble-promotion", "-Werror"]
NETWORK = kd.MLP((11, 6))  # layers with complete tiles of neurons and with each kind of remainder


def run(*command):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout


@pytest.fixture(scope="module")
def exported(tmp_path_factory, untrained):
    """A function that exports an untrained model of a problem and returns ``(model, header, source)``."""

    @functools.cache
    def export(name):
        problem = kd.problems.ALL[name]
        model = untrained(problem, 3, replace(NETWORK, activation=problem.student.activation))
        return model, *kd.export_c(model, tmp_path_factory.mktemp(name))

    return export


@pytest.mark.slow
@pytest.mark.parametrize("name", kd.problems.ALL)
@pytest.mark.parametrize("real", ["float", "double"])
def test_every_problem_passes_its_self_test(exported, tmp_path, name, real):
    """Without -march, with -march=native and -ffast-math, and with the plain loops for other compilers."""
    _, _, source = exported(name)
    define = [f"-D{name.upper()}_SELFTEST", *([f"-D{name.upper()}_DOUBLE"] if real == "double" else [])]
    variants = (["-O1"], ["-O2", "-march=native", "-ffast-math"], ["-O1", f"-D{name.upper()}_PLAIN"])
    for compiler in COMPILERS:
        for options in variants:
            program = tmp_path / "selftest"
            run(compiler, "-std=c99", *STRICT, *options, *define, source, "-o", program, "-lm")
            output = run(program)
            assert output.count("ok") == 5
            assert "FAILED" not in output


def used_stack(object_file, name):
    """The stack of each function of the header in bytes, along the deepest chain of calls, from gcc's .su file."""
    lines = [line.split("\t") for line in object_file.with_suffix(".su").read_text().splitlines()]
    frame = {place.rpartition(":")[2].removeprefix(f"{name}_"): int(size) for place, size, _ in lines}
    chain = lambda *functions: sum(frame.get(function, 0) for function in functions)
    point = chain("eval") + max(chain("nan"), chain("point", "row"))
    layer = chain("block", "layer") + max(chain(rows) for rows in ("rows8", "rows4", "rows1"))
    return {
        "EVAL": point,
        "EVAL_JAC": chain("eval_jac") + max(chain("nan"), chain("point_jac", "row")),
        "EVAL_BATCH": chain("eval_batch", "points") + max(point, layer),
    }


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")
@pytest.mark.parametrize("name", ["black_scholes", "taylor_green", "lid_driven_cavity"])
@pytest.mark.parametrize("real", ["float", "double"])
def test_the_stack_is_bounded_as_the_header_states(exported, tmp_path, name, real):
    _, header, source = exported(name)
    define = [f"-D{name.upper()}_DOUBLE"] if real == "double" else []
    macros = " ".join(f"bound {name.upper()}_{function}_STACK" for function in ("EVAL", "EVAL_JAC", "EVAL_BATCH"))
    (tmp_path / "macros.c").write_text(f'#include "{header}"\n{macros}\n')
    for options in (["-O0"], ["-Os"], ["-O2"], ["-O3"], ["-O3", "-march=native", "-ffast-math"]):
        preprocessed = run("gcc", "-E", "-P", *options, *define, tmp_path / "macros.c")
        expressions = [part for line in preprocessed.splitlines() for part in line.split("bound ")[1:]]
        size = 4 if real == "float" else 8
        bounds = [eval(expression.replace(f"sizeof({name}_real)", str(size))) for expression in expressions]
        run("gcc", "-std=c99", *options, *define, "-fstack-usage", "-c", source, "-o", tmp_path / "model.o")
        for (function, used), bound in zip(used_stack(tmp_path / "model.o", name).items(), bounds, strict=True):
            assert 0 < used <= bound, (function, options)
            assert options != ["-O0"] or bound < 4 * used + 2048, function  # a bound that says something


@pytest.mark.slow
@pytest.mark.skipif(not COMPILERS, reason="no C compiler")
@pytest.mark.parametrize("name", ["black_scholes", "burgers"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_gives_nan_for_its_point_alone(exported, name, dtype):
    """In a complete block, in a remainder and one by one, although the source is compiled with -ffast-math."""
    pytest.importorskip("cffi")
    model, _, source = exported(name)
    compiled = kd.load_compiled(source.parent, dtype=dtype)
    for n in (5, 40, 140):
        z = np.random.default_rng(n).uniform(model.problem.lower, model.problem.upper, (n, 2)).astype(dtype)
        expected = compiled(z)
        z[1, 0] = z[n - 1, 1] = np.nan
        expected[[1, n - 1]] = np.nan
        np.testing.assert_allclose(compiled(z), expected, rtol=1e-5, atol=1e-6)
        for values in compiled.jacobian(z):
            assert (np.isnan(values.reshape(n, -1)) == np.isin(np.arange(n), [1, n - 1])[:, None]).all()
        assert not compiled.in_domain(z)[[1, n - 1]].any()


@pytest.mark.slow
@pytest.mark.skipif(not COMPILERS, reason="no C compiler")
def test_a_wrong_weight_fails_the_self_test(exported, tmp_path):
    _, header, source = exported("burgers")
    text = source.read_text()
    start = text.index("BURGERS_R(", text.index("burgers_w0["))
    end = text.index(")", start)
    (tmp_path / header.name).write_text(header.read_text())
    (tmp_path / source.name).write_text(f"{text[:start]}BURGERS_R(0.77{text[end:]}")
    program = tmp_path / "selftest"
    run(COMPILERS[0], "-std=c99", "-DBURGERS_SELFTEST", tmp_path / source.name, "-o", program, "-lm")
    result = subprocess.run([program], capture_output=True, text=True)
    assert result.returncode == 1
    assert "FAILED" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("compiler", [name for name in ("g++", "clang++") if shutil.which(name)])
def test_it_compiles_as_cpp(exported, tmp_path, compiler):
    _, _, source = exported("burgers")
    program = tmp_path / "selftest"
    run(compiler, "-x", "c++", *STRICT, "-O1", "-DBURGERS_SELFTEST", source, "-o", program, "-lm")
    assert "FAILED" not in run(program)


@pytest.mark.slow
@pytest.mark.skipif(not COMPILERS, reason="no C compiler")
def test_it_passes_the_sanitisers(exported, tmp_path):
    _, _, source = exported("black_scholes")
    program, options = tmp_path / "selftest", ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
    run(COMPILERS[0], "-std=c99", *options, "-DBLACK_SCHOLES_SELFTEST", source, "-o", program, "-lm")
    run(program)


@pytest.mark.slow
@pytest.mark.skipif(not (COMPILERS and shutil.which("valgrind")), reason="no valgrind")
def test_it_passes_valgrind(exported, tmp_path):
    _, _, source = exported("black_scholes")
    program = tmp_path / "selftest"
    run(COMPILERS[0], "-std=c99", "-O1", "-g", "-DBLACK_SCHOLES_SELFTEST", source, "-o", program, "-lm")
    run("valgrind", "--quiet", "--error-exitcode=1", "--leak-check=full", program)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["burgers", "taylor_green"])
@pytest.mark.parametrize("real", ["float", "double"])
@pytest.mark.skipif(
    not all(map(shutil.which, ("aarch64-linux-gnu-gcc", "qemu-aarch64"))), reason="no compiler or emulator for aarch64"
)
def test_it_runs_on_aarch64(exported, tmp_path, name, real):
    _, _, source = exported(name)
    program, define = tmp_path / "selftest", [f"-D{name.upper()}_SELFTEST"]
    define += [f"-D{name.upper()}_DOUBLE"] if real == "double" else []
    run("aarch64-linux-gnu-gcc", "-std=c99", *STRICT, "-O2", "-static", *define, source, "-o", program, "-lm")
    assert "FAILED" not in run("qemu-aarch64", program)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("arm-none-eabi-gcc"), reason="no compiler for Cortex-M")
def test_it_compiles_for_a_microcontroller(exported, tmp_path):
    """It requires no symbols except functions of libm, memset and memcpy, and has no writable static data."""
    _, _, source = exported("burgers")
    program = tmp_path / "burgers.o"
    target = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]
    run("arm-none-eabi-gcc", "-std=c99", *STRICT, *target, "-Os", "-c", source, "-o", program)
    _, data, bss = map(int, run("arm-none-eabi-size", program).splitlines()[1].split()[:3])
    assert (data, bss) == (0, 0)
    undefined = {line.split()[-1] for line in run("arm-none-eabi-nm", "--undefined-only", program).splitlines()}
    assert undefined <= {"expf", "erff", "sinf", "cosf", "logf", "sqrtf", "powf", "memset", "memcpy"}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.skipif(not COMPILERS, reason="no C compiler")
def test_load_compiled(exported, dtype):
    """Complete blocks and every kind of remainder."""
    pytest.importorskip("cffi")
    model, _, source = exported("burgers")
    compiled = kd.load_compiled(source.parent, dtype=dtype)
    assert (compiled.inputs, compiled.outputs) == (2, 1)
    tolerance = 5e-6 if dtype == np.float32 else 1e-12
    for n in (0, 1, 12, 13, 64, 140):
        z = np.random.default_rng(n).uniform(model.problem.lower, model.problem.upper, (n, 2)).astype(dtype)
        np.testing.assert_allclose(compiled(z), model(z), rtol=0, atol=tolerance)
    u, slopes = compiled.jacobian(z)
    np.testing.assert_allclose(u, model(z), rtol=0, atol=tolerance)
    exact = jax.vmap(jax.jacfwd(model.field))(jnp.asarray(z, np.float64))
    np.testing.assert_allclose(slopes, exact, rtol=0, atol=100 * tolerance)
    assert compiled.in_domain(z).all()
    assert list(compiled.in_domain(np.asarray([[0.5, 1.5], [-0.1, 0.0], [0.5, 0.0]], dtype))) == [False, False, True]
    for wrong in (z.astype(np.float16), z[:, :1], z[0], np.asfortranarray(z)):
        with pytest.raises(ValueError, match=r"expected a C-contiguous .* array of shape \(n, 2\)"):
            compiled(wrong)


DOMAINS = {
    "disc": kd.geometry.rectangle((0, 0), (1, 1)) - kd.geometry.disc((0.5, 0.5), 0.25),
    "polygon": kd.geometry.polygon([(0, 0), (1, 0), (1, 1), (0.5, 0.2), (0, 1)]),
    "ellipse": kd.geometry.ellipse((0, 0), (2, 1)).rotated(0.5) | kd.geometry.disc((2, 0), 1),
    "cylinder": kd.geometry.cylinder((0, 0, 0), 1, 2) & kd.geometry.ball((0, 0, 0), 1.5),
    "moving disc": kd.geometry.disc((0, 0), 1).over(0, 3),
}


@pytest.mark.slow
@pytest.mark.skipif(not COMPILERS, reason="no C compiler")
@pytest.mark.parametrize("name", DOMAINS)
def test_in_domain_knows_domains_that_are_not_boxes(name, untrained, tmp_path):
    pytest.importorskip("cffi")
    domain = DOMAINS[name]
    residual = lambda u, z, c: kd.laplacian(u, (0, 1))(z)
    axes = ("t", "x", "y")[-len(domain.lower) :]
    problem = kd.Problem(
        "p", axes, ("u",), domain.lower, domain.upper, {"residual": kd.Term(domain.interior(), residual)}, inside=domain
    )
    kd.export_c(untrained(problem, 0, kd.MLP((3,))), tmp_path)
    compiled = kd.load_compiled(tmp_path, dtype=np.float64)
    lower, upper = np.array(domain.lower), np.array(domain.upper)
    margin = 0.1 * (upper - lower)
    z = np.random.default_rng(0).uniform(lower - margin, upper + margin, (4000, len(axes)))
    expected = np.all((z >= lower) & (z <= upper), axis=1) & np.asarray(jax.vmap(domain)(z))
    np.testing.assert_array_equal(compiled.in_domain(z), expected)
    assert 0.1 < np.mean(expected) < 0.9
    assert compiled.in_domain(np.asarray(domain.boundary()(jax.random.key(0), 500))).all()


@pytest.mark.slow
def test_the_same_weights_give_the_same_bytes(exported, tmp_path):
    model, header, source = exported("burgers")
    repeated = kd.export_c(model, tmp_path / "new" / "folder")
    assert [path.read_bytes() for path in repeated] == [header.read_bytes(), source.read_bytes()]
    text = header.read_text()
    assert "not measured" in text
    for part in ("malloc", "printf(", "static burgers_real"):  # only the self-test prints and has variables
        assert part not in source.read_text().split("#ifdef BURGERS_SELFTEST\n/*")[0]


def test_unsupported_models_are_rejected(heat, untrained, tmp_path):
    def ansatz(net, z, c):
        return jax.lax.fori_loop(0, 3, lambda i, u: u + net(z), jnp.zeros(1))

    model = untrained(replace(heat, ansatz=ansatz), 1, kd.MLP((3,)))
    with pytest.raises(UnsupportedPrimitive, match=r"primitive '(scan|while)'"):
        kd.export_c(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="'2fast' is not a C identifier"):
        kd.export_c(model, tmp_path / "out", name="2fast")


def test_nothing_is_written_if_the_folder_cannot_be_created(heat, untrained, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        kd.export_c(untrained(heat, 1, kd.MLP((3,))), tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_load_compiled_without_an_export_or_a_compiler(monkeypatch, tmp_path):
    pytest.importorskip("cffi")
    with pytest.raises(FileNotFoundError, match="write them with"):
        kd.load_compiled(tmp_path)
    (tmp_path / "m.c").touch()
    (tmp_path / "m.h").write_text("#define M_INPUTS 2\n#define M_OUTPUTS 1\n")
    monkeypatch.setenv("CC", "nosuchcompiler")
    with pytest.raises(RuntimeError, match="CC=nosuchcompiler was not found; install gcc or clang"):
        kd.load_compiled(tmp_path)
