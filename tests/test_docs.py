"""What the documents say: their Python runs, their files and configs exist."""

import re
from pathlib import Path

import pytest

from fastreid_ext.config import load_config
from fastreid_ext.config.loader import find_config

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTENTS.md",
    *(ROOT / "docs").glob("*.md"),
    *ROOT.glob("projects/*/README.md"),
]
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def blocks(document: Path, language: str) -> list[str]:
    return [code for kind, code in BLOCK.findall(document.read_text(encoding="utf-8")) if kind == language]


PYTHON = [(document, code) for document in DOCUMENTS for code in blocks(document, "python")]


@pytest.mark.parametrize(("document", "code"), PYTHON, ids=[document.name for document, _ in PYTHON])
def test_python_blocks_run(document: Path, code: str) -> None:
    exec(compile(code, str(document), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_name_real_files(document: Path) -> None:
    for code in blocks(document, "bash"):
        for tool in re.findall(r"tools/\w+\.py", code):
            assert (ROOT / tool).is_file(), f"{document} names {tool}"
        for config in re.findall(r"--config-file (\S+)", code):
            # A run writes what lies in logs/; what is behind a $ is named above it.
            if not config.startswith(("logs/", "$")):
                assert find_config(ROOT / config if config.endswith(".yml") else config).is_file()
        for target in re.findall(r"^make (\w+)", code, re.MULTILINE):
            assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_paths_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (document.parent / link).exists(), f"{document} links to {link}"
    if document.name == "CONTENTS.md":
        for path in re.findall(r"`((?:fastreid_ext|projects|tests|configs|tools)/[\w/.]+)`", text):
            assert (ROOT / path).exists(), f"{document} names {path}"


def test_keys_in_documents_exist() -> None:
    known = {
        key
        for name in ("msinet/msmt", "gms/quickstart", "adasp/quickstart", "moreid/quickstart", "grouploss/quickstart")
        for key, _ in load_config(name).leaves()
    }
    nodes = {key.rsplit(".", depth)[0] for key in known for depth in range(1, key.count(".") + 1)}
    pattern = re.compile(r"`((?:MODEL|SOLVER|INPUT|DATASETS|DATALOADER|TEST|SEARCH|KD|COMPAT)(?:\.[A-Z_0-9]+)+)\b")
    for document in DOCUMENTS:
        for key in pattern.findall(document.read_text(encoding="utf-8")):
            known_somewhere = key in known | nodes or document.name == "extending.md"
            assert known_somewhere, f"{document} names the key {key}"
