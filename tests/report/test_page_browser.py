"""The page in a real browser, opened as a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import Browser
from made_up import MadeUp, made_up

STICKING_OUT = """
return [...document.querySelectorAll("#ranked .row")].filter((row) =>
  row.querySelector(".strips").lastChild.getBoundingClientRect().bottom > row.getBoundingClientRect().bottom
);
"""


def test_head_and_figures(browser: Browser, plain: tuple[MadeUp, Path]) -> None:
    browser.open(plain[1])
    assert browser.driver.title == "Made up"
    facts = ["Nowhere", "24 queries", "12 identities", "24 gallery images", "/data/"]
    assert browser.texts("#subtitle") == [" \u00b7 ".join(facts)]
    assert browser.texts("#figures th, #figures td")[1:] == [
        *("mAP", "Rank-1", "model Acosine distance \u00b7 0123456789ab", "40.0", "60.0"),
    ]
    assert browser.texts("#notes li") == ["1 image cannot be read: <gone>.jpg"]
    assert browser.texts("#made") == ["python tools/visualize.py"]
    assert len(browser.texts(".chart svg")) == 3


def test_two_models_and_their_difference(browser: Browser, pair: tuple[MadeUp, Path]) -> None:
    browser.open(pair[1])
    assert browser.texts("#figures .differences *")[0] == "Difference"
    assert browser.texts("#figures .difference") == ["+2.5", "\u22121.0"]
    assert len(browser.texts(".chart:first-child .line")) == 2
    assert len(browser.texts(".chart:last-child svg")) == 2
    assert browser.texts(".row:first-child .model-name") == ["model A", "model B"]


def test_theme_by_key_and_address(browser: Browser, plain: tuple[MadeUp, Path]) -> None:
    browser.open(plain[1], "#theme=light")
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = browser.run(ground)
    browser.press("t")
    browser.wait("location.hash === '#theme=dark'")
    assert browser.run(ground) != light


def test_threshold_is_shown_on_all_curves(browser: Browser, pair: tuple[MadeUp, Path]) -> None:
    browser.open(pair[1])
    browser.point_at(".chart:first-child svg", 0.98, 0.5)
    assert browser.texts(".chart:first-child .read-out") == ["Rank 4: model A: 90.0\u202f%, model B: 90.0\u202f%"]
    # Distances go from 0 to 1.2 over 10 to 97 % of the width: this is 0.6.
    browser.point_at(".chart:last-child svg", 0.54, 0.5, click=True)
    told = "a pair is accepted up to a distance of 0.5: TPR 80.0\u202f%, FPR 10\u202f%"
    assert browser.texts("#curves > output p") == [f"model A: {told}", f"model B: {told}"]
    assert len(browser.texts(".chart .rule")) == 2
    assert len(browser.texts(".chart .chosen")) == 4
    browser.click("#curves input")
    assert browser.texts(".chart:nth-child(2) .axes text")[-3:-1] == ["100", "FPR, % of impostor pairs"]
    assert len(browser.texts("#curves > output p")) == 2


def test_point_of_the_map_is_an_image(browser: Browser, plain: tuple[MadeUp, Path]) -> None:
    page, path = plain
    browser.open(path)
    browser.point_at("#tsne canvas", 0.5, 0.5)
    assert browser.picture("#tsne .card img") == page.thumbnails[0]
    browser.point_at("#tsne canvas", 0.5, 0.5, click=True)
    assert browser.opened() == "query/0000.jpg"


def test_activation_maps_open_their_query(browser: Browser, plain: tuple[MadeUp, Path]) -> None:
    page, path = plain
    browser.open(path)
    browser.run("document.querySelector('#activations').scrollIntoView()")
    second = ".gallery .group:nth-child(2)"
    assert browser.picture(f"{second} button span:nth-child(2) img") == page.activation_pictures[1]
    # Of the three results of the second query, images 25, 26 and 27, two have maps.
    assert browser.texts(f"{second} figcaption")[0] == "query, pid 0 \u00b7 cam 1 \u00b7 AP 42.0"
    assert browser.picture(f"{second} figure:nth-child(2) span:nth-child(2) img") == page.activation_pictures[4]
    assert browser.texts(f"{second} .mark") == ["\u2715", "\u2713"]
    browser.click(f"{second} button")
    assert browser.opened() == "query/0001.jpg"
    assert len(browser.texts(".gallery .group")) == len(browser.texts(".gallery button")) == 3
    assert "4\u00d72 positions" in browser.texts("#activations > p")[0]


def test_nothing_can_be_sent_anywhere(browser: Browser, plain: tuple[MadeUp, Path]) -> None:
    browser.open(plain[1])
    send = "return fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')"
    assert browser.run(send) == "refused"
    browser.run("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = true'}))")
    assert browser.run("return window.ran") is None
    complaints = browser.complaints()
    assert all("Content Security Policy" in each for each in complaints)
    assert any("connect" in each.lower() for each in complaints)
    assert any("inline script" in each for each in complaints)


def test_sections_without_anything_are_left_out(browser: Browser, tmp_path: Path) -> None:
    browser.open(made_up(4, extras=False).write(tmp_path))
    assert browser.texts("#sections button") == ["Figures", "Queries"]
    assert browser.texts("section:not([hidden]) > h2") == ["Queries"]


def test_image_that_cannot_be_read_has_a_place(browser: Browser, tmp_path: Path) -> None:
    browser.open(made_up(4, unreadable=1).write(tmp_path), "#sort=pid")
    browser.wait("document.querySelector('.missing')")
    assert browser.texts("#ranked .row:first-child .query .missing") == ["no picture"]
    browser.wait("document.querySelector('#ranked .row:nth-child(2) .query img').naturalWidth > 0")


def test_odd_paths_are_but_text(browser: Browser, tmp_path: Path) -> None:
    names = ["a'b\"c.jpg", "<img src=x onerror=alert(1)>", "</script>", "日本 ü#?%&=+", "x" * 300]
    page = made_up(5, path=names.__getitem__)
    page.payload["title"] = page.payload["models"][0]["name"] = page.payload["notes"][0] = "".join(names)
    browser.open(page.write(tmp_path / "日本 #1 %20 ü"), "#sort=pid")
    assert browser.texts("h1") == browser.texts("#notes li") == ["".join(names)]
    for i, name in enumerate(names):
        browser.set("text", name)
        assert browser.listed() == [name]
        browser.wait("new URLSearchParams(location.hash.slice(1)).get('text') === arguments[0]", name)
        browser.run("location.hash += '&query=' + arguments[0]", i)
        browser.wait("document.querySelector('#query[open]')")
        assert browser.opened() == name
        browser.press("ESCAPE")
    browser.driver.refresh()
    assert browser.texts("#count") == ["1 of 5 queries"]
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_sticks_out(width: int, browser: Browser, pair: tuple[MadeUp, Path]) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.open(pair[1])
        assert browser.run("return document.documentElement.scrollWidth") <= width
        browser.run("document.querySelector('#queries').scrollIntoView()")
        browser.wait("document.querySelector('#ranked .row')")
        assert browser.run(STICKING_OUT) == []
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_curves_are_read_by_keys(browser: Browser, plain: tuple[MadeUp, Path]) -> None:
    browser.open(plain[1])
    browser.run("document.querySelector('.chart:first-child svg').focus()")
    browser.press("ARROW_RIGHT", "ARROW_RIGHT")
    assert browser.texts(".chart:first-child .read-out") == ["Rank 2: 70.0\u202f%"]
    browser.run("document.querySelector('.chart:nth-child(2) svg').focus()")
    browser.press(*["ARROW_RIGHT"] * 3, "ENTER")
    assert "TPR 50.0\u202f%, FPR 1\u202f%" in browser.texts("#curves > output p")[0]
    # The chart that was drawn anew keeps the focus, and goes on from there.
    browser.press("ARROW_RIGHT", "ENTER")
    assert "FPR 10\u202f%" in browser.texts("#curves > output p")[0]
    browser.run("document.querySelector('.chart:last-child svg').focus()")
    browser.press("ARROW_LEFT", "ENTER")
    assert "up to a distance of 0.3" in browser.texts("#curves > output p")[0]
    assert not browser.complaints()


def test_two_kinds_of_distances_have_an_axis_each(browser: Browser, tmp_path: Path) -> None:
    page = made_up(models=2)
    curves = page.payload["models"][1]["curves"]
    assert curves is not None
    curves["edges"] = [100 * edge for edge in curves["edges"]]
    browser.open(page.write(tmp_path))
    first, second = (browser.texts(f".chart:last-child svg:nth-of-type({number}) .axes text") for number in (1, 2))
    assert "0.5" in first and "100" in second and "100" not in first
    page.payload["models"][1]["curves"] = page.payload["models"][0]["curves"]
    browser.open(page.write(tmp_path, "same.html"))
    first, second = (browser.texts(f".chart:last-child svg:nth-of-type({number}) .axes text") for number in (1, 2))
    assert first[:-2] == second[:-2]


def test_queries_that_are_not_listed_are_none_of_the_gallery(browser: Browser, tmp_path: Path) -> None:
    page = made_up()
    page.payload["totals"]["queries"] = 500
    rows = page.rows()
    del rows[0]
    browser.open(page.write(tmp_path))
    assert browser.texts("#subtitle")[0].startswith("Nowhere \u00b7 500 queries (11 listed) \u00b7 6 identities")
    browser.point_at("#tsne canvas", 0.5, 0.5)
    assert browser.texts("#tsne .card .quiet") == ["a query that is not listed"]


def test_identities_of_the_map_have_hues_apart(browser: Browser, tmp_path: Path) -> None:
    page = made_up(queries=4)
    # Golden angles 610 steps apart are but an eighth of a degree apart.
    page.payload["images"] = [(path, 610 * pid, camera) for path, pid, camera in page.payload["images"]]
    browser.open(page.write(tmp_path))
    browser.run("document.querySelector('#tsne').scrollIntoView()")
    script = """
    const { width, height } = document.querySelector('#tsne canvas');
    const pixels = document.querySelector('#tsne canvas').getContext('2d').getImageData(0, 0, width, height).data;
    const hues = new Set();
    for (let i = 0; i < pixels.length; i += 4) {
      const [r, g, b, a] = pixels.slice(i, i + 4);
      const isColour = a > 220 && Math.max(r, g, b) - Math.min(r, g, b) > 60;
      if (isColour) hues.add([r, g, b].map((part) => Math.round(part / 48)).join());
    }
    return hues.size;
    """
    browser.wait("document.querySelector('#tsne canvas').width > 0")
    assert browser.run(script) >= 2
