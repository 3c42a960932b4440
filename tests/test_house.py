"""The rules of the house, as tests. Each rule is a function that names the faults of a tree of files; one test
asks it about this repository, another shows it a tree with the fault, so that no rule passes by looking away."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
Rule = Callable[[Path], Iterator[str]]

FILE_LINES, FUNCTION_LINES, FILE_BYTES = 300, 40, 1_000_000
TEXTS = {".py", ".lua", ".sql", ".md", ".sh", ".toml", ".yaml", ".yml", ".tpl", ".txt", ".js", ".css", ".html", ""}
Function = ast.FunctionDef | ast.AsyncFunctionDef
IMPORTS = (ast.Import, ast.ImportFrom)
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}

ROOMS = {
    "telemetry/broker/": "redis",
    "telemetry/store/": "psycopg psycopg_pool",
    "telemetry/streamer/": "pandas pyarrow",
    "telemetry/runtime/": "prometheus_client",
    "webapi/": "flask flask_smorest flask_swagger_ui marshmallow prometheus_flask_exporter",
    # reading an exporter's text is parsing a source, not keeping metrics
    "telemetry/streamer/sources/": "prometheus_client.parser",
}
DRIVERS = {driver: room for room, drivers in ROOMS.items() for driver in drivers.split()}


def files(root: Path, *suffixes: str) -> list[Path]:
    """What git has or would take; in a tree without git, everything."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (root / ".git").exists():
        names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
        found = [root / name for name in names if name]
    else:
        found = sorted(root.rglob("*"))
    return [path for path in found if path.is_file() and (not suffixes or path.suffix in suffixes)]


def code(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """The Python files that are no tests, by their name, parsed."""
    for path in files(root, ".py"):
        name = path.relative_to(root).as_posix()
        if not name.startswith("tests/"):
            yield name, ast.parse(path.read_text(encoding="utf-8"), name)


def modules_say_what_they_are_for(root: Path) -> Iterator[str]:
    for name, tree in code(root):
        if not (ast.get_docstring(tree) or "").strip():
            yield f"{name}: no module docstring"


def files_are_short(root: Path) -> Iterator[str]:
    for name, _ in code(root):
        if (lines := len((root / name).read_text(encoding="utf-8").splitlines())) > FILE_LINES:
            yield f"{name}: {lines} lines, more than {FILE_LINES}"


def functions_are_short(root: Path) -> Iterator[str]:
    for name, tree in code(root):
        for node in ast.walk(tree):
            if isinstance(node, Function) and (lines := body_lines(node)) > FUNCTION_LINES:
                yield f"{name}:{node.lineno}: {node.name} has {lines} lines, more than {FUNCTION_LINES}"


def body_lines(function: Function) -> int:
    """From the first statement after the docstring to the last line."""
    body = function.body[ast.get_docstring(function, clean=False) is not None :]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def imports_stand_at_the_top(root: Path) -> Iterator[str]:
    for name, tree in code(root):
        functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
        inside = {node.lineno for each in functions for node in ast.walk(each) if isinstance(node, IMPORTS)}
        yield from (f"{name}:{line}: import inside a function" for line in sorted(inside))


def only_config_reads_the_environment(root: Path) -> Iterator[str]:
    for name, tree in code(root):
        if name == "telemetry/config.py":
            continue
        for node in ast.walk(tree):
            taken = (
                [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) and node.module == "os" else []
            )
            is_os = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
            taken += [node.attr] if is_os and isinstance(node, ast.Attribute) else []
            if ENVIRONMENT & set(taken):
                yield f"{name}:{getattr(node, 'lineno', 0)}: reads the environment"


def each_driver_has_its_room(root: Path) -> Iterator[str]:
    for name, tree in code(root):
        for node in ast.walk(tree):
            for module in imported(node):
                driver = module if module in DRIVERS else module.split(".")[0]
                if driver in DRIVERS and not name.startswith(DRIVERS[driver]):
                    yield f"{name}:{getattr(node, 'lineno', 0)}: imports {module}, which lives in {DRIVERS[driver]}"


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        longer = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name if name in DRIVERS else node.module for name in longer]
    return []


def lua_opens_with_its_contract(root: Path) -> Iterator[str]:
    for path in files(root, ".lua"):
        lines = path.read_text(encoding="utf-8").splitlines()
        code_at = next((i for i, line in enumerate(lines) if not line.startswith("--")), len(lines))
        opening = "\n".join(lines[:code_at])
        for word in ("KEYS", "ARGV", "Returns"):
            if not re.search(rf"^-- {word}\b", opening, re.MULTILINE | re.IGNORECASE):
                yield f"{path.relative_to(root)}: the opening comment does not say {word}"


def sql_opens_with_a_comment(root: Path) -> Iterator[str]:
    for path in files(root, ".sql"):
        if not path.read_text(encoding="utf-8").startswith(("-- ", "/* ")):
            yield f"{path.relative_to(root)}: does not open with a comment"


