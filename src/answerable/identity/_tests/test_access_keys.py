"""Keys of agents and people: bound to their holder, kept as a digest, gone when revoked or the person is erased."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config

import answerable.ledger
from answerable.identity import (
    AccessKeys,
    AccessKeysProjection,
    AccessKeyUnknown,
    EnvironmentUnnameable,
    RoleInvalid,
    stated_environment,
)
from answerable.ledger import Ledger, rebuild
from answerable.ledger._drivers._sqlite import SqliteStore

Both = tuple[AccessKeys, AccessKeys]


def through(directory: Path, story: Any) -> Any:
    async def run() -> Any:
        ledger = Ledger.open(directory, projections=(AccessKeysProjection(),))
        await ledger.start()
        try:
            agents = AccessKeys("agent", book=ledger, store=ledger.reader, changes=lambda: ledger.key_changes)
            return await story((agents, AccessKeys("person", book=ledger, store=ledger.reader)), ledger)
        finally:
            await ledger.close()

    return asyncio.run(run())


@pytest.mark.requirement("GV-2")
def test_a_key_opens_as_its_person_in_its_roles_until_it_is_revoked(tmp_path: Path) -> None:
    async def story(keys: Both, ledger: Ledger) -> Any:
        people = keys[1]
        key, secret = await people.new("lee", ["lead", "clerk", "lead"])
        before = people.find(secret)
        await people.revoke(key.id)
        return before, people.find(secret), people.list()

    before, after, left = through(tmp_path, story)

    assert before is not None
    assert (before.holder, before.roles) == ("person:lee", ("clerk", "lead"))
    assert (after, left) == (None, [])


def test_a_key_says_which_environment_it_is_for_and_cannot_be_made_to_say_another(tmp_path: Path) -> None:
    async def story(keys: Both, ledger: Ledger) -> Any:
        agents = keys[0]
        _, secret = await agents.new("clerk", environment="staging")
        _, plain = await agents.new("clerk")
        with pytest.raises(EnvironmentUnnameable):
            await agents.new("clerk", environment="pre.prod")
        return secret, plain, agents.find(secret), agents.find(secret.replace("staging", "production"))

    secret, plain, found, forged = through(tmp_path, story)

    assert [stated_environment(each) for each in (secret, plain, "anp_staging.x", "ans_.x")] == ["staging", "", "", ""]
    assert (found is not None, forged) == (True, None)


def test_a_key_of_one_kind_of_holder_opens_nothing_as_the_other(tmp_path: Path) -> None:
    async def story(keys: Both, ledger: Ledger) -> Any:
        agents, people = keys
        _, of_agent = await agents.new("clerk")
        _, of_person = await people.new("lee", ["lead"])
        return agents.find(of_person), people.find(of_agent), agents.find(of_agent), agents.list()

    crossed, crossed_too, found, listed = through(tmp_path, story)

    assert (crossed, crossed_too) == (None, None)
    assert found == listed[0]
    assert (found.kind, found.holder, found.roles) == ("agent", "clerk", ())


def test_all_keys_of_a_holder_go_at_once_and_no_others(tmp_path: Path) -> None:
    async def story(keys: Both, ledger: Ledger) -> Any:
        agents, _ = keys
        for name in ("clerk", "clerk", "porter"):
            await agents.new(name)
        gone = await agents.revoke("clerk")
        return len(gone), [key.holder for key in agents.list()]

    assert through(tmp_path, story) == (2, ["porter"])


def test_the_secret_is_kept_nowhere_and_receipts_do_not_name_the_person(tmp_path: Path) -> None:
    async def story(keys: Both, ledger: Ledger) -> tuple[str, str]:
        _, secret = await keys[1].new("lee-the-approver", ["lead"])
        return secret, repr([receipt.predicate for receipt in ledger.reader.all()])

    secret, receipts = through(tmp_path, story)

    assert "pkey_" in receipts
    assert "lee-the-approver" not in receipts
    assert not any(secret.encode() in path.read_bytes() for path in tmp_path.glob("*.sqlite3*"))


@pytest.mark.parametrize("roles", [[], [""], ["Lead"], ["team lead"]])
def test_a_role_that_no_policy_can_ask_for_is_refused(tmp_path: Path, roles: list[str]) -> None:
    async def story(keys: Both, ledger: Ledger) -> list[Any]:
        with pytest.raises(RoleInvalid):
            await keys[1].new("lee", roles)
        return keys[1].list()

    assert through(tmp_path, story) == []


def test_a_key_that_is_not_in_use_cannot_be_revoked(tmp_path: Path) -> None:
    async def story(keys: Both, ledger: Ledger) -> None:
        for each in keys:
            with pytest.raises(AccessKeyUnknown):
                await each.revoke("pkey_none")
            assert each.find("anp_guessed") is None
            assert each.find("") is None

    through(tmp_path, story)


def test_a_key_that_was_found_before_opens_nothing_once_somebody_else_revoked_it(tmp_path: Path) -> None:
    async def story(keys: Both, ledger: Ledger) -> None:
        agents = keys[0]
        desk = AccessKeys("agent", book=ledger, store=ledger.reader)
        key, secret = await agents.new("clerk")
        _, other = await agents.new("clerk")
        first = agents.find(secret)
        assert first is not None
        assert agents.find(secret) is first

        revoking = asyncio.ensure_future(desk.revoke(key.id))
        while not revoking.done():  # looked up all the time, before it is on disk and after
            agents.find(secret)
            await asyncio.sleep(0)

        assert agents.find(secret) is None
        assert agents.find(other) is not None

    through(tmp_path, story)


def test_a_revocation_that_nobody_waits_for_any_more_counts_all_the_same(tmp_path: Path) -> None:
    async def story(keys: Both, ledger: Ledger) -> None:
        agents = keys[0]
        key, secret = await agents.new("clerk")
        revoking = asyncio.ensure_future(agents.revoke(key.id))
        await asyncio.sleep(0)
        revoking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await revoking
        agents.find(secret)
        await ledger.writer.submit(lambda tx: None)  # what was submitted before is on disk

        assert agents.find(secret) is None

    through(tmp_path, story)


def make_older(store: Path) -> None:
    """Turn a store into what it would be by the version before keys came into one table."""
    config = Config()
    migrations = Path(answerable.ledger.__file__).with_name("_migrations")
    config.set_main_option("script_location", str(migrations))
    before = (migrations / "versions" / "0010_keys.py").read_text().partition('down_revision = "')[2][:4]
    newer = store.rename(store.with_suffix(".newer"))
    config.attributes["engine"] = SqliteStore(store).engine()
    command.upgrade(config, before)
    with contextlib.closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("ATTACH ? AS newer", (str(newer),))
        there = {name for (name,) in connection.execute("SELECT name FROM newer.sqlite_master WHERE type = 'table'")}
        here = {name for (name,) in connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")}
        for table in (here & there) - {"alembic_version", "sqlite_sequence"}:
            columns = ", ".join(f'"{row[1]}"' for row in connection.execute(f"PRAGMA main.table_info({table})"))
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM newer.{table}")
        for kind, columns in (
            ("agent", "id, tenant, agent, digest, since"),
            ("person", "id, tenant, roles, digest, since, receipt"),
        ):
            connection.execute(
                f"INSERT INTO {kind}_keys ({columns}) SELECT {columns} FROM newer.access_keys WHERE kind = '{kind}'"
            )


def test_keys_of_an_older_store_open_as_they_did_and_are_what_the_receipts_say(tmp_path: Path) -> None:
    async def issue(keys: Both, ledger: Ledger) -> tuple[str, str]:
        return (await keys[0].new("clerk"))[1], (await keys[1].new("lee", ["lead"]))[1]

    secrets = through(tmp_path, issue)
    make_older(tmp_path / "answerable.sqlite3")

    async def look(keys: Both, ledger: Ledger) -> Any:
        return keys[0].find(secrets[0]), keys[1].find(secrets[1])

    agent, person = through(tmp_path, look)

    assert (agent.holder, person.holder, person.roles) == ("clerk", "person:lee", ("lead",))
    assert all(table.is_equal for table in rebuild(tmp_path, (AccessKeysProjection(),)))
