"""/swagger in a real browser: it shows the operations, and asks nobody but this server."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fixtures.api import Serve

pytestmark = pytest.mark.browser


def browse(url: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """The page's DOM once its scripts have run, and Chromium's log of the network."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on PATH: apt-get install chromium")
    log = folder / "net.json"
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        f"--user-data-dir={folder / 'profile'}",
        f"--log-net-log={log}",
        "--virtual-time-budget=10000",
        "--dump-dom",
        url,
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return run.stdout, json.loads(log.read_text(encoding="utf-8"))


def asked(log: dict[str, Any], origin: str) -> set[str]:
    """The URLs that were asked for on behalf of a page of this origin, the page itself included."""
    events = (event.get("params", {}) for event in log["events"])
    return {
        params["url"]
        for params in events
        if "url" in params and (origin in params["url"] or origin in str(params.get("initiator")))
    }


def test_the_operations_are_shown_and_no_request_leaves_this_machine(
    serve: Callable[..., Serve], tmp_path: Path
) -> None:
    origin = serve().url
    dom, log = browse(f"{origin}/swagger#/gpus/listGpus", tmp_path)  # a link to one operation, as people share it
    for path in ("/api/v1/gpus", "/api/v1/gpus/{gpu}", "/api/v1/gpus/{gpu}/telemetry", "/readyz"):
        assert f'data-path="{path}"' in dom
    assert "Read the telemetry of one GPU" in dom
    urls = asked(log, origin)
    assert f"{origin}/openapi.json" in urls
    assert {urlsplit(url).hostname for url in urls if not url.startswith("data:")} == {"127.0.0.1"}
