"""Measures how large the page of ``python -m report`` is, and how long a browser takes to open it.

    python -m report weights --out build/report && python -m benchmarks.page build/report/index.html

It needs the dev extra and a Chromium. A page is open when its explorer has said what the models answer, with pictures
and warps drawn; charts are drawn when they come into view. ``--picture`` keeps what is then seen of the explorer.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPENED = 8
SEEN = {"viewport": {"width": 1280, "height": 1250}}


def seconds_to_open(browser: Any, address: str) -> float:
    """By a context of its own, so that nothing is kept of the time before."""
    page = browser.new_context(**SEEN).new_page()
    began = time.perf_counter()
    page.goto(address)
    page.locator("#told").filter(has_text="says").wait_for()
    seconds = time.perf_counter() - began
    page.context.close()
    return seconds


def draw(browser: Any, address: str, target: str) -> None:
    """The explorer as it opens, at the most strongly enlarged member."""
    page = browser.new_context(**SEEN).new_page()
    page.goto(address)
    page.locator("#strength").press("End")
    for name in ("overview", "walk"):
        page.locator(f'[data-chart="{name}"] svg').first.wait_for()
    page.locator("#explorer").screenshot(path=target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--picture", metavar="FILE.png")
    options = parser.parse_args()
    if not options.page.is_file():
        parser.error(f"there is no {options.page}; expected a page that python -m report has written")
    from playwright.sync_api import sync_playwright

    address = options.page.resolve().as_uri()
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        seconds = [seconds_to_open(browser, address) for _ in range(OPENED + 1)][1:]  # the first one starts the browser
        if options.picture:
            draw(browser, address, options.picture)
        browser.close()
    told = f"median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s of {OPENED}"
    print(f"{options.page.stat().st_size / 1e6:.1f} MB; {told}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
