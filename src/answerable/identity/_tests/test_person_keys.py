"""Keys of people: bound to a person and roles, kept as a digest, gone when revoked or when the person is erased."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from answerable.identity import PersonKeys, PersonKeysProjection, PersonKeyUnknown, RoleInvalid
from answerable.ledger import Ledger


def through(directory: Path, story: Any) -> Any:
    async def run() -> Any:
        ledger = Ledger.open(directory, projections=(PersonKeysProjection(),))
        await ledger.start()
        try:
            return await story(PersonKeys(book=ledger, store=ledger.reader), ledger)
        finally:
            await ledger.close()

    return asyncio.run(run())


@pytest.mark.requirement("GV-2")
def test_a_key_opens_as_its_person_in_its_roles_until_it_is_revoked(tmp_path: Path) -> None:
    async def story(keys: PersonKeys, ledger: Ledger) -> Any:
        key, secret = await keys.new("lee", ["lead", "clerk", "lead"])
        before = keys.find(secret)
        await keys.revoke(key.id)
        return before, keys.find(secret), keys.list()

    before, after, left = through(tmp_path, story)

    assert before is not None
    assert (before.person, before.roles) == ("person:lee", ("clerk", "lead"))
    assert (after, left) == (None, [])


def test_the_secret_is_kept_nowhere_and_receipts_do_not_name_the_person(tmp_path: Path) -> None:
    async def story(keys: PersonKeys, ledger: Ledger) -> tuple[str, str]:
        _, secret = await keys.new("lee-the-approver", ["lead"])
        return secret, repr([receipt.predicate for receipt in ledger.reader.all()])

    secret, receipts = through(tmp_path, story)

    assert "pkey_" in receipts
    assert "lee-the-approver" not in receipts
    assert not any(secret.encode() in path.read_bytes() for path in tmp_path.glob("*.sqlite3*"))


@pytest.mark.parametrize("roles", [[], [""], ["Lead"], ["team lead"]])
def test_a_role_that_no_policy_can_ask_for_is_refused(tmp_path: Path, roles: list[str]) -> None:
    async def story(keys: PersonKeys, ledger: Ledger) -> list[Any]:
        with pytest.raises(RoleInvalid):
            await keys.new("lee", roles)
        return keys.list()

    assert through(tmp_path, story) == []


def test_a_key_that_is_not_in_use_cannot_be_revoked(tmp_path: Path) -> None:
    async def story(keys: PersonKeys, ledger: Ledger) -> None:
        with pytest.raises(PersonKeyUnknown):
            await keys.revoke("pkey_none")
        assert keys.find("anp_guessed") is None
        assert keys.find("") is None

    through(tmp_path, story)
