"""Pages as a person meets them, in a real browser."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from lrsearch.reporting import FIGURES, REPORT_FORMATS, make_report
from lrsearch.study import Study
from reporting.synthetic import synthetic_study

pytestmark = pytest.mark.slow

SCRIPT = "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"
NAMED = {"name": SCRIPT, "metric": SCRIPT, "worker": SCRIPT}


def wait(browser: Chrome, script: str) -> object:
    """Return what a script gives, once that is true."""
    return WebDriverWait(browser, 300).until(
        lambda driver: driver.execute_script(f"return {script}"), f"never true: {script}"
    )


def errors(browser: Chrome) -> list[str]:
    return [line["message"] for line in browser.get_log("browser") if line["level"] != "INFO"]


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> dict[str, Path]:
    """Reports of a usual study, of one with HTML for names, and of one without a trial."""
    folder = tmp_path_factory.mktemp("reports")
    kinds = {"usual": {"trials": 80}, "named": {"trials": 30, **NAMED}, "empty": {"trials": 0}}
    paths = {kind: folder / f"{kind}.html" for kind in kinds}
    for kind, path in paths.items():
        study = synthetic_study(f"sqlite:///{folder}/{kind}.db", **kinds[kind])
        REPORT_FORMATS["html"](make_report(study), path)
    return paths


@pytest.mark.parametrize("kind", ["usual", "named", "empty"])
def test_the_report_opens_without_a_network_and_without_an_error(browser, reports, kind):
    conditions = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)
    browser.get(reports[kind].as_uri())
    drawn = "document.querySelectorAll('.js-plotly-plot .main-svg').length"
    wait(browser, f"{drawn} >= {len(FIGURES)}")
    assert errors(browser) == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert "broken" not in browser.title[:10]


def test_every_figure_of_the_report_has_data(browser, reports):
    browser.get(reports["usual"].as_uri())
    for name in FIGURES:
        plot = f"document.getElementById('figure-{name}')"
        wait(browser, f"{plot}.querySelector('.main-svg')")
        points = browser.execute_script(
            f"return {plot}.querySelectorAll('.point, .js-line, path.box').length"
        )
        assert points > 0, name


def test_hovering_a_point_tells_its_trial(browser, reports):
    browser.get(reports["usual"].as_uri())
    wait(browser, "document.querySelector('#figure-winners .main-svg')")
    plot = browser.find_element(By.CSS_SELECTOR, "#figure-winners .nsewdrag")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    x, y = browser.execute_script(
        "const p = document.getElementById('figure-winners');"
        "const t = p._fullData[p._fullData.length - 1], i = 1, l = p._fullLayout;"
        "return [l.xaxis.d2p(t.x[i]), l.yaxis.d2p(t.y[i])]"
    )
    width, height = plot.size["width"], plot.size["height"]
    ActionChains(browser).move_to_element_with_offset(
        plot, round(x - width / 2), round(y - height / 2)
    ).perform()
    text = wait(browser, "document.querySelector('#figure-winners .hovertext')?.textContent")
    assert "trial " in str(text)
    assert "base_lr" in str(text)
    assert "lr 0." in str(text)


def test_the_trials_are_sorted_by_a_click_or_a_key_and_filtered_by_words(browser, reports):
    browser.get(reports["usual"].as_uri())
    wait(browser, "document.querySelector('.long th button')")

    def shown(column: str) -> list[str]:
        """Return what a person sees of a column, from the top."""
        cells = f"[...document.querySelectorAll(`.long td[data-name='{column}']`)]"
        return browser.execute_script(
            f"return {cells}.filter(each => each.checkVisibility()).map(each => each.textContent)"
        )

    def press(column: str, *keys: str) -> str | None:
        heads = browser.find_elements(By.CSS_SELECTOR, ".long th")
        head = next(each for each in heads if each.text == column)
        button = head.find_element(By.TAG_NAME, "button")
        if keys:
            button.send_keys(*keys)
        else:
            browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
            button.click()
        return head.get_attribute("aria-sort")

    drawn = shown("trial")
    assert drawn == sorted(drawn, key=int)
    assert len(drawn) == 80
    for direction, sign in (("ascending", 1), ("descending", -1)):
        assert press("val_accuracy") == direction
        values = shown("val_accuracy")
        known = [float(value) for value in values if value]
        assert known == sorted(known, key=lambda value: sign * value)
        assert 0 < len(known) < 80
        assert values[len(known) :] == [""] * (80 - len(known))  # without a value: last
    assert press("family", Keys.ENTER) == "ascending"
    assert shown("family") == sorted(shown("family"))

    words = browser.find_element(By.CSS_SELECTOR, ".filter input")
    rows = zip(*map(shown, ("outcome", "family", "warmup and parameters")), strict=True)
    meant = [row for row in rows if row[0] == "pruned" and "cosine" in f"{row[1]} {row[2]}"]
    words.send_keys("Pruned cosine")
    assert shown("family") == [family for _, family, _ in meant]
    assert 0 < len(meant) < 80
    counted = browser.find_element(By.CSS_SELECTOR, ".filter output")
    assert counted.text == f"{len(meant)} of 80"
    words.clear()
    words.send_keys(" ")
    assert len(shown("trial")) == 80
    assert errors(browser) == []


def test_the_trials_can_be_read_without_scripts(browser, reports):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(reports["usual"].as_uri())
        rows = browser.find_elements(By.CSS_SELECTOR, ".long tbody tr")
        assert len(rows) == 80
        assert all(row.text for row in rows[:3])
        heads = [each.text for each in browser.find_elements(By.CSS_SELECTOR, ".long th")]
        assert heads[:3] == ["trial", "outcome", "val_accuracy"]
        assert not browser.find_elements(By.CSS_SELECTOR, ".long button, .filter")
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_follows_light_and_dark(browser, reports, scheme):
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(reports["usual"].as_uri())
    wait(browser, "document.querySelector('#figure-winners .main-svg .gtitle')")
    ink, paper = browser.execute_script(
        "const color = (e, k) => getComputedStyle(e)[k].match(/\\d+/g).map(Number);"
        "return [color(document.querySelector('.gtitle'), 'fill'),"
        "        color(document.body, 'backgroundColor')]"
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert (sum(paper) < 200) == (scheme == "dark")
    assert abs(sum(paper) - sum(ink)) > 400


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory) -> Iterator[tuple[str, Study]]:
    """A dashboard that runs, on a study with HTML for names."""
    folder = tmp_path_factory.mktemp("dashboard")
    url = f"sqlite:///{folder}/study.db"
    study = synthetic_study(url, 30, **NAMED)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "lrsearch", "dashboard", "--port", str(port)]
    environment = {**os.environ, "LRSEARCH_STORAGE": url}
    with subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            for _ in range(9000):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/api/meta", timeout=900).close()
                    break
                except OSError:
                    assert process.poll() is None
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}", study
        finally:
            process.terminate()


def test_the_dashboard_lists_the_study(browser, dashboard):
    address, study = dashboard
    browser.get(f"{address}/dashboard")
    wait(browser, f"document.body.innerText.includes({study.name!r})")
    assert browser.title != "broken"


def test_the_study_page_shows_our_figures(browser, dashboard):
    address, study = dashboard
    browser.get(f"{address}/dashboard/studies/{study.study_id}")
    for name in set(FIGURES) - {"epochs", "timeline", "importance"}:  # it has its own
        plot = f"document.getElementById('user-defined-plot:lrsearch:{name}')"
        wait(browser, f"{plot}?.querySelector('.main-svg .gtitle')")
        traces = browser.execute_script(f"return {plot}.data.length")
        assert traces > 0
    assert browser.title != "broken"


def test_the_note_shows_how_to_export(browser, dashboard):
    address, study = dashboard
    browser.get(f"{address}/dashboard/studies/{study.study_id}/note")
    wait(browser, "document.body.innerText.includes('lrsearch export')")
    wait(browser, "document.querySelector('table')")
    assert browser.title != "broken"


def test_the_trial_page_shows_its_curve(browser, dashboard):
    address, study = dashboard
    number = study.best().number
    browser.get(f"{address}/dashboard/studies/{study.study_id}/trials?numbers={number}")
    images = "[...document.querySelectorAll('img')]"
    wait(browser, f"{images}.some(i => i.src.includes('/artifacts/') && i.naturalWidth > 100)")
    assert "epochs.csv" in browser.execute_script("return document.body.innerText")
    assert browser.title != "broken"