def files_are_small(root: Path) -> Iterator[str]:
    for path in files(root):
        if path.stat().st_size > FILE_BYTES:
            yield f"{path.relative_to(root)}: {path.stat().st_size} bytes, more than {FILE_BYTES}"


def nothing_is_left_for_later(root: Path) -> Iterator[str]:
    for path in files(root):
        if path.suffix in TEXTS and path.name != Path(__file__).name:
            for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                if re.search(r"\b(TODO|FIXME)\b", line):
                    yield f"{path.relative_to(root)}:{number}: {line.strip()}"


def scripts_stop_at_the_first_fault(root: Path) -> Iterator[str]:
    for path in files(root):
        if path.parent not in (root / "scripts", root / ".ci"):
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".sh" or re.match(r"#!.*\b(ba|da)?sh\b", text):
            if not os.access(path, os.X_OK):
                yield f"{path.relative_to(root)}: not executable"
            if not re.search(r"^set -(eu|euo pipefail)$", text, re.MULTILINE):
                yield f"{path.relative_to(root)}: no set -eu"


def requirements_pin_what_pyproject_asks_for(root: Path) -> Iterator[str]:
    if not (root / "pyproject.toml").exists():
        return
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    lines = (
        line.split("#")[0].strip() for line in (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    )
    asked = {requirement.name: requirement for requirement in map(Requirement, texts)}
    pinned = {requirement.name: requirement for requirement in map(Requirement, filter(None, lines))}
    yield from (f"{name}: in one of pyproject.toml and requirements.txt only" for name in asked.keys() ^ pinned.keys())
    for name in asked.keys() & pinned.keys():
        pins = list(pinned[name].specifier)
        if len(pins) != 1 or pins[0].operator != "==" or "*" in pins[0].version:
            yield f"{pinned[name]}: not pinned with =="
        elif not asked[name].specifier.contains(pins[0].version, prereleases=True):
            yield f"{pinned[name]}: pyproject.toml asks for {asked[name]}"
        if asked[name].extras != pinned[name].extras:
            yield f"{pinned[name]}: pyproject.toml has the extras {sorted(asked[name].extras)}"


def imports_run_one_way(root: Path) -> Iterator[str]:
    """The contracts of pyproject.toml, with the rooms left out that are not built yet."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    if not (text := built(settings, root)):
        return
    with NamedTemporaryFile("w", suffix=".ini", encoding="utf-8") as config:
        config.write(text)
        config.flush()
        command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--config", config.name]
        run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    if run.returncode:
        yield run.stdout + run.stderr


def built(settings: dict[str, Any], root: Path) -> str:
    """The settings of import-linter as an INI text, for the modules that exist under `root`."""
    ours = tuple(settings["root_packages"])

    def kept(module: str) -> bool:
        *parents, name = module.strip().split(".")
        place = root.joinpath(*parents)
        packages = all((root.joinpath(*parents[:n]) / "__init__.py").exists() for n in range(1, len(parents) + 1))
        found = (place / f"{name}.py").exists() or (place / name / "__init__.py").exists()
        return not module.strip().startswith(ours) or (packages and found)

    def lines(entries: list[str]) -> list[str]:
        """Lists of modules, and layers ("a | b"), without what is missing."""
        present = (" | ".join(name.strip() for name in entry.split("|") if kept(name)) for entry in entries)
        return [entry for entry in present if entry]

    text, contracts = "", 0
    for number, body in enumerate([{k: v for k, v in settings.items() if k != "contracts"}, *settings["contracts"]]):
        values = {key: lines(value) if isinstance(value, list) else str(value) for key, value in body.items()}
        if all(values.values()):
            text += f"[importlinter:contract:{number}]\n" if number else "[importlinter]\n"
            for key, value in values.items():
                text += f"{key} = {value if isinstance(value, str) else ''.join(f'{chr(10)}    {v}' for v in value)}\n"
            contracts += bool(number)
    return text if contracts else ""


LONG = "def long() -> None:\n    '''Doc.'''\n" + "    pass\n" * (FUNCTION_LINES + 1)
SCRIPT, BASH = "#!/bin/sh\nset -eu\n", "#!/usr/bin/env bash\n"
ENVIRON = "import os\nos.environ\n"
SOURCE, PROM = "telemetry/streamer/sources/a.py", "from prometheus_client import "
LUA = "-- KEYS 1\n-- ARGV 1\n-- Returns 1\n"
PROJECT = '[project]\ndependencies = ["redis>=8"]\n[project.optional-dependencies]\ntest = ["fakeredis[lua]>=2"]\n'
PINS = "redis==8.1\nfakeredis[lua]==2.40\n"
HEAD = '"""What is here."""\n'

# rule, a tree that breaks it, the same tree mended
CASES: list[tuple[Rule, dict[str, str], dict[str, str]]] = [
    (modules_say_what_they_are_for, {"telemetry/a.py": "x = 1\n"}, {"telemetry/a.py": HEAD}),
    (files_are_short, {"webapi/a.py": "\n" * 301}, {"webapi/a.py": "\n" * 300, "tests/a.py": "\n" * 301}),
    (functions_are_short, {"data/a.py": LONG}, {"data/a.py": LONG.replace("    pass\n", "", 1)}),
    (imports_stand_at_the_top, {"a.py": "def f():\n    import os\n"}, {"a.py": "import os\ndef f():\n    pass\n"}),
    (only_config_reads_the_environment, {"a.py": ENVIRON}, {"telemetry/config.py": ENVIRON}),
    (only_config_reads_the_environment, {"a.py": "from os import getenv\n"}, {"a.py": "from os import path\n"}),
    (each_driver_has_its_room, {"webapi/a.py": "import psycopg.rows\n"}, {"telemetry/store/a.py": "import psycopg\n"}),
    (each_driver_has_its_room, {"a.py": "from redis import Redis\n"}, {"telemetry/broker/a.py": "import redis\n"}),
    (each_driver_has_its_room, {"a.py": "import pandas as pd\n"}, {"telemetry/streamer/a.py": "import pandas\n"}),
    (each_driver_has_its_room, {"telemetry/a.py": "from flask import g\n"}, {"webapi/a.py": "from flask import g\n"}),
    (each_driver_has_its_room, {SOURCE: PROM + "Counter\n"}, {SOURCE: PROM + "parser\n"}),
    (each_driver_has_its_room, {"a.py": PROM + "parser\n"}, {SOURCE: "from prometheus_client.parser import x\n"}),
    (lua_opens_with_its_contract, {"a.lua": LUA.replace("-- R", "return\n-- R")}, {"a.lua": LUA}),
    (sql_opens_with_a_comment, {"a.sql": "\nSELECT 1; -- one\n"}, {"a.sql": "-- One.\nSELECT 1;\n"}),
    (files_are_small, {"a.csv": "x" * (FILE_BYTES + 1)}, {"a.csv": "x" * FILE_BYTES}),
    (nothing_is_left_for_later, {"a.md": "All good.\nTODO: more\n"}, {"a.md": "All good.\nAUTODOC\n"}),
    (nothing_is_left_for_later, {"Dockerfile": "# FIXME\n"}, {"Dockerfile": "# fixed\n"}),
    (scripts_stop_at_the_first_fault, {"scripts/a": "#!/bin/sh\necho\n"}, {"scripts/a": SCRIPT, "scripts/b.md": "x\n"}),
    (scripts_stop_at_the_first_fault, {".ci/run": BASH}, {".ci/run": BASH + "set -euo pipefail\n"}),
    (requirements_pin_what_pyproject_asks_for, {"requirements.txt": PINS.replace("8.1", "7.9")}, {}),
    (requirements_pin_what_pyproject_asks_for, {"requirements.txt": PINS.replace("redis==", "redis>=", 1)}, {}),
    (requirements_pin_what_pyproject_asks_for, {"requirements.txt": PINS.replace("[lua]", "")}, {}),
    (requirements_pin_what_pyproject_asks_for, {"requirements.txt": PINS + "flask==3.1\n"}, {}),
    (requirements_pin_what_pyproject_asks_for, {"requirements.txt": PINS.split("\n")[0]}, {}),
    (
        imports_run_one_way,
        {"telemetry/store.py": "", "telemetry/broker/__init__.py": "from telemetry import store\n"},
        {"telemetry/store.py": "", "telemetry/broker/__init__.py": ""},
    ),
]  # fmt: skip
RULES = list(dict.fromkeys(rule for rule, _, _ in CASES))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_in_this_house(rule: Rule) -> None:
    assert not list(rule(ROOT))


@pytest.mark.parametrize(("rule", "broken", "mended"), CASES)
def test_a_rule_sees_the_fault_and_only_the_fault(
    rule: Rule, broken: dict[str, str], mended: dict[str, str], tmp_path: Path
) -> None:
    build(tmp_path, broken)
    assert list(rule(tmp_path))
    shutil.rmtree(tmp_path)
    build(tmp_path, mended)
    assert not list(rule(tmp_path))


def build(root: Path, tree: dict[str, str]) -> None:
    root.mkdir(exist_ok=True)
    base = {"telemetry/__init__.py": HEAD, "pyproject.toml": PROJECT, "requirements.txt": PINS}
    for name, text in (base | tree).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)


def test_a_script_must_be_executable(tmp_path: Path) -> None:
    build(tmp_path, {"scripts/a": SCRIPT})
    (tmp_path / "scripts/a").chmod(0o644)
    assert list(scripts_stop_at_the_first_fault(tmp_path)) == ["scripts/a: not executable"]


def test_the_real_tree_is_looked_at() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in files(ROOT)}
    assert {"telemetry/catalog.py", "scripts/test", "pyproject.toml", "requirements.txt"} <= names
