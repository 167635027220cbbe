"""Checks of a problem's functions, its normal form, and the equality of problems by what they compute."""

import concurrent.futures
import copy
import multiprocessing
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdpinn_jax as kd
from kdpinn_jax.pde.fingerprint import NoFingerprint, fingerprint
from kdpinn_jax.training import recompilation

SHORT = {"network": kd.MLP((4,)), "stages": (kd.Adam(2),), "progress": False}


def decay(u, z, c):
    return kd.derivative(u, 0)(z) + u(z)


def problem(residual=decay, *, sample=None, fields=("u",), **more):
    terms = {
        "residual": kd.Term(sample or kd.box((0,), (1,)), residual, count=16),
        "initial": kd.Term(kd.box((0,), (0,)), kd.dirichlet(1.0), count=2),
    }
    return kd.Problem(
        **{"name": "decay", "axes": ("t",), "fields": fields, "lower": (0,), "upper": (1,)}
        | more
        | {"terms": terms | more.get("terms", {})}
    )


def scalar(u, z, c):
    return decay(u, z, c)[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"residual": scalar}, r"residual of term 'residual' returns shape \(\); expected \(k,\).*r\[None\]"),
        ({"residual": lambda u, z, c: [u(z), u(z)]}, r"returns a list of 2 arrays; expected one array: use jnp.stack"),
        ({"residual": lambda u, z, c: None}, "returns None; expected one array: is its return missing"),
        ({"residual": lambda u, z, c: decay(u, z, c) + 0j}, "complex numbers.*real and the imaginary part two fields"),
        ({"residual": lambda u, z, c: jnp.array([1])}, "numbers of type int.*expected floating-point"),
        (
            {"residual": lambda u, z, c: c["rate"] * u(z)},
            "raises KeyError: 'rate'; the coefficients of the problem are: nu",
        ),
        ({"residual": lambda u, z, c: jnp.ones(3) + jnp.ones(2)}, "residual of term 'residual' raises TypeError"),
        ({"residual": lambda u, z, c: u(z) + z[1:2] * u(z)[1]}, "uses the index 1 of an array of length 1.*fields u"),
        ({"residual": lambda u, z, c: u(z) * z[jnp.array([0, 3])][1]}, "uses the index 3 of an array of length 1"),
        ({"residual": lambda u, z, c: jax.jit(lambda z: z[2])(z)[None] * u(z)}, "uses the index 2 of an array"),
        ({"residual": lambda u, z, c: kd.derivative(lambda z: u(z)[1:2] + u(z)[2], 0)(z)}, "uses the index 2"),
        ({"residual": lambda u, z, c: z.at[1].set(0.0)}, "uses the index 1 of an array of length 1"),
        ({"residual": lambda u, z, c: kd.derivative(u, 1)(z)}, "derivative: axis=1 does not exist; the point has 1"),
        ({"residual": lambda u, z, c: kd.laplacian(u, (0, 4))(z)}, "axis=4 does not exist"),
        ({"ansatz": lambda net, z, c: z[2] * net(z)}, "ansatz uses the index 2 of an array of length 1"),
        ({"sample": lambda key, n: jnp.zeros((3, 1))}, r"sample\(key, 16\) returns shape \(3, 1\); expected \(16, 1\)"),
        ({"sample": lambda key, n: jnp.zeros(n)}, r"returns shape \(16,\); expected \(16, 1\)"),
        ({"ansatz": lambda net, z, c: net(z)[0]}, r"ansatz returns shape \(\); expected \(1,\), one value for each"),
        ({"ansatz": lambda net, z, c: jnp.ones(2) * net(z)}, r"ansatz returns shape \(2,\)"),
        ({"embed": lambda z: z[0]}, r"embed returns shape \(\); expected \(inputs,\)"),
        (
            {"terms": {"data": kd.data(np.zeros((4, 1)), np.zeros((4, 2)))}},
            r"values are of shape \(N, 2\) for 1 fields",
        ),
        (
            {"terms": {"start": kd.Term(kd.box((0,), (0,)), kd.dirichlet((1.0, 2.0)), count=1)}},
            r"dirichlet: value has shape \(2,\); expected \(1,\)",
        ),
    ],
)
def test_a_wrong_shape_is_refused_before_training(wrong, message):
    """The loss of none of these says anything about the equation."""
    with pytest.raises(ValueError, match=message) as refused:
        kd.train_teacher(problem(**{"coefficients": {"nu": 1.0}} | wrong), jax.random.key(0), **SHORT)
    assert "problem 'decay'" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("reference", [lambda z: jnp.exp(-z[0]), lambda z: jnp.ones(2)])
def test_a_reference_of_a_wrong_shape_is_refused(reference):
    wrong = problem(reference=lambda c: reference)
    with pytest.raises(ValueError, match=r"problem 'decay': reference returns shape .*expected \(1,\)"):
        kd.train_teacher(wrong, jax.random.key(0), **SHORT)


