"""The programs in the README and the guide run, and print what the README says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def run(program, folder):
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quickstart", "own_pde"])
def test_readme_examples_print_what_is_said(name, tmp_path):
    """The same error within a factor of two: another processor rounds otherwise, and training amplifies it."""
    example = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```\n\nprints `(.*?)`", README, re.DOTALL)
    program, said = example.groups()
    pattern = r"relative L2 error ([\d.e+-]+)"
    told, found = (float(re.search(pattern, text).group(1)) for text in (said, run(program, tmp_path)))
    assert found < 2 * told


def test_a_pde_is_one_file_of_under_forty_lines():
    quickstart, own = blocks(README)
    assert len(own.splitlines()) < 40
    assert len(quickstart.splitlines()) <= 20


@pytest.mark.slow
def test_the_guide_is_one_program(tmp_path):
    run("\n".join(blocks((ROOT / "docs" / "guide.md").read_text())), tmp_path)


def test_links_lead_somewhere():
    for document in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"):
        for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
            assert target.startswith("https://") or (document.parent / target).exists(), (document, target)
