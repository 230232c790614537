"""From the text of `answerable.toml` to a `Config`, or to every mistake in it, each with its line."""

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from answerable.app._config._errors import ConfigFileInvalid
from answerable.app._config._file import Config, NotifyTable, ServerTable, ToolTable
from answerable.app._config._lines import Lines

__all__ = ["config_schema", "parse_config", "read_config"]

_MOST_TOLD = 5
_IS = {
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a table",
    "mapping_type": "must be a table",
    "model_type": "must be a table",
    "missing": "is missing",
    "path_type": "must be a path in quotes",
}
_SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization", "x-api-key")
_Problem = tuple[tuple[str | int, ...], str]


def read_config(file: Path) -> Config:
    """The configuration in a file, its paths made absolute.

    Raises:
        ConfigFileInvalid: it is not there, no TOML, or says something that does not fit.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigFileInvalid(file=str(file), problems=f"it cannot be read ({type(error).__name__})") from None
    return parse_config(text, file=file)


def parse_config(text: str, *, file: Path) -> Config:
    """The configuration in a text; `file` says where it stands, and what its paths are relative to.

    Raises:
        ConfigFileInvalid: it is no TOML, or says something that does not fit.
    """
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigFileInvalid(file=str(file), problems=f"it is not TOML: {error}") from None
    try:
        config = Config.model_validate(said)
    except ValidationError as error:
        raise _invalid(file, text, [_problem_of(each, said) for each in error.errors()]) from None
    if problems := list(_misfits(config)):
        raise _invalid(file, text, problems)
    folder = file.absolute().parent
    return config.model_copy(
        update={
            "data": folder / config.data,
            "policy": folder / config.policy,
            "specs": None if config.specs is None else folder / config.specs,
            "labels": None if config.labels is None else folder / config.labels,
        }
    )


def config_schema() -> dict[str, Any]:
    """The JSON schema of the file, for editors."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "answerable.toml"}


def _invalid(file: Path, text: str, problems: Sequence[_Problem]) -> ConfigFileInvalid:
    lines = Lines(text)
    told = sorted({(lines.of(path), f"`{_key(path)}` {problem}") for path, problem in problems})
    said = [f"line {line}: {each}" if line else each for line, each in told[:_MOST_TOLD]]
    if len(told) > _MOST_TOLD:
        said.append(f"and {len(told) - _MOST_TOLD} more")
    return ConfigFileInvalid(file=str(file), problems="; ".join(said))


def _problem_of(error: Any, said: Any) -> _Problem:
    path = _within(error["loc"], said, is_missing=error["type"] == "missing")
    if error["type"] == "extra_forbidden":
        return path, f"is no key of this table{_meant(str(path[-1]), _keys_at(path[:-1]))}"
    if error["type"] == "value_error":
        return path, str(error["ctx"]["error"])
    if error["type"] == "literal_error":
        return path, f"must be {error['ctx']['expected']}"
    if error["type"] == "string_pattern_mismatch":
        return path, f"must match `{error['ctx']['pattern']}`"
    message = error["msg"]
    return path, _IS.get(error["type"], f"is not allowed: {message[:1].lower()}{message[1:]}")


def _within(loc: Sequence[str | int], said: Any, *, is_missing: bool) -> tuple[str | int, ...]:
    """The part of a location that is in the file; a validator adds the names of its own branches."""
    for n, part in enumerate(loc):
        is_there = part in said if isinstance(said, Mapping) else isinstance(said, list) and isinstance(part, int)
        if not is_there:
            return tuple(loc) if is_missing else tuple(loc[:n])
        said = said[part]
    return tuple(loc)


def _keys_at(path: Sequence[str | int]) -> Iterable[str]:
    """The keys that a table may have, by the schema."""
    schema = root = Config.model_json_schema()
    for part in path:
        inner = schema.get("properties", {}).get(part) or schema.get("items") or schema.get("additionalProperties")
        if not inner and "patternProperties" in schema:
            (inner,) = schema["patternProperties"].values()
        inner = inner if isinstance(inner, dict) else {}
        for branch in (inner, *inner.get("anyOf", ())):
            if "$ref" in branch:
                inner = root["$defs"][branch["$ref"].rpartition("/")[2]]
        schema = inner
    return tuple(schema.get("properties", ()))


