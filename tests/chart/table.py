"""The table of values in the chart's README, made of values.yaml and values.schema.json; run as a module it writes it.

What does not live here: the comparison with what stands there (`test_readme`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

__all__ = ["README", "current_table", "values_table"]

CHART = Path(__file__).parents[2] / "helm-chart"
README = CHART / "README.md"
BLOCK = re.compile(r"(?<=<!-- values -->\n)(.*?)(?=<!-- /values -->)", re.DOTALL)
Row = tuple[str, str, str]
"""Path, default, description."""


def values_table() -> str:
    """The table, as it should stand between the markers."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    rows = _folded(list(_rows(values, schema, schema, ())))
    lines = [
        "| value | default | |",
        "|---|---|---|",
        *(f"| `{path}` | {default} | {told} |" for path, default, told in rows),
    ]
    return "\n".join(lines) + "\n"


def current_table() -> str:
    """The table that stands in the README."""
    found = BLOCK.search(README.read_text(encoding="utf-8"))
    assert found is not None, f"{README} has no <!-- values --> and <!-- /values -->"
    return found[1]


def _rows(value: object, schema: dict[str, Any], root: dict[str, Any], path: tuple[str, ...]) -> Iterator[Row]:
    schema = _resolved(schema, root)
    properties: dict[str, Any] = schema.get("properties", {})
    if isinstance(value, dict) and properties and value:
        for name, part in value.items():
            yield from _rows(part, properties.get(name, {}), root, (*path, name))
        for name in sorted(properties.keys() - value.keys()):
            yield from _rows(None, properties[name], root, (*path, name))
        return
    told = " ".join(schema.get("description", "").split()).replace("|", "\\|")
    choices = schema.get("enum", [])
    if choices and not any(str(choice) in told for choice in choices):
        told += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
    yield ".".join(path), _shown(value), told.strip()


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """A schema with what it refers to; what is said beside the reference wins."""
    while reference := schema.get("$ref"):
        found: dict[str, Any] = root
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        schema = {**found, **{name: part for name, part in schema.items() if name != "$ref"}}
    return schema


def _shown(value: object) -> str:
    return "" if value in (None, "", [], {}) else f"`{json.dumps(value)}`".replace("|", "\\|")


def _folded(rows: list[Row]) -> list[Row]:
    """Rows that say the same of several components, as one: {streamer,collector}.affinity."""
    same: dict[Row, list[str]] = {}
    for path, default, told in rows:
        component, _, rest = path.partition(".")
        same.setdefault((rest or path, default, told), []).append(component if rest else "")
    return [(_path(components, rest), default, told) for (rest, default, told), components in same.items()]


def _path(components: list[str], rest: str) -> str:
    if components == [""]:
        return rest
    return f"{components[0] if len(components) == 1 else '{' + ','.join(components) + '}'}.{rest}"


if __name__ == "__main__":
    README.write_text(BLOCK.sub(lambda _: values_table(), README.read_text(encoding="utf-8")), encoding="utf-8")
