"""`docs/reference/configuration.md` and the JSON schema beside it, from the configuration's own tables."""

import json
from typing import Any

from answerable.app import config_schema
from tests.architecture.files import ROOT

__all__ = ["PAGE", "SCHEMA", "page", "schema"]

PAGE = ROOT / "docs" / "reference" / "configuration.md"
SCHEMA = ROOT / "docs" / "reference" / "answerable.schema.json"
_HEAD = """\
# Configuration file

`answerable.toml` says what a gate serves. `answerable serve`, `run` and `tools` read it from the current directory, or
from `--config FILE`. [Serve from one file](../guides/serve-from-a-file.md) shows one at work. Editors check it against
[its JSON schema](answerable.schema.json).

- A key that is not listed here, a value of another type or a name that leads nowhere stops the start; the error names
  the line, and what may have been meant.
- Times are text: `"90s"`, `"15m"`, `"12h"`, `"3d"`. Dollars are text: `"5.00"`. Paths are relative to the file.
- Credentials are never in the file: the vault has them (`answerable credentials set`), or a key that ends in `_from`
  names the environment variable of the gate that has one.

<!-- Written by `make regenerate` from the tables. -->
"""
_TABLES = (
    ("times", "[times]"),
    ("engine", "[engine]"),
    ("agents", "[agents.NAME]"),
    ("limits", "[agents.NAME.limits]"),
    ("credentials", "[credentials.NAME]"),
    ("servers", "[servers.NAME]"),
    ("tools", '[tools."SERVER.TOOL"]'),
    ("amount", '[tools."SERVER.TOOL".amount]'),
    ("providers", "[providers.NAME]"),
    ("budgets", "[[budgets]]"),
    ("retention", "[[retention]]"),
    ("notify", "[[notify]]"),
    ("tenants", "[tenants.NAME]"),
    ("queues", "[[queues]]"),
)


def schema() -> str:
    """The JSON schema, as a file."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


def page() -> str:
    """The whole page; KeyError where a table of the configuration stands nowhere on it."""
    root = config_schema()
    tables = {name: table for name, table in root["$defs"].items() if name.endswith("Table")}
    defs = {name.removesuffix("Table").lower(): table for name, table in tables.items()}
    parts = [_HEAD, f"## At the top\n\n{_rows(root)}"]
    for key, title in _TABLES:
        table = defs.pop(key, None) or defs.pop(key.removesuffix("s"))
        said = table["description"]
        parts.append(f"## {title}\n\n{said}\n\n{_rows(table)}")
    if defs:
        raise KeyError(*defs)
    return "\n".join(parts)


def _rows(table: dict[str, Any]) -> str:
    required = table.get("required", ())
    lines = ["| Key | Value | Default | |", "|---|---|---|---|"]
    for key, said in table["properties"].items():
        default = "needed" if key in required else _default(said)
        lines.append(f"| `{key}` | {_kind(said)} | {default} | {said.get('description', '')} |")
    return "\n".join(lines) + "\n"


def _default(said: dict[str, Any]) -> str:
    value = said.get("default")
    if value in (None, "", [], {}) or isinstance(value, dict):
        return ""
    return f"`{json.dumps(value)}`"


def _kind(said: dict[str, Any]) -> str:
    if "$ref" in said:
        return "table"
    if "anyOf" in said:
        kinds = [_kind(each) for each in said["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in said:
        return " or ".join(f"`{each}`" for each in said["enum"])
    if "const" in said:
        return f"`{json.dumps(said['const'])}`"
    if said.get("type") == "string":
        pattern = said.get("pattern", "")
        return "time" if "smhd" in pattern else "dollars" if r"\d{1,9}" in pattern else "text"
    if said.get("type") == "array":
        inner = _kind(said["items"])
        return "tables" if inner == "table" else "list of text"
    return {"integer": "whole number", "boolean": "`true` or `false`", "object": "table"}[said["type"]]
