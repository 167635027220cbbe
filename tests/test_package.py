"""The source distribution is complete, and the long description needs no other files."""

import email
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest
from test_words import ROOT, tracked_files

#: setuptools replaces the arguments of the process.
BUILD = """
import sys
from setuptools import build_meta
folder = sys.argv[1]
build_meta.build_sdist(folder)
build_meta.build_wheel(folder)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A copy of the repository, and the folder with the two distributions that were built from it."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    for name in tracked_files():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    result = subprocess.run([sys.executable, "-c", BUILD, out], cwd=copy, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return copy, out


@pytest.mark.slow
def test_the_source_distribution_is_complete(built):
    copy, out = built
    (archive,) = out.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        contents = {member.name.partition("/")[2] for member in tar if member.isfile()}
    missing = {name for name in tracked_files() if (copy / name).is_file()} - contents
    assert not missing


@pytest.mark.slow
def test_the_wheel(built):
    _, out = built
    (archive,) = out.glob("*.whl")
    with zipfile.ZipFile(archive) as wheel:
        names = wheel.namelist()
        (metadata,) = (wheel.read(name).decode() for name in names if name.endswith("dist-info/METADATA"))
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "kdpinn_jax").rglob("*.py")}
    templates = {str(path.relative_to(ROOT)) for path in (ROOT / "kdpinn_jax").rglob("*.in")}
    assert modules | templates | {"kdpinn_jax/py.typed", "kdpinn_jax/__init__.pyi"} <= set(names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"kdpinn_jax"}
    message = email.message_from_string(metadata)
    assert message["Description-Content-Type"] == "text/markdown"
    links = re.findall(r"\]\(([^)]*)\)", message.get_payload())
    assert links
    assert all(link.startswith("https://") for link in links)


def test_the_classifiers_name_the_versions_of_python_that_are_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    assert versions[0] == project["requires-python"].removeprefix(">=")
    assert versions[-1] in (ROOT / ".ci" / "run").read_text()
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in versions


def test_every_dependency_has_a_lower_bound():
    """``scripts/setup --oldest`` installs exactly these versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = [bound for bounds in project["optional-dependencies"].values() for bound in bounds]
    assert all(re.fullmatch(r"[\w\[\]-]+>=[\d.]+", bound) for bound in project["dependencies"] + optional)
