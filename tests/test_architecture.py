"""Who imports whom, and what the package list holds."""

import ast
import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

BASE = {"functional", "registry", "utils", "projects", "__init__"}
MIDDLE = {"data", "modeling", "solver"}
ALLOWED = {
    **dict.fromkeys(BASE, BASE),
    "config": BASE | {"config"},
    **{name: BASE | {"config", name} for name in MIDDLE},
    # What is evaluated is a model on data; neither of them knows of evaluation.
    "evaluation": BASE | MIDDLE | {"config", "index", "evaluation"},
    # Vectors only: whose they are is the gallery's business.
    "index": BASE | {"index"},
    # Trained models in use. What trains does not know of them, only the command line does.
    "inference": BASE | MIDDLE | {"config", "evaluation", "index", "engine", "inference"},
    "export": BASE | MIDDLE | {"config", "evaluation", "engine", "inference", "export"},
    "gallery": BASE | MIDDLE | {"config", "evaluation", "index", "inference", "gallery"},
    "report": BASE | MIDDLE | {"config", "evaluation", "index", "engine", "inference", "gallery", "report"},
    # Whatever is searched for, candidates and scores are all that a search knows of it.
    "search": BASE | {"search"},
    # FastReID's side of things; the command line explains its configs.
    "compat": BASE | MIDDLE | {"config", "evaluation", "compat"},
    "engine": BASE | MIDDLE | {"config", "evaluation", "index", "search", "compat", "engine"},
}
IN_USE = {"inference", "export", "gallery", "report"}


def imported(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == "fastreid_ext"}


def layer(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", files("fastreid_ext"), ids=lambda path: str(path.relative_to(ROOT)))
def test_library_imports_downwards(path: Path) -> None:
    own, *below = path.relative_to(ROOT / "fastreid_ext").with_suffix("").parts
    allowed = ALLOWED[own] | (IN_USE if own == "engine" and below[0] in ("cli", "benchmarks") else set())
    for name in imported(path):
        assert layer(name) in allowed, f"{path} ({own}) imports {name}"
        assert own == "engine" or not name.startswith("fastreid_ext.engine.cli"), f"{path} imports {name}"
        assert not name.startswith("fastreid_ext.projects."), f"{path} names a project: {name}"


@pytest.mark.parametrize("path", files("projects"), ids=lambda path: str(path.relative_to(ROOT)))
def test_projects_import_only_the_library(path: Path) -> None:
    own = path.relative_to(ROOT / "projects").parts[0]
    for name in imported(path):
        assert not name.startswith(("fastreid_ext.engine.cli", "fastreid_ext.compat")), f"{path} imports {name}"
        if name.startswith("fastreid_ext.projects."):
            assert name.split(".")[2] == own, f"{path} imports another project: {name}"


@pytest.mark.parametrize("path", files("tools"), ids=lambda path: path.name)
def test_tools_are_thin(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 15
    assert all(name.startswith("fastreid_ext.engine.cli") for name in imported(path))


def test_package_list_is_the_tree() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = set(setup["options"]["packages"].split())
    tree = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in files("fastreid_ext") if path.name == "__init__.py"
    }
    for path in files("projects"):
        if path.name == "__init__.py":
            tree.add("fastreid_ext." + ".".join(path.parent.relative_to(ROOT).parts))
    for path in (ROOT / "projects").glob("*/configs"):
        tree.add(f"fastreid_ext.projects.{path.parent.name}.configs")
    assert listed == tree | {"fastreid_ext.configs"}


@pytest.mark.parametrize("path", [*files("fastreid_ext"), *files("projects")], ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 300, f"{path} is too long"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            start = node.body[0].lineno if not ast.get_docstring(node) else node.body[0].end_lineno or node.lineno
            assert (node.end_lineno or 0) - start < 45, f"{path}:{node.lineno} {node.name} is too long"
