"""The file that `write_page` writes, without a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from made_up import jpeg, made_up

import fastreid_ext.report.page as page_package
from fastreid_ext.report.page.assemble import write_page

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!-- <script>",
    "a\u2028b\u2029c",
    "quote\" and ' & <b>",
    "ünï/日本#?%.jpg",
]


def between(text: str, start: str, end: str) -> str:
    return text.split(start, 1)[1].split(end, 1)[0]


@pytest.mark.parametrize("name", [*HOSTILE, "<!-- pictures -->", "$title ${x}", "lone \udcff byte"])
def test_numbers_and_names_come_back_whatever_they_are(name: str, tmp_path: Path) -> None:
    page = made_up(2, path=lambda i: f"{name}{i}")
    page.payload["title"] = page.payload["notes"][0] = name if name.isprintable() else "plain"
    text = page.write(tmp_path).read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 4
    told = between(text, 'id="payload">', "</script>")
    assert not set("<>&\u2028\u2029") & set(told)
    assert json.loads(told) == json.loads(json.dumps(page.payload))


def test_thumbnails_lie_in_blocks_in_order(tmp_path: Path) -> None:
    page = made_up(225, unreadable=1)
    text = page.write(tmp_path).read_text(encoding="utf-8")
    blocks = re.findall(r'<script type="text/plain" data-pictures="thumbnails">(.*?)</script>', text, re.DOTALL)
    lines = [block.split("\n") for block in blocks]
    assert [len(block) for block in lines] == [200, 200, 50]
    assert [base64.b64decode(line) for block in lines for line in block] == page.thumbnails
    assert 'data-per-block="200"' in text


def test_only_our_style_and_script_are_let_in(tmp_path: Path) -> None:
    text = made_up(extras=False).write(tmp_path).read_text(encoding="utf-8")
    policy = between(text, 'Content-Security-Policy" content="', '"')
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for kind, inline in (
        ("style", between(text, "<style>", "</style>")),
        ("script", between(text, "<script>", "</script>")),
    ):
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_nothing_is_named_that_lies_elsewhere(tmp_path: Path) -> None:
    text = made_up().write(tmp_path).read_text(encoding="utf-8")
    assert re.findall(r"\bhttps?://[^\"'\s]+", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<(?:script|img|iframe)[^>]*\bsrc=|@import|url\(", text)


@pytest.mark.parametrize(("size", "aspect"), [((8, 16), 0.5), ((16, 12), 1.333)])
def test_tiles_are_of_the_shape_of_the_images(size: tuple[int, int], aspect: float, tmp_path: Path) -> None:
    page = made_up(4, extras=False)
    write_page(tmp_path / "a.html", page.payload, [b"", *[jpeg(1, size)] * 6, jpeg(1, (64, 8))], [])
    assert f'data-aspect="{aspect:.3f}"' in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_no_thumbnail_at_all(tmp_path: Path) -> None:
    text = made_up(4, unreadable=8).write(tmp_path).read_text(encoding="utf-8")
    assert 'data-aspect="1.000"' in text


def spoil_pictures(page: Any) -> None:
    page.thumbnails.pop()


def spoil_numbers(page: Any) -> None:
    page.payload["models"][0]["figures"]["mAP"] = float("nan")


def spoil_models(page: Any) -> None:
    page.payload["models"] *= 2


def spoil_queries(page: Any) -> None:
    page.rows(1).reverse()


def spoil_activations(page: Any) -> None:
    page.payload["activations"][0]["picture"] = 200


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_pictures, "23 thumbnails for 24 images"),
        (spoil_numbers, "not JSON compliant"),
        (spoil_models, "one or two models; got 4"),
        (spoil_queries, "different queries"),
        (spoil_activations, "1 activations name pictures beyond the 200"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_old_page_stays(spoil: Any, message: str, tmp_path: Path) -> None:
    page = made_up(models=2)
    spoil(page)
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(ValueError, match=message):
        page.write(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_every_script_is_in_the_page_and_short(tmp_path: Path) -> None:
    text = made_up(extras=False).write(tmp_path).read_text(encoding="utf-8")
    folder = Path(page_package.__file__).parent
    scripts = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.js")}
    assert len(scripts) > 10
    for name, script in scripts.items():
        assert script in text, f"{name} is not in the page"
        assert len(script.splitlines()) < 300, f"{name} is too long"
