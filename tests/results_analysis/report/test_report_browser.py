"""The report in a real browser: on a laptop and a phone, in light and dark, by keyboard, on paper."""

import shutil
import threading
from pathlib import Path

import pytest

from results_analysis import load, write_report, write_training_report
from results_analysis.report.serve import report_server
from tests.support.searched_runs import searched_trials, write_search, write_trial
from tests.support.trained_runs import write_training

CHROMIUM = "/usr/bin/chromium"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(CHROMIUM).exists() or not shutil.which("chromium"), reason="needs chromium"),
]
DRAWN = "html[data-drawn]"
HOSTILE = "<img src=x onerror=document.title='taken'><script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    trials = [{**trial, "reason": HOSTILE} for trial in searched_trials(120)]
    root = write_search(tmp_path_factory.mktemp("runs") / "night", trials, classes=(HOSTILE, "dog", "owl"))
    return write_report(load(root))


@pytest.fixture
def opened(browser, report):
    """`opened(viewport={…}, color_scheme="dark")`: the report's page, drawn; what its console says fails the test."""
    contexts, said = [], []

    def open_page(address=None, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(120_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if "://" in request.url[5:] else None)
        page.goto(address or report.as_uri())
        page.wait_for_selector(DRAWN)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in said if not text.startswith(("file://", "http://127.0.0.1"))] == []


def until(page, condition, *, tries=300):
    """Waits for a condition; the page's own policy forbids Playwright to watch it by itself."""
    for _ in range(tries):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(200)
    raise AssertionError(f"never came true: {condition}")


PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
LAPTOP = {"viewport": {"width": 1280, "height": 800}}


@pytest.mark.parametrize("device", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_all_is_drawn_and_nothing_asks_for_scrolling_sideways(opened, device):
    page = opened(**device)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    plots = page.locator(".plot")
    assert plots.count() >= 15
    assert page.locator(".plot .main-svg").count() >= plots.count()
    too_wide = "[...document.querySelectorAll('.plot')].filter(p => p.scrollWidth > p.clientWidth + 1).length"
    assert page.evaluate(too_wide) == 0
    assert page.title() == "night · thaw report"  # nothing that a name holds was run


@pytest.mark.parametrize("device", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_the_page_of_a_single_run_fits_the_screen_too(opened, tmp_path, device):
    rows = [{"image": f"{HOSTILE}{i}", "label": HOSTILE, "prediction": "dog", "confidence": 0.9} for i in range(30)]
    classes = (HOSTILE, "dog", *(f"a long name of class {i}" for i in range(40)))
    run = write_training(tmp_path / "run", (0.4, 0.5, 0.6), classes=classes, predictions=rows)
    page = opened(write_training_report(run).as_uri(), **device)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".plot .main-svg").count() >= 3
    assert page.locator(".gallery li").count() == 24
    assert page.title() == "0000 · thaw report"


def test_colours_follow_the_system_also_while_the_page_is_open(opened):
    page = opened(**LAPTOP, color_scheme="dark")
    colours = "[getComputedStyle(document.body).backgroundColor, document.querySelector('.plot').layout.font.color]"
    ground, text = page.evaluate(colours)
    page.emulate_media(color_scheme="light")
    until(page, f"{colours}[1] !== '{text}'")
    assert page.evaluate(colours)[0] != ground


def test_everything_can_be_reached_and_worked_by_keyboard(opened):
    page = opened(**LAPTOP)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = []
    while (page.keyboard.press("Tab"), tag := page.evaluate("document.activeElement.tagName"))[1] != "BODY":
        reached.append(tag)
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", tag
    assert {"A", "SUMMARY", "INPUT", "BUTTON"} <= set(reached)
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('details').open")


def test_the_table_is_sorted_searched_and_leafed_through(opened):
    page = opened(**LAPTOP)
    rows, found = page.locator("#table tbody tr"), page.locator("#found")
    assert (rows.count(), found.inner_text()) == (50, "1–50 of 120")
    page.locator("#later").focus()
    page.keyboard.press("Enter")
    assert found.inner_text() == "51–100 of 120"
    page.locator("#search").fill("pruned ldam")
    shown = [row.inner_text() for row in rows.all()]
    assert 0 < len(shown) < 120
    assert all("pruned" in text and "ldam" in text for text in shown)
    page.locator("#search").fill("")
    head = page.locator("#table thead button").first
    head.click()
    head.click()
    assert page.locator("#table thead th").first.get_attribute("aria-sort") == "descending"
    assert rows.first.locator("td").first.inner_text() == "119"


def test_numbers_of_a_column_stand_below_each_other(opened):
    page = opened(**LAPTOP)
    heads = page.locator("#table thead th").all_inner_texts()
    scores = page.locator(f"#table tbody td:nth-child({heads.index('score') + 1})")
    assert len({len(text.partition(".")[2]) for text in scores.all_inner_texts() if text}) == 1
    assert scores.first.evaluate("cell => getComputedStyle(cell).textAlign") == "right"
    reasons = page.locator("#table tbody td:last-child")
    assert reasons.first.evaluate("cell => getComputedStyle(cell).textAlign") == "left"


def test_it_prints_in_dark_ink_on_white_with_pictures_that_fit(opened):
    page = opened(viewport={"width": 1280, "height": 900}, color_scheme="dark")
    page.emulate_media(media="print")
    until(page, "[...document.querySelectorAll('.plot')].every((plot) => plot.layout.font.color === '#000')")
    ends = page.evaluate(
        "[...document.querySelectorAll('.plot .main-svg')].map((drawn) => drawn.getBoundingClientRect().right"
        " - document.querySelector('main').getBoundingClientRect().left)"
    )
    paper = (210 - 2 * 12) / 25.4 * 96  # CSS pixels of A4 between its margins
    assert max(ends) <= paper
    assert not page.locator("nav").is_visible()
    assert len(page.pdf(format="A4")) > 100_000


def test_a_served_page_follows_the_run_and_keeps_what_was_unfolded(opened, tmp_path):
    root = write_search(tmp_path / "live", searched_trials(2))
    file = write_report(load(root))
    with report_server(file, 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        page = opened(f"http://127.0.0.1:{server.server_port}/", **LAPTOP)
        page.locator("summary").nth(1).click()
        page.wait_for_load_state("networkidle")  # it has asked for the page's version
        write_trial(load(root).layout, 2, [0.99], classes=("cat", "dog", "owl"), params={})
        write_report(load(root))
        page.get_by_text("Trial 2 has the best").first.wait_for(state="attached")
        page.wait_for_selector(DRAWN)
        assert page.evaluate("document.querySelectorAll('details')[1].open")
        page.goto("about:blank")
        server.shutdown()
        thread.join()


def test_two_thousand_trials_stay_usable(opened, tmp_path):
    root = write_search(tmp_path / "many", searched_trials(2000), search={"trials": 2000})
    page = opened(write_report(load(root)).as_uri(), **LAPTOP)
    marks = page.evaluate("document.querySelectorAll('.plot .point').length")
    assert 1000 < marks < 30_000
    page.locator("#search").fill("trial-that-is-not-there")
    assert page.locator("#found").inner_text() == "none"
