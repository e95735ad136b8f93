"""The Prefect UI as a person uses it, in a real browser: a form, a run that is watched, its pictures, its report.

``KP_SCREENSHOTS=docs`` keeps the pictures that the README shows.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from up import Up, ended, running, start

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt install chromium")
MODEL = "shapes-ui"
REFUSED = "Error creating flow run"
EPOCHS = 10
PATIENCE = 60_000  # milliseconds: the machine may be busy with something else


@pytest.fixture(scope="module")
def up(checkout: Path) -> Iterator[Up]:
    with running(checkout) as server:
        yield server


@pytest.fixture(scope="module")
def earlier(up: Up) -> str:
    """The id of the run that made the model's first champion."""
    run = start(up, MODEL, epochs=1, workers=0)
    assert ended(up, run) == "COMPLETED"
    return run


@pytest.fixture(scope="module")
def page(up: Up) -> Iterator[Page]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


@pytest.fixture(scope="module")
def keep(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], None]:
    """`keep(name)`: a picture of what the browser shows."""
    folder = Path(os.environ.get("KP_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))

    def take(name: str) -> None:
        page.screenshot(path=folder / f"ui-{name}.png")

    return take


def field(page: Page, help_text: str) -> Locator:
    """The input of the form that has this text under its name."""
    around = 'ancestor::div[contains(concat(" ", @class, " "), " p-label ")][1]'
    return page.locator(f'xpath=//article[contains(., "{help_text}")]/{around}').locator("input, textarea").first


def artifacts(page: Page) -> None:
    """Open the list of what the run shows; a page that the busy server answered in part is loaded once more."""
    tab = page.get_by_text("Artifacts", exact=True).first
    for _ in range(5):
        with suppress(PlaywrightTimeout):
            return tab.click(timeout=15_000)
        page.reload()
    return tab.click()


def until(page: Page, what: str, seen: Callable[[], bool], seconds: float = 300) -> None:
    """Load the list of artifacts again until something is seen."""
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, f"{what} was not seen: {page.inner_text('body')[-1500:]}"
        page.reload()
        artifacts(page)
        page.wait_for_timeout(1500)


@pytest.fixture(scope="module")
def form(page: Page, up: Up) -> Page:
    """The form of the deployment, opened as a person opens it."""
    page.goto(f"http://127.0.0.1:{up.port}/deployments")
    page.get_by_role("link", name="retrain").first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()
    expect(field(page, "Name of the model.")).to_be_visible(timeout=PATIENCE)
    return page


def test_a_wrong_value_is_refused_in_the_form(form: Page, keep: Callable[[str], None]) -> None:
    keep("form")
    field(form, "Passes over the training images.").fill("-2")
    form.get_by_role("button", name="Submit").click()
    expect(form.get_by_text("-2 is less than the minimum of 1").last).to_be_visible(timeout=PATIENCE)
    dismiss(form)


def dismiss(page: Page) -> None:
    """Wait until a message has gone, which stays while the mouse is over it and may cover the button."""
    page.mouse.move(1, 1)
    expect(page.get_by_text(REFUSED)).to_have_count(0, timeout=PATIENCE)


def submit(form: Page) -> None:
    """Press Submit, and once more where the server was too busy to take it, as a person does."""
    form.get_by_role("button", name="Submit").click()
    end = time.monotonic() + 180
    while "tab=Runs" not in form.url:
        assert time.monotonic() < end, f"nothing was submitted: {form.inner_text('body')[-800:]}"
        if form.get_by_text(REFUSED).count():
            dismiss(form)
            form.get_by_role("button", name="Submit").click()
        form.wait_for_timeout(200)


@pytest.fixture(scope="module")
def finished(form: Page, earlier: str, keep: Callable[[str], None]) -> Page:
    """The page of a run that was started with changed fields, and watched to its end."""
    field(form, "Name of the model.").fill(MODEL)
    field(form, "Side of the square network input").fill("64")
    field(form, "Passes over the training images.").fill(str(EPOCHS))
    field(form, "Ray Train workers").fill("0")
    submit(form)
    form.locator(f"a[href*='/runs/flow-run/']:not([href*='{earlier}'])").first.click()
    expect(form.get_by_text("Running", exact=True).first).to_be_visible(timeout=PATIENCE)
    until(form, "progress", lambda: form.get_by_text(f" of {EPOCHS}: loss").count() > 0)
    assert form.get_by_text("Running", exact=True).count() > 0, "the progress was seen too late"
    until(form, "the end", lambda: form.get_by_text("Completed", exact=True).count() > 0)
    until(form, "the metrics", lambda: form.get_by_role("link", name=f"{MODEL}-metrics").count() > 0)
    keep("run")
    return form


@pytest.fixture
def run_page(finished: Page) -> Iterator[Page]:
    """The list of what the run shows; come back to after each look."""
    address = finished.url
    artifacts(finished)
    yield finished
    finished.goto(address)


def test_metrics_stand_beside_the_champion(run_page: Page, keep: Callable[[str], None]) -> None:
    run_page.get_by_role("link", name=f"{MODEL}-metrics").first.click()
    expect(run_page.get_by_role("columnheader", name=f"{MODEL}@v2").first).to_be_visible(timeout=PATIENCE)
    expect(run_page.get_by_role("columnheader", name=f"champion {MODEL}@v1").first).to_be_visible(timeout=PATIENCE)
    expect(run_page.get_by_text("OKS AP", exact=True).first).to_be_visible(timeout=PATIENCE)
    keep("metrics")


def test_sample_pictures_are_shown(run_page: Page, up: Up, keep: Callable[[str], None]) -> None:
    run_page.get_by_role("link", name=f"{MODEL}-worst-1").first.click()
    picture = run_page.locator(f"img[src^='http://127.0.0.1:{up.port + 1}/']").first
    expect(picture).to_be_visible(timeout=PATIENCE)
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    keep("picture")


def test_the_link_opens_the_report(run_page: Page, keep: Callable[[str], None]) -> None:
    run_page.get_by_role("link", name=f"{MODEL}-summary").first.click()
    link = run_page.locator("a[href$='report.html']").first
    keep("summary")
    with run_page.expect_popup() as popup:
        link.click()
    report = popup.value
    report.wait_for_load_state()
    assert f"{MODEL}@v2" in report.title()
    pictures = report.locator("img")
    assert pictures.count() >= 4
    assert all(pictures.evaluate_all("images => images.map(image => image.naturalWidth > 0)"))
    report.close()
