"""The long description of the package: the README without links to other files of the repository.

pyproject.toml contains everything else. A package index shows the README alone, where relative links lead nowhere.
"""

import re
from pathlib import Path

from setuptools import setup


def readable_alone(markdown: str) -> str:
    """The text with its relative links replaced by their words, and without its relative pictures."""
    elsewhere = r"\((?!https?://|#)[^)]*\)"
    without_pictures = re.sub(rf"!\[[^\]]*\]{elsewhere}\n*", "", markdown)
    return re.sub(rf"\[([^\]]*)\]{elsewhere}", r"\1", without_pictures)


setup(
    long_description=readable_alone(Path(__file__).with_name("README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
