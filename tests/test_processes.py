"""Two processes with JAX's runtime: they get the results of one process, and resume after one of them is killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import jax
import numpy as np
import pytest

import kdpinn_jax as kd

PROBLEM = """
residual = lambda u, z, c: kd.derivative(u, 0)(z) + u(z)
terms = {
    "residual": kd.Term(kd.box((0,), (1,)), residual, count=33),
    "initial": kd.Term(kd.box((0,), (0,)), kd.dirichlet(1.0), count=1),
}
decay = kd.Problem("decay", ("t",), ("u",), (0.0,), (1.0,), terms, weights={"initial": 1.0})
"""

PREAMBLE = (
    """
import sys
import jax
import kdpinn_jax as kd

port, rank, out, adam_steps = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_enable_x64", True)
jax.distributed.initialize(f"localhost:{port}", 2, rank, heartbeat_timeout_seconds=10)
assert jax.device_count() == 4
"""
    + PROBLEM
)

#: A teacher with its points divided among all devices, and a sweep of its students.
TRAIN = """
network, short = kd.MLP((4,)), (kd.LevenbergMarquardt(5),)
teacher = kd.train_teacher(
    decay,
    jax.random.key(0),
    network=network,
    stages=(kd.Adam(int(adam_steps), 1e-2), *short),
    devices=jax.devices(),
    checkpoint=kd.Checkpoint(out + "/teacher", every=0.05),
)
members, options = kd.members(teacher, seed=range(3)), {"network": network, "imitate": (kd.Adam(20),), "stages": short}
students = kd.sweep(teacher, members, **options, checkpoint=kd.Checkpoint(out + "/sweep"))
if jax.process_index() == 0:
    for i, model in enumerate((teacher, *students)):
        kd.save(model, f"{out}/{i}.safetensors")
"""


#: Ctrl-C in the first process alone, during its second record.
INTERRUPT = """
import itertools, signal
records = itertools.count()
def monitor(params):
    if next(records) == 1 and rank == 0:
        signal.raise_signal(signal.SIGINT)
    return 0.5
target = kd.objective(decay, kd.MLP((4,)))
params = kd.init_params(decay, target.network, jax.random.key(0))
try:
    kd.fit(target, params, jax.random.key(1), (kd.Adam(int(adam_steps)),), record_every=5, monitor=monitor,
           devices=jax.devices())
except kd.TrainingInterrupted as error:
    print(error, file=sys.stderr)
"""


@pytest.fixture
def start(tmp_path):
    """(rank, port, Adam steps, script) -> one of the two processes."""
    root, started = str(Path(__file__).parents[1]), []

    def start(rank, port, adam_steps, script=TRAIN):
        command = [sys.executable, "-c", PREAMBLE + script, port, rank, tmp_path, adam_steps]
        environment = os.environ | {"PYTHONPATH": root}
        started.append(subprocess.Popen(list(map(str, command)), env=environment, stderr=PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_two_processes_resume_and_get_the_results_of_one(start, tmp_path):
    """When one process is killed, the other stops and reports why; started again, both resume and finish."""
    port = free_port()
    first, second = (start(rank, port, 400) for rank in (0, 1))
    deadline = time.monotonic() + 120
    while not (tmp_path / "teacher" / "latest.safetensors").exists():
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second.send_signal(signal.SIGKILL)
    _, stderr = first.communicate(timeout=120)
    assert first.returncode != 0
    assert "another task died" in stderr or "Connection closed by peer" in stderr, stderr
    assert not (tmp_path / "0.safetensors").exists()

    port = free_port()
    for process in [start(rank, port, 400) for rank in (0, 1)]:
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
    network, short = kd.MLP((4,)), (kd.LevenbergMarquardt(5),)
    namespace = {"kd": kd}
    exec(PROBLEM, namespace)
    decay = namespace["decay"]
    stages = (kd.Adam(400, 1e-2), *short)
    teacher = kd.train_teacher(decay, jax.random.key(0), network=network, stages=stages)
    z = np.linspace(0, 1, 9)[:, None]
    models = [kd.load(tmp_path / f"{i}.safetensors", problem=decay) for i in range(4)]
    np.testing.assert_allclose(models[0](z), teacher(z), rtol=1e-6)
    for i, student in enumerate(models[1:]):
        alone = kd.distill(teacher, jax.random.key(i), network=network, imitate=(kd.Adam(20),), stages=short)
        np.testing.assert_allclose(student(z), alone(z), rtol=1e-5)


@pytest.mark.slow
def test_the_command_line_under_a_launcher(tmp_path):
    """Started as by Open MPI, both processes train, and only the first writes files and prints the result."""
    launcher = {"OMPI_MCA_orte_hnp_uri": "4096.0;tcp://127.0.0.1:1", "OMPI_COMM_WORLD_SIZE": "2"}
    launcher |= {"JAX_COORDINATOR_PORT": free_port(), "JAX_PLATFORMS": "cpu"}
    arguments = ["sweep", "burgers", "--vary", "seed=0:2", "--layers", "3", "--preset", "quick", "--devices", "1"]
    arguments += ["--distributed", "--quiet", "--json", "--out", tmp_path / "sweep"]
    started = []
    for rank in range(2):
        variables = launcher | {"OMPI_COMM_WORLD_RANK": rank, "OMPI_COMM_WORLD_LOCAL_RANK": rank}
        environment = os.environ | {name: str(value) for name, value in variables.items()}
        command = [sys.executable, "-m", "kdpinn_jax", *map(str, arguments)]
        started.append(subprocess.Popen(command, env=environment, stdout=PIPE, stderr=PIPE, text=True))
    (first, stderr), (second, _) = (process.communicate(timeout=120) for process in started)
    rows = json.loads(first), json.loads((tmp_path / "sweep" / "sweep.json").read_text())["members"]
    assert rows[0] == rows[1], stderr
    assert [row["seed"] for row in rows[0]] == [0, 1]
    assert all(row["relative_l2"] < 0.5 for row in rows[0])
    assert second == ""


@pytest.mark.slow
def test_ctrl_c_in_the_first_process_stops_both_at_the_same_record(start):
    port = free_port()
    for process in [start(rank, port, 400, INTERRUPT) for rank in (0, 1)]:
        _, stderr = process.communicate(timeout=120)
        assert "interrupted at step 10 of 400" in stderr, stderr
