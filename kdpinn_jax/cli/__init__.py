"""The command ``kdpinn``: results on stdout, messages on stderr, exit code 2 for usage errors and 1 for other failures.

Each command imports the rest of the library when it runs, so that help and usage errors are shown without delay.
"""

import signal

import click

from . import _host as host
from . import _many, _tables, _train, _use
from . import _options as cli


@click.group(cls=host.Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show a traceback if an error occurs.")
@click.version_option(package_name="kdpinn-jax", prog_name="kdpinn")
def main(debug: bool) -> None:
    """Train a physics-informed neural network, distil it into a tiny student, and serve the student fast on a CPU.

    \b
    kdpinn run burgers --out runs/burgers
    kdpinn predict runs/burgers/student.safetensors --points points.csv --out values.csv

    Results go to stdout and messages to stderr. The exit code is 2 for a usage error and 1 for any other failure.
    """
    host.escape_unencodable()
    # A cluster sends SIGTERM before it takes a machine away. It has the effect of Ctrl-C, so that results are saved.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@main.command(short_help="List the problems shipped with the library.")
@cli.JSON
def problems(as_json: bool) -> None:
    """List the problems shipped with the library, with their domains, coefficients, conditions and terms.

    \b
    kdpinn problems
    """
    from ..problems import ALL

    rows = {
        name: {
            "axes": p.axes,
            "fields": p.fields,
            "lower": p.lower,
            "upper": p.upper,
            "coefficients": dict(p.coefficients),
            "terms": list(p.terms),
            "conditions": ["soft", "hard"] if p.enforced else ["soft"],
        }
        for name, p in ALL.items()
    }
    if as_json:
        host.print_json(rows)
        return
    click.echo(_tables.of_problems(rows))


for command in (
    *(_train.run, _train.train, _train.distill, _many.sweep, _many.search),
    *(_use.evaluate, _use.predict, _use.export, _use.bench, _use.plot),
):
    main.add_command(command)
