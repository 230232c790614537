"""Queues as an application declares them: the same from a file, on the record, and rebuilt from it."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from answerable import Answerable, Run
from answerable.app import ConfigFileInvalid, configured
from answerable.app._config import parse_config
from answerable.runtime import Queue, QueueInvalid

FILE = """
[agents.far]

[[queues]]
scope = "tenant"
concurrency = 40

[[queues]]
scope = "agent:far"
rate = 100
per = "5m"
waiting = 7
priority = 2
"""


def an_app(directory: Path) -> Answerable:
    (directory / "policy").mkdir(exist_ok=True)
    (directory / "policy" / "authorize.cedar").write_text('@id("all") permit (principal, action, resource);')
    app = Answerable(data=directory / "data", policy=directory / "policy")

    @app.agent
    async def clerk(run: Run, given: int) -> int:
        return given

    return app


def test_a_file_declares_queues_as_python_does(tmp_path: Path) -> None:
    file = tmp_path / "answerable.toml"

    app = configured(parse_config(FILE, file=file), file=file, environment={})

    assert app.queues == [
        Queue(scope="tenant", concurrency=40),
        Queue(scope="agent:far", rate=100, per=timedelta(minutes=5), waiting=7, priority=2),
    ]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('scope = "agent:fra"\nrate = 1', "did you mean `far`"),
        ('scope = "tenant"', "limits nothing"),
        ('scope = "tenant"\nconcurrency = 0', "above 0"),
        ('scope = "all"\nrate = 1', "must match"),
    ],
)
def test_a_queue_in_a_file_that_means_nothing_is_told_with_its_line(tmp_path: Path, said: str, told: str) -> None:
    with pytest.raises(ConfigFileInvalid, match=told):
        parse_config(f"[agents.far]\n[[queues]]\n{said}\n", file=tmp_path / "answerable.toml")


@pytest.mark.parametrize("scopes", [["agent:nobody"], ["tenant", "tenant"]])
def test_a_gate_does_not_start_with_queues_of_nobody_or_two_of_one_scope(tmp_path: Path, scopes: list[str]) -> None:
    app = an_app(tmp_path)
    for scope in scopes:
        app.queue(scope, concurrency=1)

    async def main() -> None:
        async with app.gate():
            pass

    with pytest.raises(QueueInvalid):
        asyncio.run(main())
    assert not (tmp_path / "data").exists()
