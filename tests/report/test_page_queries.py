"""Queries of the page: their order, filters, keys, and a query opened."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from chromium import Browser
from made_up import MadeUp, made_up


def by(page: MadeUp, key: str, *, model: int = 0, reverse: bool = False) -> list[str]:
    """Paths of the queries with a match, sorted by a figure; equal ones in the order of the data set."""
    images = page.payload["images"]
    rows = [row for row in page.rows(model) if row["ap"] is not None]
    value = (lambda row: images[row["image"]][1]) if key == "pid" else (lambda row: row[key])
    return [images[row["image"]][0] for row in sorted(rows, key=lambda row: value(row) * (-1 if reverse else 1))]


@pytest.mark.parametrize(
    ("sort", "key", "reverse"),
    [("worst", "ap", False), ("best", "ap", True), ("first", "first", True), ("pid", "pid", False)],
)
def test_queries_are_sorted(sort: str, key: str, reverse: bool, browser: Browser, plain: tuple[MadeUp, Path]) -> None:
    page, path = plain
    browser.open(path)
    browser.set("sort", sort)
    assert browser.listed() == by(page, key, reverse=reverse)


def test_queries_are_sorted_by_the_other_model_or_by_the_difference(
    browser: Browser, pair: tuple[MadeUp, Path]
) -> None:
    page, path = pair
    browser.open(path, "#model=1")
    assert browser.listed() == by(page, "ap", model=1)
    browser.open(path, "#sort=gained")
    paths = browser.listed()
    places = {image[0]: i for i, image in enumerate(page.payload["images"])}
    gains = [page.rows(1)[places[each]]["ap"] - page.rows(0)[places[each]]["ap"] for each in paths]
    assert len(gains) == 24
    assert gains == sorted(gains, reverse=True)


def test_queries_without_a_match_come_apart(browser: Browser, plain: tuple[MadeUp, Path]) -> None:
    browser.open(plain[1])
    browser.run("document.getElementById('without-match').scrollIntoView()")
    browser.wait("document.querySelectorAll('#unmatched .query').length === 2")
    assert browser.run("return document.querySelector('#unmatched .query').title") == "query/0022.jpg"
    assert browser.texts("#unmatched .row:first-child strong") == ["no match"]
    assert browser.texts("#count") == ["24 of 24 queries"]
    browser.set("to", "100")
    assert browser.texts("#count") == ["22 of 24 queries"]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"pid": "3"}, {6, 7}),
        ({"pid": "3, 5"}, {6, 7, 10, 11}),
        ({"pid": "0, 2-4"}, {0, 1, *range(4, 10)}),
        ({"pid": "anna"}, set()),
        ({"camera": "1"}, set(range(1, 24, 3)) - {22}),
        ({"text": "QUERY/001"}, set(range(10, 20))),
        ({"camera": "0", "text": "000"}, {0, 3, 6, 9}),
        ({"failures": "1"}, {i for i in range(22) if i % 4}),
    ],
)
def test_filters_narrow(
    state: dict[str, str], expected: set[int], browser: Browser, plain: tuple[MadeUp, Path]
) -> None:
    browser.open(plain[1])
    for name, value in state.items():
        if name == "failures":
            browser.click("[name=failures]")
        else:
            browser.set(name, value)
    assert set(browser.listed()) == {f"query/{i:04d}.jpg" for i in expected}
    told = "&".join(f"{name}={quote(value, safe='').replace('%20', '+')}" for name, value in state.items())
    browser.wait("location.hash === '#' + arguments[0]", told)


def test_address_brings_the_same_back(browser: Browser, plain: tuple[MadeUp, Path]) -> None:
    browser.open(plain[1], "#sort=best&camera=0&text=QUERY%2F000&failures=1")
    before = browser.listed()
    assert 1 < len(before) < 6
    assert browser.run("return Object.fromEntries(new FormData(document.getElementById('filters')))") == {
        "sort": "best",
        "pid": "",
        "camera": "0",
        "from": "",
        "to": "",
        "text": "QUERY/000",
        "failures": "1",
    }
    browser.click("[name=failures]")
    browser.wait("!location.hash.includes('failures')")
    browser.driver.refresh()
    assert set(browser.listed()) > set(before)


def test_range_of_ap(browser: Browser, plain: tuple[MadeUp, Path]) -> None:
    page, path = plain
    browser.open(path, "#from=20&to=60")
    precisions = {page.payload["images"][row["image"]][0]: row["ap"] for row in page.rows()}
    expected = [each for each in by(page, "ap") if 0.2 <= (precisions[each] or 0) <= 0.6]
    assert browser.listed() == expected
    assert 0 < len(expected) < 22


def test_nothing_left_can_be_undone(browser: Browser, plain: tuple[MadeUp, Path]) -> None:
    browser.open(plain[1], "#text=nowhere&sort=best")
    assert browser.texts("#count") == ["0 of 24 queries"]
    browser.click("#nothing button")
    assert browser.texts("#count") == ["24 of 24 queries"]
    browser.wait("location.hash === '#sort=best'")


@pytest.mark.parametrize(
    "state",
    [
        "#sort=constructor&model=7&query=999&theme=%E0&other=1&constructor=2",
        "#query=length&model=map&camera=99&from=abc&to=Infinity",
    ],
)
def test_address_with_nonsense_shows_the_page_at_rest(state: str, browser: Browser, plain: tuple[MadeUp, Path]) -> None:
    browser.open(plain[1], state)
    assert browser.texts("#count") == ["24 of 24 queries"]
    assert browser.opened() is None
    assert not browser.complaints()


def test_a_browser_that_refuses_addresses_is_no_obstacle(browser: Browser, plain: tuple[MadeUp, Path]) -> None:
    browser.open(plain[1], "#sort=pid")
    browser.run(
        "window.refused = 0;"
        "history.replaceState = () => { window.refused += 1; throw new DOMException('too often', 'SecurityError'); }"
    )
    browser.click("#ranked .row")
    browser.press(*"jjj")
    assert browser.opened() == "query/0003.jpg"
    browser.wait("window.refused > 0")
    assert browser.run("return window.refused") == 1
    assert not browser.complaints()


def test_the_first_right_image_comes_behind_a_gap(browser: Browser, tmp_path: Path) -> None:
    page = made_up(queries=12, results=3)
    # The fourth image of the ranking is right, three are shown.
    row = page.rows()[3]
    assert row["first"] == 4 and not any(right for *_, right in row["results"])
    row["found"] = (20, 0.7, 1)
    row["first"] = 1234
    browser.open(page.write(tmp_path), "#sort=pid")
    tile = "#ranked .row:nth-child(4) .tile.right.later"
    assert browser.texts(f"{tile} figcaption") == ["right, 0.700rank 1,234"]
    assert browser.picture(f"{tile} img") == page.thumbnails[20]
    assert len(browser.texts(".later")) == 1
    browser.click("#ranked .row:nth-child(4) .query")
    assert browser.texts("#query .found .later .rank") == ["1,234"]


def test_what_is_shown_is_what_is_compared(browser: Browser, tmp_path: Path) -> None:
    page = made_up(queries=4)
    for row, precision in zip(page.rows(), (0.29, 0.2896, 0.2894, 1.0), strict=True):
        row["ap"] = precision
    path = page.write(tmp_path)
    browser.open(path, "#from=29")
    assert set(browser.listed()) == {"query/0000.jpg", "query/0001.jpg", "query/0003.jpg"}
    browser.open(path, "#to=28.9")
    assert browser.listed() == ["query/0002.jpg"]


def test_click_opens_the_query_with_its_pictures(browser: Browser, plain: tuple[MadeUp, Path]) -> None:
    page, path = plain
    browser.open(path, "#sort=pid")
    browser.click("#ranked .row:nth-child(6) .tile")
    assert browser.opened() == "query/0005.jpg"
    browser.wait("location.hash.includes('query=5')")
    assert browser.picture("#query .large img") == page.thumbnails[5]
    results = page.rows()[5]["results"]
    tiles = browser.texts("#query .found .tile figcaption")
    assert len(tiles) == len(results)
    for place, (image, distance, right) in enumerate(results, 1):
        tile = f"#query .found .tile:nth-child({place})"
        assert browser.picture(f"{tile} img") == page.thumbnails[image]
        assert tiles[place - 1].startswith(f"{place}{distance:.3f}")
        assert browser.texts(f"{tile} .mark") == ["\u2713" if right else "\u2715"]
        assert browser.run(f"return document.querySelector('{tile}').classList.contains('right')") is bool(right)
    browser.press("ESCAPE")
    browser.wait("document.activeElement.title === 'query/0005.jpg'")
    assert browser.opened() is None
    browser.wait("location.hash === '#sort=pid'")


def test_open_query_of_two_models(browser: Browser, pair: tuple[MadeUp, Path]) -> None:
    page, path = pair
    browser.open(path, "#query=1")
    assert browser.texts("#query .found h3")[0] == "model A"
    assert len(browser.texts("#query .found section:nth-child(2) .tile")) == len(page.rows(1)[1]["results"])
    assert browser.run("return getComputedStyle(document.querySelector('#query .activation')).display") == "none"
    browser.press("a")
    assert browser.run("return getComputedStyle(document.querySelector('#query .activation')).display") != "none"
    maps = {(each["model"], each["image"]): each["picture"] for each in page.payload["activations"]}
    for model in range(2):
        shown = browser.picture(f"#query .large .activation.model-{model} img")
        assert shown == page.activation_pictures[maps[model, 1]]
    browser.press("j", "a")
    assert browser.opened() != "query/0001.jpg"


def test_keys_in_the_list(browser: Browser, plain: tuple[MadeUp, Path]) -> None:
    page, path = plain
    browser.open(path)
    order = by(page, "ap")
    browser.press("j")
    assert browser.run("return document.activeElement.title") == order[0]
    browser.press("j", "j", "ARROW_DOWN", "k")
    assert browser.run("return document.activeElement.title") == order[2]
    browser.press("ENTER")
    assert browser.opened() == order[2]
    browser.press("j", "ARROW_RIGHT", "k")
    assert browser.opened() == order[3]
    browser.press("ESCAPE")
    browser.wait("document.activeElement.title === arguments[0]", order[3])
    assert browser.run("return document.activeElement.matches(':focus-visible')")
    browser.press(*"j" * 30)
    assert browser.run("return document.activeElement.title") == "query/0023.jpg"
    browser.press("/", "j")
    assert browser.run("return document.activeElement.value") == "j"
    browser.press("ESCAPE", "?")
    assert "next query" in " ".join(browser.texts("#keys[open] dd"))
    browser.press("ESCAPE")
    assert browser.texts("#keys[open]") == []


def test_thousands_of_queries(browser: Browser, tmp_path: Path) -> None:
    page = made_up(3000, results=10)
    browser.open(page.write(tmp_path), "#sort=pid")
    assert browser.texts("#count") == ["3,000 of 3,000 queries"]
    size = "return document.querySelectorAll('*').length"
    assert browser.run(size) < 6000
    browser.run("document.querySelectorAll('#ranked .chunk')[250].scrollIntoView()")
    browser.wait("document.querySelector('[data-place=\"2000\"] .query img')?.naturalWidth > 0")
    assert browser.picture('[data-place="2000"] .query img') == page.thumbnails[2000]
    browser.wait("document.querySelector('[data-place=\"0\"]') === null")
    browser.press("j")
    assert browser.run("return document.activeElement.title") in {f"query/{i}.jpg" for i in range(2000, 2003)}
    assert browser.run(size) < 6000
    assert browser.run("return document.querySelectorAll('#ranked img').length") < 800
