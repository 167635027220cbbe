"""The folders of the library form layers, and imports go downward only."""

import ast
from pathlib import Path

import pytest

import kdpinn_jax

ROOT = Path(kdpinn_jax.__file__).parent
#: Folders of one line do not import each other.
LAYERS = (
    ("base",),
    ("pde",),
    ("models",),
    ("serving", "training"),
    ("evaluation",),
    ("problems",),
    ("runs",),
    ("cli",),
)
LEVEL = {folder: level for level, folders in enumerate(LAYERS) for folder in folders}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT)


def imported_modules(path: Path) -> list[tuple[str, ...]]:
    """Each import from within the library as the parts of its path, also those inside functions."""
    package = path.relative_to(ROOT).parts[:-1]
    imports = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            start = package[: len(package) - node.level + 1]
            module = (*start, *(node.module.split(".") if node.module else ()))
            # ``from . import x`` may name a module.
            names = [(*module, alias.name) for alias in node.names] if (ROOT.joinpath(*module)).is_dir() else [module]
            imports += names
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(name.split(".")[0] == "kdpinn_jax" for name in names), (path, "use a relative import")
    return imports


def test_every_folder_is_a_layer():
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == set(LEVEL)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downward(path):
    folder = path.relative_to(ROOT).parts[0]
    for module in imported_modules(path):
        below = LEVEL[module[0]] < LEVEL[folder]
        assert below or module[0] == folder, f"{path} imports {'.'.join(module)} from a layer that is not below"
        private = [part for part in module if part.startswith("_")]
        inside = path.parent.relative_to(ROOT).parts[:1] == module[:1]
        assert not private or inside, f"{path} imports the private module {'.'.join(module)} of another folder"


def test_every_public_name_exists():
    for name in kdpinn_jax.__all__:
        assert getattr(kdpinn_jax, name) is not None


def test_no_two_types_share_a_name():
    places: dict[str, list[str]] = {}
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name.lstrip("_"), []).append(str(path.relative_to(ROOT)))
    private_to_a_stage = {"State", "Trial"}  # each stage has a state of its own
    shared = {name: files for name, files in places.items() if len(files) > 1 and name not in private_to_a_stage}
    assert not shared
