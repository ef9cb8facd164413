"""A real headless Chromium; without one these tests say so and are skipped."""

import os
import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

_OPTIONS = (
    *("--headless=new", "--disable-gpu", "--disable-background-networking", "--no-first-run"),
    *("--disable-sync", "--disable-dev-shm-usage", "--window-size=1280,900"),
)


@pytest.fixture(scope="session")
def chrome() -> Iterator[Chrome]:
    """A browser that keeps what its console says."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("no Chromium or no chromedriver here (Debian: chromium, chromium-driver)")
    options = ChromeOptions()
    options.binary_location = browser
    for option in _OPTIONS:
        options.add_argument(option)
    if os.geteuid() == 0:  # Chromium's sandbox does not work for root
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=ChromeService(driver))
    yield started
    started.quit()


@pytest.fixture
def browser(chrome: Chrome) -> Chrome:
    """That browser, its console empty."""
    chrome.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    chrome.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    chrome.get("about:blank")
    chrome.get_log("browser")
    return chrome
