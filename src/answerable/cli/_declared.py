"""What an application and the record declare, as far as permits can be wider than it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from answerable.cli._application import find_application
from answerable.cli._desk import people_of
from answerable.cli._options import CONFIG
from answerable.ledger import NoStore, Reader
from answerable.policy import Declared
from answerable.tools import AmountOf, ToolDeclaration

__all__ = ["declared_by"]


def declared_by(place: str, config: Path | None, data: Path) -> Declared | None:
    """What is declared in Python at `place`, in a configuration file, and of people on the record.

    Secrets are not asked for: nothing is connected to.

    Args:
        config: the file; `answerable.toml` if that is here and none is named.

    Returns:
        None where there is neither.

    Raises:
        AppNotFound, ConfigFileInvalid: what is named cannot be used.
    """
    file = config or (CONFIG if not place and CONFIG.exists() else None)
    if not place and file is None:
        return None
    app = find_application(place, file, environment=_Withheld()).app
    return Declared(
        agents={spec.agent_id: frozenset(spec.groups) for spec, _ in app.agents.values()},
        moves=dict(_moves(app.tools.declared())),
        budgets=app.budgets,
        roles=_roles(data),
    )


class _Withheld(Mapping[str, str]):
    """An environment in which every secret is set, to something of the shape of one."""

    def __getitem__(self, name: str) -> str:
        return "withheld" * 6

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _moves(tools: Mapping[str, ToolDeclaration]) -> Iterator[tuple[str, str]]:
    for name, declared in tools.items():
        if declared.amount is not None:
            yield name, declared.amount.currency if isinstance(declared.amount, AmountOf) else ""


def _roles(data: Path) -> frozenset[str] | None:
    """Roles that somebody on the record is registered for; None where nobody is registered."""
    try:
        people = people_of(Reader.open(data)).list()
    except NoStore:
        return None
    return frozenset(role for each in people for role in each.roles) or None
