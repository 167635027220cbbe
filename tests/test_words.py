"""The prose rules of CONTRIBUTING.md that a pattern can check, over all text of the repository."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
UNITS = r"ns|µs|us|ms|s|seconds|bytes|numbers|points|steps|calls|lines|rows|columns|files|options|evaluations"
THINGS = r"point|call|step|run|seed|row|column|line|file|problem|PDE|member|axis|field|term|device|second|core|student"
#: Patterns that a native reader stumbles over, each with what to write instead.
RULES = {
    rf"\b\d*\s?(?:{UNITS}) an? (?:{THINGS})\b": "use 'per'",
    rf"\b(?:one|a|an) (?:{THINGS}) an? (?:{THINGS})\b": "use 'per'",
    r"\b(?:whoever|nobody|who has ended)\b": "things are 'which' or 'that'; say what does what",
    r"\banew\b": "use 'again' or 'from scratch'",
    r"\bbegins? (?:over|anew)\b": "use 'starts again'",
    r"\bshall\b": "use 'must' or 'will'",
    r"\b(?:too|is|are) dear\b|\bdearer\b": "use 'expensive'",
    r"\bmend(?:s|ed|ing)?\b": "use 'fix'",
    r"\bstands? still\b|\bstood still\b": "use 'is left unchanged'",
    r"\bwhat came of it\b|\bwhat comes of it\b": "use 'the result'",
    r"\bin plain words\b": "leave it out",
    r"\bif need be\b": "use 'if necessary'",
    r"\bis what (?:it|they) needs?\b": "use 'requires'",
    r"\bwhole or not at all\b": "use 'atomically'",
    r"\bgoes? on from\b|\bgoing on from\b|\bgone on from\b": "use 'resumes from' or 'continues from'",
    r"\bfor ever\b": "use 'forever' or 'permanently'",
    r"\bby custom\b": "use 'conventionally'",
}
#: This file, and the table of CONTRIBUTING.md that quotes what not to write.
EXEMPT = {Path("tests/test_words.py"), Path("CONTRIBUTING.md"), Path("LICENSE")}
SUFFIXES = {".py", ".pyi", ".md", ".toml", ".txt", ".in", ".cff", ""}


def tracked_files():
    """The files of the repository, or of an unpacked source distribution, which has no history."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    source = ROOT / "kdpinn_jax.egg-info" / "SOURCES.txt"
    return (source.read_text() if listed.returncode else listed.stdout).splitlines()


def texts():
    paths = [Path(line) for line in tracked_files()]
    return [
        path
        for path in paths
        if path not in EXEMPT and path.suffix in SUFFIXES and path.parts[:2] != ("benchmarks", "results")
        if (ROOT / path).is_file()
    ]


@pytest.mark.parametrize("path", texts(), ids=str)
def test_the_prose_follows_the_rules(path):
    # Sentences run over line breaks, comment signs and quotation marks.
    text = re.sub(r"\s*\n\s*(?:#:?\s*)?(?:f?\")?", " ", (ROOT / path).read_text(encoding="utf-8"))
    found = [
        f"…{text[max(match.start() - 30, 0) : match.end() + 20]}…: {advice}"
        for pattern, advice in RULES.items()
        for match in re.finditer(pattern, text, re.IGNORECASE)
    ]
    assert not found, "\n".join(found)
