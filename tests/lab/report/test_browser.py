"""Reports in a real browser, headless Chromium: they render, log nothing, fetch nothing and fit a phone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ssfe.lab.report.write import write_report

QUIET = ("--disable-background-networking", "--disable-component-update", "--no-first-run", "--disable-extensions")
PHONE, DESK = 390, 1280
HARNESS = """<!doctype html>%s<pre id="found"></pre><script>
addEventListener("load", () => {
  document.getElementById("found").textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement
    const shown = [...page.querySelectorAll("figure > svg, .tile svg")].map(svg => svg.getBoundingClientRect())
    const outside = [...page.querySelectorAll("body *")].filter(element => {
      const box = element.getBoundingClientRect()
      return !element.closest(".scroll") && box.width > 0 && (box.right > root.clientWidth + 1 || box.left < -1)
    })
    const letters = [...page.querySelectorAll("figure > svg text")].map(text => text.getBoundingClientRect().height)
    return {
      page: getComputedStyle(page.body).backgroundColor, ink: getComputedStyle(page.body).color,
      wide: root.scrollWidth > root.clientWidth, outside: outside.map(element => element.outerHTML.slice(0, 200)),
      drawings: shown.length, empty: shown.filter(box => box.width < 50 || box.height < 50).length,
      smallest: Math.min(...letters),
    }
  }))
})
</script>"""


@dataclass(frozen=True)
class Visit:
    """What loading a page did: its DOM afterwards, what it logged, and the addresses that it asked for."""

    dom: str
    console: list[str]
    requests: list[str]


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        reason = "needs Chromium (Debian package chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def visit(chromium: str, file: Path, folder: Path, *flags: str) -> Visit:
    log = folder / "net.json"
    options = ["--headless", "--no-sandbox", "--disable-gpu", *QUIET, f"--user-data-dir={folder / 'profile'}", *flags]
    watching = ["--enable-logging=stderr", f"--log-net-log={log}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command = [chromium, *options, *watching, "--dump-dom", file.as_uri()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    console = [line for line in ended.stderr.splitlines() if "CONSOLE" in line]
    return Visit(ended.stdout, console, requested(log))


def requested(log: Path) -> list[str]:
    """Addresses that a page asked for. (Those that Chromium asks for on its own behalf have no initiating origin.)"""
    text = log.read_text(encoding="utf-8")
    try:
        content = json.loads(text)
    except ValueError:  # cut short, as Chromium leaves it when it ends before the log does
        content = json.loads(text.rstrip().rstrip(",") + "]}")
    given = [event.get("params") or {} for event in content["events"]]
    return [
        each["url"] for each in given if "url" in each and each.get("initiator", "not an origin") != "not an origin"
    ]


def test_what_is_looked_for_would_be_found(chromium: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<img src="http://pictures.example/a.png"><script>console.error("broken")</script>')
    found = visit(chromium, page, tmp_path)
    assert "http://pictures.example/a.png" in found.requests
    assert any("broken" in line for line in found.console)


@pytest.mark.parametrize("kind", ["finished_run", "finished_comparison"])
def test_a_report_renders_logs_nothing_and_fetches_nothing(
    chromium: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    report = write_report(request.getfixturevalue(kind))
    found = visit(chromium, report, tmp_path)
    assert (found.console, found.requests) == ([], [])
    sections = re.findall(r"<h2>(.*?)</h2>", report.read_text())
    assert len(sections) >= 7
    assert re.findall(r"<h2>(.*?)</h2>", found.dom) == sections


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_a_report_fits_phone_and_desk_in_light_and_dark(
    chromium: str, scheme: str, finished_run: Path, finished_comparison: Path, tmp_path: Path
) -> None:
    reports = [write_report(folder) for folder in (finished_run, finished_comparison)]
    frames = [(width, report) for width in (PHONE, DESK) for report in reports]
    page = tmp_path / "harness.html"
    page.write_text(
        HARNESS
        % "".join(f'<iframe width="{width}" height="900" src="{report.as_uri()}"></iframe>' for width, report in frames)
    )
    preference = f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
    seen = visit(chromium, page, tmp_path, "--allow-file-access-from-files", preference, "--virtual-time-budget=9000")
    found = re.search(r'<pre id="found">(.+?)</pre>', seen.dom)
    assert found is not None
    measured: list[dict[str, Any]] = json.loads(
        found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    )
    assert len(measured) == len(frames)
    for each in measured:
        assert (each["wide"], each["outside"], each["empty"]) == (False, [], 0)
        assert each["drawings"] >= 12
        assert each["smallest"] >= 9
        page_light, ink_light = (sum(map(int, re.findall(r"\d+", each[name])[:3])) / 3 for name in ("page", "ink"))
        assert (page_light < 60, ink_light > 200) == ((True, True) if scheme == "dark" else (False, False))
