"""The documentation as a site: the reference of keys, pages from elsewhere, links that hold here and there."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mkdocs.config import load_config as load_site_config
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from fastreid_ext import projects
from fastreid_ext.config import get_cfg
from fastreid_ext.config.reference import config_keys
from fastreid_ext.engine.cli.listing import describe

ROOT = Path(__file__).resolve().parents[1]


def site_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "site" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site() -> Any:
    return load_site_config(str(ROOT / "mkdocs.yml"))


def rewritten(site: Any, page: str, text: str, **changes: Any) -> str:
    hooks = site_module("hooks")
    site.load_dict(changes)
    file = File(page, str(ROOT / "docs"), "", use_directory_urls=True)
    found: str = hooks.on_page_markdown(text, Page(None, file, site), site, Files([]))
    return found


def test_the_reference_is_up_to_date() -> None:
    module = site_module("configuration_page")
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run `make docs`"


def test_every_key_has_its_default_and_a_meaning() -> None:
    keys = {key.name: key for key in config_keys()}
    assert not [name for name, key in keys.items() if not key.meaning]
    leaves = dict(get_cfg(projects.available()).leaves())
    assert {name: key.default for name, key in keys.items() if not key.is_section} == {**leaves, "PROJECTS": []}
    assert keys["SOLVER.BASE_LR"].type == "float" and keys["TEST.FLIP"].is_section
    assert keys["MODEL.LOSSES.ADASP.KIND"].project == "adasp" and not keys["MODEL.LOSSES.CE.EPSILON"].project
    assert keys["MODEL.LOSSES.CE.EPSILON"].meaning.startswith("Label smoothing; -1 smooths each sample")


def test_the_command_line_lists_the_same() -> None:
    assert re.search(r"^MODEL\.HEADS\.NUM_CLASSES  0  0 takes the number of identities", describe("keys"), re.MULTILINE)


def test_every_page_is_in_the_navigation(site: Any) -> None:
    elsewhere = site_module("hooks").elsewhere()
    listed = re.findall(r"[\w/]+\.md", str(site.nav))
    assert sorted(listed) == sorted([*(path.name for path in (ROOT / "docs").glob("*.md")), *elsewhere])
    assert all((ROOT / source).is_file() for source in elsewhere.values())


@pytest.mark.parametrize(
    ("page", "text", "expected"),
    [
        ("index.md", "[a](../projects/msinet/README.md#search)", "[a](papers/msinet.md#search)"),
        ("papers/msinet.md", "[a](../../docs/benchmarks.md#msinet)", "[a](../benchmarks.md#msinet)"),
        ("papers/msinet.md", "[a](../adasp/README.md)", "[a](adasp.md)"),
        ("papers/msinet.md", "[a](#search)", "[a](#search)"),
        ("components.md", "[a](docs/robustness.md)", "[a](robustness.md)"),
        ("extending.md", "[a](../README.md)", "[a](index.md)"),
        ("extending.md", "[a](https://arxiv.org/abs/1)", "[a](https://arxiv.org/abs/1)"),
        ("extending.md", "[a](gone.md)", "[a](gone.md)"),
        ("robustness.md", "![a](robustness.svg)", "![a](robustness.svg)"),
        ("extending.md", "```\n[a](../README.md)\n```", "```\n[a](../README.md)\n```"),
        # Other files have no page.
        ("extending.md", "see [the file](../setup.cfg)", "see the file"),
    ],
)
def test_links_of_the_repository_are_links_of_the_site(site: Any, page: str, text: str, expected: str) -> None:
    assert rewritten(site, page, text) == expected


def test_other_files_are_linked_where_the_repository_is_known(site: Any) -> None:
    address = "https://example.org/us/fastreid_ext/"
    text = rewritten(site, "extending.md", "[a](../setup.cfg)", repo_url=address)
    site.load_dict({"repo_url": None})
    assert text == f"[a]({address}blob/main/setup.cfg)"
