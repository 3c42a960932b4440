"""/swagger in a real browser: it shows the operations, and asks nobody but this server."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fixtures.api import Serve
from tests.fixtures.chromium import FLAGS, find_chromium, page
from tests.fixtures.process import eventually
from tests.fixtures.tokens import Keyring

pytestmark = pytest.mark.browser

EXECUTE = """(async () => {
  const wait = milliseconds => new Promise(done => setTimeout(done, milliseconds));
  const place = document.querySelector("#operations-gpus-listGpus");
  if (!place?.querySelector(".btn.execute")) return "";
  await new Promise(done => requestIdleCallback(done));  // what is clicked while it is drawn is never sent
  place.querySelector(".btn.execute").click();
  for (let turn = 0; turn < 40; turn++) {
    await wait(50);
    const shown = place.querySelector(".live-responses-table .response");
    if (shown) return shown.innerText.trim();
  }
  place.querySelector(".btn-clear")?.click();
  return "";
})()"""
"""Ask with an operation that is shown; the text of the answer, if there is one soon."""


def browse(url: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """The page's DOM once its scripts have run, and Chromium's log of the network."""
    log = folder / "net.json"
    command = [
        find_chromium(),
        *FLAGS,
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


@pytest.mark.slow
def test_authorize_takes_a_token_and_shows_it_with_each_request(
    serve: Callable[..., Serve], keyring: Keyring, tmp_path: Path
) -> None:
    origin = serve(tokens=str(keyring.path)).url
    with page(tmp_path) as swagger:
        swagger.open(f"{origin}/swagger#/gpus/listGpus")
        eventually(lambda: swagger.run(EXECUTE).startswith("401"), "an answer that asks for a token")
        swagger.click(".btn.authorize")
        swagger.type(".modal-ux input", keyring.texts["read"])
        swagger.click(".modal-ux .btn.authorize")
        swagger.click(".modal-ux .btn-done")
        eventually(lambda: swagger.run(EXECUTE).startswith("200"), "an answer to a token")
        assert keyring.texts["read"] not in swagger.run("location.href + document.cookie")