def test_an_additional_term_is_checked():
    one_column = kd.data(np.zeros((4, 1)), np.zeros((4, 1)))
    three = problem(fields=("x", "y", "z"))
    with pytest.raises(ValueError, match=r"term 'observed'.*values are of shape \(N, 1\) for 3 fields"):
        kd.objective(three, terms={"observed": one_column})
    named = kd.data(np.zeros((4, 1)), np.zeros((4, 1)), fields=("y",))
    assert kd.objective(three, terms={"observed": named}).terms["observed"].residual.func.fields == (1,)
    with pytest.raises(ValueError, match=r"data: field 'w' is unknown.*the fields are"):
        kd.objective(three, terms={"observed": kd.data(np.zeros((4, 1)), np.zeros((4, 1)), fields=("w",))})


def test_a_sampler_that_ignores_the_number_of_points_is_refused():
    rows = jnp.linspace(0, 1, 16)[:, None]
    fixed = problem(sample=lambda key, n: rows[:n])
    stage = kd.LevenbergMarquardt(12, sampling=kd.Sampling(every=2, adaptive=("residual",), candidates=4))
    with pytest.raises(ValueError, match=r"term 'residual': sample\(key, 64\) returns 16 rows; expected 64"):
        kd.train_teacher(fixed, jax.random.key(0), network=kd.MLP((4,)), stages=(stage,), progress=False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"coefficients": {"a": np.nan}}, "must be one finite number"),
        ({"fields": ()}, "one or more different names"),
        ({"axes": ("t", "t")}, "different names"),
        ({"lower": (np.inf,)}, "must be one finite number"),
    ],
)
def test_arguments_of_a_problem(wrong, message):
    with pytest.raises(ValueError, match=f"Problem 'decay': .*{message}"):
        problem(**wrong)


#: What users pass although the annotations forbid it, and how the answer begins or what the attribute becomes.
OTHER_TYPES = {
    "make(lower=[0], upper=[2]).upper": "(2.0,)",
    "make(lower=np.zeros(1), upper=np.array([2])).upper": "(2.0,)",
    "make(lower=(np.int64(0),), upper=jnp.array([2])).upper": "(2.0,)",
    "make(lower=0, upper=2).upper": "(2.0,)",
    "make(coefficients={'a': np.float32(2)}).coefficients": "{'a': 2.0}",
    "make(coefficients={'a': jnp.array(2)}).coefficients": "{'a': 2.0}",
    "make(coefficients={'a': np.array([1.0, 2.0])})": "Problem 'decay': coefficients['a']=array([1., 2.]) must be one",
    "make(weights={'initial': [1.0]})": "Problem 'decay': weights['initial']=[1.0] must be one finite number",
    "make(fields='u')": "Problem 'decay': fields='u' is one string; expected a tuple of names, such as ('u',)",
    "make(fields=0)": "Problem 'decay': fields=0 must be a tuple of names",
    "make(terms={'residual': len})": "Problem 'decay': term 'residual' is <built-in function len>; expected Term(",
    "kd.MLP(30, 30, 30)": "MLP: hidden=30 must be a tuple of widths, such as MLP((30,))",
    "kd.Term(kd.box((0,), (1,)), 1.0)": "Term: residual=1.0 must be a function",
    "kd.Term(kd.box((0,), (1,)), len, count=0.5)": "Term: count=0.5 must be a whole number of points",
    "kd.dirichlet('one')": "dirichlet: value='one' must be a finite number",
    "kd.dirichlet(1.0, fields=0).fields": "(0,)",
    "kd.dirichlet([1, 2], fields=['u', 'v']).value": "(1.0, 2.0)",
    "kd.neumann(1.0, fields=1.5)": "neumann: fields=1.5 must be names or indices of fields",
    "kd.box(0, 1)(key, 3).shape": "(3, 1)",
    "kd.box('a', 1)": "box: lower='a' and upper=1 must be finite numbers, one per axis in each",
    "kd.derivative(1.0, 0)": "derivative: u must be a function of a point and axis=0 an index",
    "kd.derivative(len, 'x')": "derivative: u must be a function of a point and axis='x' an index",
    "train(key=0)": "train_teacher: key=0 must be a random key, such as jax.random.key(0)",
    "train(network=(4, 4))": "network=(4, 4) must be a network, such as kd.MLP(",
    "train(stages=7)": "stages=7 must be a tuple of stages, such as (kd.LevenbergMarquardt(100),)",
    "train(reference=jnp.sin)": "problem 'decay': reference must be coefficients -> (z -> u), such",
    "train(reference=lambda c: 3.0)": "problem 'decay': reference must be coefficients -> (z -> u)",
    "kd.problems.ALL['blackscholes']": "\"problem 'blackscholes' is unknown; did you mean 'black_scholes'? Known:",
    "kd.read_header('pyproject.toml')": "pyproject.toml: not a readable model file, truncated or damaged (it does not",
    "kd.save(train(), 'no/m.safetensors')": "no/m.safetensors: the folder no",
}


