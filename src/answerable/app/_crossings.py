"""Keys of one environment that are shown to a gate of another: refused, and on the record."""

from collections.abc import Mapping

from answerable.app._environment import record_refusal
from answerable.identity import EnvironmentCrossed
from answerable.ledger import Ledger

__all__ = ["Crossings"]

_MOST_STRANGERS = 100


class Crossings:
    """Where keys belong, and what is written down of those that belong elsewhere.

    Args:
        environment: of the gate; empty where it has none of its own.
        of_agents: the agents' environments, by name.
    """

    def __init__(self, ledger: Ledger, environment: str, of_agents: Mapping[str, str]) -> None:
        self._ledger = ledger
        self._environment = environment
        self._of_agents = of_agents
        self._strangers: set[str] = set()

    def of(self, agent: str) -> str:
        """The environment that an agent acts in here; the gate's own, where it is unknown."""
        return self._of_agents.get(agent, self._environment)

    async def record(self, stated: str, *, key: str, agent: str) -> None:
        """Write down that a key for another environment was refused.

        Args:
            key: its id; of one that is not in use here, its digest.
            agent: whose it is; empty where nobody knows.
        """
        if not agent:
            # SECURITY: anybody can send such a key, so it must not be a way to fill the disk.
            if key in self._strangers or len(self._strangers) >= _MOST_STRANGERS:
                return
            self._strangers.add(key)
        thing = f"key `{key}`" + (agent and f" of agent `{agent}`")
        crossed = EnvironmentCrossed(thing=thing, bound=stated, environment=self.of(agent))
        await record_refusal(self._ledger, crossed)