def _misfits(config: Config) -> Iterator[_Problem]:
    """What fits the schema and still names nothing, or says two things at once."""
    if config.engine.kind == "store" and config.engine.model_fields_set - {"kind"}:
        yield ("engine", "kind"), "is `store`, and the other keys are for `temporal`"
    if (config.engine.certificate_file is None) != (config.engine.key_file is None):
        yield ("engine",), "needs `certificate_file` and `key_file`, or neither"
    for name, server in config.servers.items():
        for problem in _of_server(server):
            yield ("servers", name), problem
    named = [("servers", name, each.credential) for name, each in config.servers.items()]
    named += [("providers", name, each.credential) for name, each in config.providers.items()]
    for kind, name, wanted in named:
        for credential in wanted:
            if credential not in config.credentials:
                close = _meant(credential, config.credentials)
                yield (kind, name, "credential"), f"names `{credential}`, which is none of the credentials{close}"
    for name, table in config.providers.items():
        if table.credential and table.key_from:
            yield ("providers", name), "has both `key_from` and a `credential`"
    for name, tool in config.tools.items():
        owner = name.partition(".")[0]
        if owner not in config.servers or owner == name:
            yield ("tools", name), f"belongs to no server that is named here{_meant(owner, config.servers)}"
        for key, problem in _of_tool(tool, config):
            yield ("tools", name, key), problem
    for model, served in config.models.items():
        if not served:
            yield ("models", model), "names nobody who serves it"
        dialects = set()
        for each in served:
            provider = each.partition(":")[0]
            if ":" not in each or provider not in config.providers:
                yield (
                    ("models", model),
                    f"names `{each}`, which is no `provider:model`{_meant(provider, config.providers)}",
                )
            else:
                dialects.add(config.providers[provider].dialect)
        if len(dialects) > 1:
            yield ("models", model), "falls back to a provider of another dialect"
    for n, budget in enumerate(config.budgets):
        kind, _, agent = budget.scope.partition(":")
        if kind == "agent" and agent not in config.agents and config.app is None:
            yield ("budgets", n, "scope"), f"names no agent{_meant(agent, config.agents)}"
        if all(each is None for each in (budget.tokens, budget.cost_usd, budget.amount, budget.calls)):
            yield ("budgets", n), "limits nothing"
    for n, retention in enumerate(config.retention):
        if retention.agent and retention.agent not in config.agents and config.app is None:
            yield ("retention", n, "agent"), f"names no agent{_meant(retention.agent, config.agents)}"
        tenants = ["default", *config.tenants]
        if retention.tenant and retention.tenant not in tenants and config.app is None:
            yield ("retention", n, "tenant"), f"names no tenant{_meant(retention.tenant, tenants)}"
    for n, notify in enumerate(config.notify):
        for problem in _of_notify(notify):
            yield ("notify", n), problem
    for n, queue in enumerate(config.queues):
        kind, _, agent = queue.scope.partition(":")
        if kind == "agent" and agent not in config.agents and config.app is None:
            yield ("queues", n, "scope"), f"names no agent{_meant(agent, config.agents)}"
        if queue.concurrency is queue.rate is queue.waiting is queue.priority is None:
            yield ("queues", n), "limits nothing"
    for name, agent_table in config.agents.items():
        for tool_name in agent_table.own_tools:
            if tool_name in config.tools:
                yield ("agents", name, "own_tools"), f"names `{tool_name}`, and the gate serves that"


def _of_notify(said: NotifyTable) -> Iterator[str]:
    if bool(said.webhook) == bool(said.mail):
        yield "needs either a `webhook` or a `mail` server"
    elif said.webhook:
        if not said.webhook.startswith(("http://", "https://")):
            yield "has a `webhook` that does not begin with http:// or https://"
        if said.secret_from is None:
            yield "needs `secret_from`: without a signature nobody knows that a notice is the gate's"
        if said.to or said.sender or said.user or said.password_from:
            yield "has a `webhook`, and `to`, `sender`, `user` and `password_from` are for `mail`"
    elif not said.sender or not any(said.to.values()):
        yield "needs `sender`, and `to` with the addresses of a role"
    elif said.secret_from:
        yield "has a `mail` server, and `secret_from` is for a `webhook`"


def _of_server(server: ServerTable) -> Iterator[str]:
    if bool(server.command) == bool(server.url):
        yield "needs either a `command` or a `url`"
    if server.url and not server.url.startswith(("http://", "https://")):
        yield "has a `url` that does not begin with http:// or https://"
    if "@" in server.url.partition("://")[2].partition("/")[0]:
        yield "has credentials in its `url`; name them in `headers_from` or `bearer_from`"
    if server.url and (server.environment or server.environment_from or server.directory):
        yield "has a `url`, and an environment or directory is for a `command`"
    if server.command and (server.headers or server.headers_from or server.bearer_from or server.credential):
        yield "has a `command`, and headers are for a `url`"
    for header in server.headers:
        if header.lower() in _SECRET_HEADERS:
            yield f"has the header `{header}` in clear; name it in `headers_from` or `bearer_from`"
    given = [each.lower() for each in (*server.headers, *server.headers_from)]
    if len(given) != len(set(given)) or (server.bearer_from and "authorization" in given):
        yield "gives a header twice"
    if server.environment.keys() & server.environment_from.keys():
        yield "gives an environment variable twice"


def _of_tool(tool: ToolTable, config: Config) -> Iterator[tuple[str, str]]:
    if tool.compensate is not None and tool.compensate.partition(".")[0] not in config.servers:
        yield "compensate", f"names `{tool.compensate}`, whose server is not named here"
    if tool.amount is not None:
        if bool(tool.amount.minor) == bool(tool.amount.major):
            yield "amount", "needs either `minor` or `major`, the argument that holds it"
        if bool(tool.amount.currency) == bool(tool.amount.currency_from):
            yield "amount", "needs either `currency` or `currency_from`"
    if tool.effect == "read" and (tool.idempotency or tool.compensate):
        yield "effect", "is `read`, and nothing of a read is repeated or undone"


def _meant(said: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(said, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def _key(path: Sequence[str | int]) -> str:
    """A path as TOML writes it."""
    said = ""
    for part in path:
        if isinstance(part, int):
            said += f"[{part}]"
        else:
            is_bare = part.replace("-", "").replace("_", "").isalnum() and part.isascii()
            said += ("." if said else "") + (part if is_bare else f'"{part}"')
    return said or "the file"