def test_arguments_of_other_types():
    """They are accepted or refused at once. The tests check annotations at run time, so another process tries them."""
    program = f"""
import jax.numpy as jnp, numpy as np, kdpinn_jax as kd
import jax, warnings
warnings.simplefilter("ignore")
key = jax.random.key(0)
def make(**more):
    terms = {{"initial": kd.Term(kd.box((0,), (0,)), kd.dirichlet(1.0), count=2)}}
    return kd.Problem(**dict(name="decay", axes=("t",), fields=("u",), lower=(0,), upper=(1,), terms=terms) | more)
def train(key=key, stages=(kd.Adam(1),), network=None, **more):
    return kd.train_teacher(make(**more), key, stages=stages, network=network)
for source in {list(OTHER_TYPES)}:
    try: print(eval(source))
    except (ValueError, KeyError, OSError) as error: print(error)
"""
    answers = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    for (source, expected), answer in zip(OTHER_TYPES.items(), answers.splitlines(), strict=True):
        assert answer.startswith(expected), source


@pytest.mark.parametrize(
    ("residual", "message"),
    [
        (lambda u, z, c: u(z) if z[0] > 0.5 else -u(z), "cannot be traced by JAX; use jax.numpy in place of numpy and"),
        (lambda u, z, c: u(z) - np.sin(z), "cannot be traced by JAX; use jax.numpy in place of numpy and math"),
        (
            lambda u, z, c: u(jnp.append(z, 0.0)),
            r"u is evaluated at a point of shape \(2,\); expected \(1,\), one number",
        ),
    ],
)
def test_residuals_that_jax_cannot_trace(residual, message):
    with pytest.raises(ValueError, match=f"residual of term 'residual' .*{message}"):
        kd.objective(problem(residual))


@pytest.mark.slow
def test_an_equation_outside_the_domain_is_a_warning():
    half = problem(inside=lambda z: z[0] < 0.5)
    with pytest.warns(
        RuntimeWarning, match="train_teacher: 5. % of the points of term 'residual' lie outside the domain"
    ):
        kd.train_teacher(half, jax.random.key(0), network=kd.MLP((3,)), stages=(kd.Adam(1),), dtype="float64")


# Fingerprints and equality ------------------------------------------------------------------------------------------


def scaled(rate):
    return lambda u, z, c: kd.derivative(u, 0)(z) + rate * u(z)


def test_problems_are_equal_if_they_compute_the_same():
    assert problem(scaled(2.0)) == problem(scaled(2.0))
    assert hash(problem(scaled(2.0))) == hash(problem(scaled(2.0)))
    assert len({problem(scaled(rate)) for rate in (1.0, 1.0, 2.0)}) == 2


