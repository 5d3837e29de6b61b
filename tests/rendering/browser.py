"""A real browser, where there is one."""

import os
import shutil
import subprocess

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
          "--disable-background-networking")  # fmt: skip


def rendered(page, folder):
    """The DOM of a page as Chromium serializes it after running whatever would run."""
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    command = [
        _found(*_NAMES), *_QUIET, f"--user-data-dir={folder / 'profile'}",
        "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("utf-8")


def driven(folder):
    """A browser that does what it is told, and keeps what is logged to its console."""
    pytest.importorskip("selenium")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for argument in (*_QUIET, f"--user-data-dir={folder / 'profile'}", "--window-size=1280,900"):
        options.add_argument(argument)
    options.binary_location = _found(*_NAMES)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options, Service(_found("chromedriver")))


def _found(*names):
    """The first of several programs; a test that needs one is skipped without, but not in CI."""
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        assert os.environ.get("CI") != "true", (
            f"CI needs {names[0]}: apt-get install chromium-driver"
        )
        pytest.skip(f"no {names[0]} found: nothing is checked in a browser")
    return program
