"""The programs in the README and the docs run and print what the text states; links lead to existing headings."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def python_blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def run(program, folder):
    command = [sys.executable, "-W", "error", "-c", program]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "name"),
    [("README.md", "quickstart"), ("docs/own_pde.md", "own_pde"), ("docs/own_pde.md", "two_materials")],
)
def test_examples_print_the_stated_error(page, name, tmp_path):
    """The error may differ by a factor of two: processors round differently, and training amplifies the difference."""
    text = (ROOT / page).read_text()
    example = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```\n\nprints `(.*?)`", text, re.DOTALL)
    program, stated_output = example.groups()
    pattern = r"relative L2 error ([\d.e+-]+)"
    stated, actual = (float(re.search(pattern, text).group(1)) for text in (stated_output, run(program, tmp_path)))
    assert actual < 2 * stated


def test_examples_are_short():
    (quickstart,) = python_blocks((ROOT / "README.md").read_text())
    assert len(quickstart.splitlines()) <= 20
    assert all(len(block.splitlines()) < 45 for block in python_blocks((ROOT / "docs" / "own_pde.md").read_text()))


def test_the_readme_has_one_table_of_at_most_ten_rows():
    table = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("|")]
    assert 2 < len(table) <= 12  # with the header and the line below it


@pytest.mark.slow
def test_the_guide_is_one_program(tmp_path):
    run("\n".join(python_blocks((ROOT / "docs" / "guide.md").read_text())), tmp_path)


def anchors(page):
    """The anchors of a page's headings, as Markdown renderers derive them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_broken(page):
    for link, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        if link.startswith("https://"):
            continue
        target = page.parent / link if link else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), f"{link}#{anchor}"