EDITS = {
    "residual": {"residual": scaled(3.0)},
    "sampler": {"sample": kd.box((0,), (0.5,))},
    "ansatz": {"ansatz": lambda net, z, c: 1 + z * net(z)},
    "embedding": {"embed": jnp.sin},
    "data": {"terms": {"data": kd.data(np.array([[0.5]]), np.array([[0.7]]))}},
    "reference": {"reference": lambda c: lambda z: jnp.exp(-z)},
    "coefficient": {"coefficients": {"nu": 2.0}},
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_problem_is_another(edit):
    before = {"terms": {"data": kd.data(np.array([[0.5]]), np.array([[0.6]]))}, "coefficients": {"nu": 1.0}}
    assert problem(**before) == problem(**before)
    assert problem(**before) != problem(**before | EDITS[edit])


@pytest.mark.parametrize("name", kd.problems.ALL)
def test_copies_of_shipped_problems_are_equal(name):
    shipped = kd.problems.ALL[name]
    family = kd.parametric(shipped, **{c: (0.9 * v, 1.1 * v) for c, v in list(shipped.coefficients.items())[:1]})
    for original in (shipped, kd.with_conditions(shipped, "soft"), family):
        assert pickle.loads(pickle.dumps(original)) == original
        assert copy.deepcopy(original) == original
    assert shipped != kd.with_conditions(shipped, "soft")


def test_a_callback_has_no_fingerprint(tmp_path):
    def host(u, z, c):
        one = jax.ShapeDtypeStruct((), z.dtype)
        return decay(u, z, c) * jax.pure_callback(np.cos, one, 0 * z[0], vmap_method="sequential")

    with pytest.raises(NoFingerprint, match=r"term 'residual'.*pure_callback"):
        problem(host).fingerprints  # noqa: B018
    assert problem(host) != problem(host)
    with pytest.raises(kd.CheckpointError, match=r"term 'residual'.*train without a checkpoint"):
        kd.train_teacher(problem(host), jax.random.key(0), checkpoint=kd.Checkpoint(tmp_path), **SHORT)


def test_the_derivative_rule_counts():
    def made(factor):
        @jax.custom_jvp
        def f(x):
            return x

        f.defjvp(lambda primals, tangents: (primals[0], factor * tangents[0]))
        return f

    # The constants of a rule are among those of its code or its gradient's program.
    slope = lambda f: jax.grad(f)
    x = jax.ShapeDtypeStruct((), jnp.float64)
    assert fingerprint("f", slope(made(2.0)), x) != fingerprint("f", slope(made(3.0)), x)
    assert fingerprint("f", slope(made(2.0)), x) == fingerprint("f", slope(made(2.0)), x)


def test_a_loop_of_new_problems_gets_a_hint_and_a_bound(monkeypatch):
    """A problem that computes the same counts once; the hint comes once, and the caches are emptied at the limit."""
    emptied = []
    monkeypatch.setattr(recompilation, "_trained", {})
    monkeypatch.setattr(jax, "clear_caches", lambda: emptied.append(1))
    first = [problem(scaled(float(rate))) for rate in range(recompilation.LIMIT + 1)]
    for each in first[: recompilation.HINT - 1] * 2:
        recompilation.count_problem(each)
    with pytest.warns(RuntimeWarning, match="8 different problems named 'decay'.*coefficients="):
        recompilation.count_problem(first[recompilation.HINT - 1])
    for each in first[recompilation.HINT : recompilation.LIMIT]:
        recompilation.count_problem(each)
    assert not emptied
    recompilation.count_problem(first[-1])
    assert emptied == [1]


# Copies of models ---------------------------------------------------------------------------------------------------


def test_a_copied_model_gives_the_same_values_without_another_trace():
    traces = []

    def counted(net, z, c):
        traces.append(1)
        return net(z)

    model = kd.train_teacher(problem(ansatz=counted), jax.random.key(0), **SHORT)
    z = np.linspace(0, 0.9, 5)[:, None]
    expected = model(z)
    twin = copy.deepcopy(model)
    assert twin.problem == model.problem  # traces its functions to compare them
    compared = len(traces)
    np.testing.assert_array_equal(twin(z), expected)
    assert len(traces) == compared
    np.testing.assert_allclose(kd.predict_windows([twin, model], z), expected, rtol=1e-12)


def test_a_model_and_its_predictor_can_be_pickled():
    model = kd.train_teacher(problem(), jax.random.key(0), **SHORT)
    z = np.linspace(0, 1, 5)[:, None]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model))(z), model(z))
    predict = kd.compile_predict(model, dtype=np.float64, derivatives=("u", "u_t"))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(predict))(z), predict(z))


def largest(model):
    return float(np.abs(model(np.full((3, 1), 0.3))).max())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning", "ignore:This process.*fork:DeprecationWarning")
def test_process_pools():
    """A spawned worker gets the model; a forked one is refused in a line instead of waiting forever."""
    model = kd.train_teacher(problem(), jax.random.key(0), **SHORT)
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(largest, model).result(120) == pytest.approx(largest(model), rel=1e-5)
    with (
        concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool,
        pytest.raises(RuntimeError, match=r"forked.*get_context\('spawn'\)"),
    ):
        pool.submit(largest, model).result(60)


# Model files --------------------------------------------------------------------------------------------------------


def test_a_model_file_notices_an_edited_problem(tmp_path):
    """An edited equation is reported; an edited ansatz or embedding, which changes the values, is refused."""
    path = tmp_path / "model.safetensors"
    kd.save(kd.train_teacher(problem(), jax.random.key(0), **SHORT), path)
    kd.load(path, problem=problem())
    with pytest.warns(RuntimeWarning, match=r"'decay' has changed since the model was trained.*term 'residual'"):
        kd.load(path, problem=problem(scaled(2.0)))
    kd.load(path, problem=problem(ansatz=lambda net, z, c: 1.0 * net(z)))
    for edit in ({"ansatz": lambda net, z, c: 1 + z * net(z)}, {"embed": jnp.sin}):
        with pytest.raises(kd.ModelFileError, match=r"another embedding or ansatz.*restore the old definition"):
            kd.load(path, problem=problem(**edit))


def test_a_fingerprint_covers_every_item_of_a_large_array():
    numbers = np.arange(5000.0)
    other = np.where(numbers == 2500, -1.0, numbers)
    first, second, again = (
        fingerprint("f", lambda z, x=x: jnp.sum(z * x), jnp.ones(1)) for x in (numbers, other, numbers.copy())
    )
    assert first != second
    assert first == again
