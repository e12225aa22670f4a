"""A headless Chromium that opens pages from files and notes what they do wrong."""

from __future__ import annotations

import base64
import json
import shutil
import time
from pathlib import Path
from typing import Any

from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService, Keys

__all__ = ["Browser", "chromium_path"]

_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--window-size=1280,900",
)
_SET = """
const control = document.getElementById("filters").elements[arguments[0]];
control.value = arguments[1];
control.dispatchEvent(new Event("input", { bubbles: true }));
"""
# Printing fills the list; in one go with reading it, before what is not in the window is emptied again.
_LISTED = """
dispatchEvent(new Event("beforeprint"));
return [...document.querySelectorAll("#ranked .query")].map((each) => each.title);
"""


def chromium_path() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Browser:
    """What the tests do with a browser."""

    def __init__(self, path: str) -> None:
        options = ChromeOptions()
        options.binary_location = path
        for flag in _FLAGS:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # Without a path selenium looks for a driver on the network.
        self.driver = Chrome(options, ChromeService(shutil.which("chromedriver")))

    def open(self, page: Path, state: str = "") -> None:
        """Opens a page afresh: another state of the same address would not load it again."""
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(page.as_uri() + state)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str, *arguments: Any, seconds: float = 5) -> None:
        """Until the JavaScript expression holds."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})", *arguments):
            assert time.monotonic() < end, f"never came true: {condition}"
            time.sleep(0.02)

    def press(self, *keys: str) -> None:
        ActionChains(self.driver, duration=0).send_keys(*(getattr(Keys, key, key) for key in keys)).perform()

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()

    def point_at(self, selector: str, x: float, y: float, *, click: bool = False) -> None:
        """Points at a place in an element, given as shares of its width and height."""
        element = self.driver.find_element("css selector", selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        width, height = element.rect["width"], element.rect["height"]
        actions = ActionChains(self.driver, duration=0)
        actions.move_to_element_with_offset(element, (x - 0.5) * width, (y - 0.5) * height)
        (actions.click() if click else actions).perform()

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent.trim())"
        texts: list[str] = self.run(script, selector)
        return texts

    def set(self, name: str, value: str) -> None:
        """Sets a filter or the order of the queries, as typing does."""
        self.run(_SET, name, value)

    def listed(self) -> list[str]:
        """Paths of the queries with a match that the filters leave, in order, in or out of the window."""
        paths: list[str] = self.run(_LISTED)
        return paths

    def opened(self) -> str | None:
        """Path of the query in the dialog."""
        path: str | None = self.run("return document.querySelector('#query[open] .path')?.textContent")
        return path

    def picture(self, selector: str) -> bytes:
        """The file that an image shows, once it does."""
        self.wait("document.querySelector(arguments[0])?.naturalWidth > 0", selector)
        source: str = self.run("return document.querySelector(arguments[0]).src", selector)
        return base64.b64decode(source.split(",", 1)[1])

    def complaints(self) -> list[str]:
        return [f"{each['level']}: {each['message']}" for each in self.driver.get_log("browser")]

    def requested(self) -> list[str]:
        """Addresses that the page has asked for, other than those that hold their data themselves."""
        events = [json.loads(each["message"])["message"] for each in self.driver.get_log("performance")]
        sent = [each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith("data:")]

    def close(self) -> None:
        self.driver.quit()
