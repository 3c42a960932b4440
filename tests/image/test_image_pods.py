"""The pods that the chart renders, run by podman in the image: users, arguments, variables, and files at their places.

What does not live here: the same as processes of this machine (`tests/chart/test_runs`), and the image by itself
(`test_image`).
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.fixtures.chart import Render, chart, containers_of, pod_of, rendered
from tests.fixtures.pipeline import TRUTH, get
from tests.fixtures.podman import Podman, image, podman, podman_settings
from tests.fixtures.pods import Pods, database_here, pods, queue
from tests.fixtures.process import Spawned, eventually
from tests.fixtures.servers_redis import free_port

__all__ = ["chart", "database_here", "image", "podman", "podman_settings", "pods", "queue", "rendered"]

pytestmark = [pytest.mark.chart, pytest.mark.costly]

CONTEXT = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


class Kubelet:
    """Does for one container what a kubelet would do."""

    def __init__(self, pods: Pods, podman: Podman, folder: Path) -> None:
        self.pods, self.podman, self.folder = pods, podman, folder
        self._begun = 0

    def start(self, workload: str, name: str) -> tuple[Spawned, int]:
        """Start a container of a Deployment; the process, and the port of its health or API."""
        spec = pod_of(self.pods.render["Deployment", workload])
        container = next(one for one in containers_of(spec) if one["name"] == name)
        assert container["securityContext"] == CONTEXT, "podman is told so by other names"
        user = spec["securityContext"]
        port = free_port()  # of this machine's, as all share its network; the rest is as rendered
        ours = {"TELEMETRY_HEALTH_PORT": str(port), "TELEMETRY_API_PORT": str(port)}
        env = {one["name"]: ours.get(one["name"], one["value"]) for one in container["env"]}
        options = [f"--user={user['runAsUser']}:{user['runAsGroup']}", f"--group-add={user['fsGroup']}"]
        options += [f"--memory={container['resources']['limits']['memory'].replace('i', '').lower()}"]
        options += self._volumes(spec, container, user["fsGroup"])
        return self.podman.begin(*container["args"], options=tuple(options), **env), port

    def _volumes(self, spec: dict[str, Any], container: dict[str, Any], group: int) -> list[str]:
        """Secrets as files: the kubelet gives them to the pod's group, with the mode that the volume names."""
        self._begun += 1
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        options = []
        for mount in container["volumeMounts"]:
            volume = volumes[mount["name"]]
            held = volume.get("secret") or volume.get("projected")
            if held is None:
                assert "emptyDir" in volume
                continue
            place = self.folder / f"{self._begun}-{mount['name']}"
            place.mkdir()
            for file, text in self.pods.files(volume):
                (place / file).write_text(text)
                os.chown(place / file, 0, group)
                (place / file).chmod(held["defaultMode"])
            place.chmod(0o755)
            options.append(f"--volume={place}:{mount['mountPath']}:ro")
        return options


@pytest.fixture
def kubelet(pods: Pods, podman: Podman, tmp_path: Path) -> Kubelet:
    """Run containers of the default render in the image."""
    if os.geteuid():
        pytest.skip("files are given to the pod's group: only root can")
    return Kubelet(pods, podman, tmp_path)


def wait_until_ready(container: dict[str, Any], process: Spawned, port: int) -> None:
    """Ask as the kubelet does, until it is ready; then it has begun and lives, too."""
    paths = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("readiness", "startup", "liveness")}
    url = f"http://127.0.0.1:{port}"
    eventually(lambda: not process.running or get(f"{url}{paths['readiness']}")[0] == 200, container["name"])
    assert [get(f"{url}{path}")[0] for path in paths.values()] == [200] * 3, process.stderr


def test_the_pods_work_in_the_image_and_end_within_their_grace(kubelet: Kubelet, rendered: Render) -> None:
    migration, _ = kubelet.start("telemetry-streamer", "migrate")
    assert migration.wait(120) == 0, migration.stderr
    running = {role: kubelet.start(f"telemetry-{role}", role) for role in ("collector", "streamer", "api")}
    for role, (process, port) in running.items():
        wait_until_ready(pod_of(rendered["Deployment", f"telemetry-{role}"])["containers"][0], process, port)
    token = rendered.secret("telemetry-api-tokens", "reader")
    question = Request(
        f"http://127.0.0.1:{running['api'][1]}/api/v1/gpus", headers={"Authorization": f"Bearer {token}"}
    )

    def gpus() -> int:
        with urlopen(question, timeout=10) as answer:
            return len(json.load(answer))

    eventually(lambda: gpus() == TRUTH["gpus"], "all GPUs of the image's sample")
    for role, (process, _) in running.items():
        kubelet.podman.signal(process, signal.SIGTERM)
        assert process.wait(kubelet.pods.grace(f"telemetry-{role}")) == 0, process.stderr
