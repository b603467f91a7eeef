"""The page in a browser: it opens from a disk, obeys clicks, keys and fingers, and shows what the runs hold."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from report.__main__ import main
from tests.report.page.folders import STRENGTHS, members, write_run

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed; apt-get install chromium")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("runs")
    for place in range(4):
        write_run(root, f"plain_{place}", quality=0.2 + 0.1 * place)
    write_run(root, "z_dec", quality=0.9, sites=("image",))
    out = root / "report"
    assert main([str(root), "--out", str(out)]) == 0
    return (out / "index.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Any]:
    """Opens the page; nothing may go wrong in it, and nothing may be asked of a network."""
    faults: list[str] = []

    def open_page(**options: Any) -> Any:
        page = browser.new_context(**options).new_page()
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request", lambda request: None if request.url[:5] in ("file:", "data:") else faults.append(request.url)
        )
        page.goto(address)
        return page

    yield open_page
    for context in browser.contexts:
        context.close()
    assert not faults


def through(page: Any) -> None:
    """Scroll to the end, which draws every chart."""
    for place in page.locator("[data-chart]").all():
        place.scroll_into_view_if_needed()
        place.locator("svg").first.wait_for()


def picture_at(page: Any, canvas: str) -> np.ndarray:
    """(side, side) of the gray values that a canvas shows."""
    found = page.evaluate(
        """async (name) => {
            await new Promise((done) => setTimeout(done, 150));
            const canvas = document.querySelector(name);
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            return {width: canvas.width, values: [...data].filter((_, k) => k % 4 === 0)};
        }""",
        canvas,
    )
    return np.array(found["values"], float).reshape(-1, found["width"])


def test_it_opens_quickly_and_is_small(opened: Any, address: str) -> None:
    began = time.perf_counter()
    page = opened()
    page.locator("#told").filter(has_text="Class 3").wait_for()
    assert time.perf_counter() - began < 10  # a bound for a busy machine
    assert Path(address.removeprefix("file://")).stat().st_size < 15e6


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_an_accessibility_checker_finds_nothing(opened: Any, scheme: str, width: int) -> None:
    page = opened(viewport={"width": width, "height": 800}, color_scheme=scheme)
    through(page)
    for summary in page.locator("summary").all():
        summary.click()
    found = axe.Axe().run(page)
    assert not found.violations_count, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_controls_walk_through_the_orbit(opened: Any) -> None:
    page = opened()
    given = members(0.9)["pictures"]
    np.testing.assert_allclose(picture_at(page, "#given"), given[0, 4, 1, 0], atol=40)  # its pictures are compressed
    page.locator("#strength").press("ArrowRight")
    page.locator("#across").press("ArrowRight")
    page.locator("#down").press("ArrowLeft")
    page.locator("#sample").select_option("1")
    told = page.locator("#told").inner_text()
    assert told.startswith("Class 1; image 2, centre 0.75, 0.25, strength 2.00: plain_0 says")
    assert page.locator("#strength").get_attribute("aria-valuetext") == "2.00 times"
    shown = picture_at(page, "#given")
    np.testing.assert_allclose(shown, given[1, 2, 2, 0], atol=40)
    assert np.abs(shown - given[0, 4, 1, 0]).max() > 200
    form = 'canvas[data-model="4"][data-shows="form"]'
    np.testing.assert_allclose(picture_at(page, form), 255 - given[1, 2, 2, 0], atol=40)
    label = page.locator(form).get_attribute("aria-label")
    assert label == "z_dec, image, canonical picture: image 2, centre 0.75, 0.25, strength 2.00"


def test_answers_are_those_of_the_runs(opened: Any) -> None:
    page = opened()
    page.locator("#strength").press("Home")
    said = members(0.9)["probabilities"][0, 4, 0]
    best = said.argsort()[::-1][:3]
    rows = [row.inner_text().split("\t") for row in page.locator('table[data-answers="4"] tbody tr').all()]
    assert [row[0] for row in rows] == [f"{kind} (true)" if kind == 3 else str(kind) for kind in best]
    assert [float(row[1].rstrip(" %")) for row in rows] == pytest.approx(100 * said[best], abs=0.06)
    assert f"z_dec says 3 ({said[3]:.0%}"[:-1] in page.locator("#told").inner_text()


def test_a_click_on_a_chart_takes_what_it_shows(opened: Any) -> None:
    page = opened()
    through(page)
    page.locator('[data-chart="overview"] path[aria-label], [data-chart="overview"] .mark-symbol path').nth(1).click()
    page.locator("#told").filter(has_text="image 2").wait_for()
    page.locator('[data-chart="orbit"] .mark-rect path').first.click()
    page.locator("#told").filter(has_text="centre 0.25, 0.25, strength 0.50").wait_for()
    assert page.locator("#sample").input_value() == "1" and page.locator("#strength").input_value() == "0"


def test_a_finger_on_the_picture_moves_the_centre(opened: Any) -> None:
    page = opened(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    place = page.locator("#given")
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    page.touchscreen.tap(box["x"] + 0.8 * box["width"], box["y"] + 0.2 * box["height"])
    page.locator("#told").filter(has_text="centre 0.75, 0.25").wait_for()


def test_the_curve_shows_the_scores_of_all_models(opened: Any) -> None:
    page = opened()
    through(page)
    rows = page.evaluate("views.walk.data('scores').filter((row) => row.of === 'this image')")
    assert len(rows) == 5 * len(STRENGTHS)
    own = [row["score"] for row in rows if row["recipe"] == "z_dec"]
    assert own == pytest.approx(members(0.9)["probabilities"][0, 4, :, 3], abs=1e-4)


def test_numbers_of_what_is_shown_stand_below_each_chart(opened: Any) -> None:
    page = opened()
    given = members(0.9)["probabilities"][..., 3][0]
    page.locator("#strength").press("Home")
    cells = lambda name: [  # noqa: E731
        row.split("\t")
        for row in page.evaluate(
            """(name) => [...document.querySelectorAll(`table[data-numbers="${name}"] tbody tr`)]
                .map((row) => [...row.cells].map((cell) => cell.textContent).join("\t"))""",
            name,
        )
    ]
    walk, orbit = cells("walk"), cells("orbit")
    assert [row[0] for row in walk] == [f"{strength:.2f}" for strength in STRENGTHS]
    assert [float(row[5].rstrip(" %")) for row in walk] == pytest.approx(100 * given[4], abs=0.06)
    mean = members(0.9)["probabilities"][np.arange(2), 4, :, [3, 1]].mean(0)
    assert [float(row[10].rstrip(" %")) for row in walk] == pytest.approx(100 * mean, abs=0.06)
    assert [float(row[5].rstrip(" %")) for row in orbit] == pytest.approx(100 * given.ravel(), abs=0.06)
    page.get_by_role("combobox", name="Value").select_option("train_task")
    assert [row[0] for row in cells("training")] == ["1", "2", "3"]


@pytest.mark.parametrize("width", [320, 1280])
def test_a_long_name_stays_on_the_screen(browser: Any, tmp_path: Path, width: int) -> None:
    name = "mnist_scale_learned_scales_ratios_squared_plus_" * 3
    write_run(tmp_path, name, quality=0.5, sites=("image",))
    assert main([str(tmp_path), "--out", str(tmp_path / "report.html")]) == 0
    page = browser.new_context(viewport={"width": width, "height": 800}).new_page()
    page.goto((tmp_path / "report.html").as_uri())
    through(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_reader_chooses_what_of_training_is_drawn(opened: Any) -> None:
    page = opened()
    through(page)
    choice = page.get_by_role("combobox", name="Value")
    lines = lambda: page.evaluate("document.querySelector('[data-chart=training] svg').outerHTML")  # noqa: E731
    before = lines()
    choice.select_option("train_task")
    page.wait_for_timeout(300)
    assert page.evaluate("views.training.signal('term')") == "train_task" and lines() != before


def test_charts_follow_the_theme(opened: Any) -> None:
    page = opened(color_scheme="light")
    through(page)
    color = lambda: page.evaluate("document.querySelector('[data-chart=walk] .mark-line path').getAttribute('stroke')")  # noqa: E731
    before = color()
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(800)
    assert color() != before
