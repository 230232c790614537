"""A Temporal server as the engine of a fleet."""

from dataclasses import dataclass
from importlib.util import find_spec

from answerable.core import Clock
from answerable.ledger import Leases
from answerable.runtime._errors import TemporalMissing
from answerable.runtime._ports import Engine
from answerable.runtime._temporal_place import TemporalPlace

__all__ = ["Temporal"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Temporal(TemporalPlace):
    """An engine: a Temporal server decides which worker advances which run, and when.

    Temporal is told the ids of runs and how long they wait; what they do stays in the store. Needs the extra
    `temporal`.

    Args:
        address: `host:port` of the server's front end.
        namespace: the server's name for what belongs together.
        queue: what workers of one store take their work from. Two stores must not share one.
        tls: speak TLS to it; implied by the files below.
        api_key: for servers that ask for one.
        ca_file: certificates to trust instead of the usual ones.
        certificate_file: this worker's own, for servers that ask for one.
        key_file: its private key.
        heartbeat: after which silence a worker counts as dead, and its runs go to others.
    """

    def __call__(self, leases: Leases, clock: Clock) -> Engine:
        """The engine over this store's leases.

        Raises:
            TemporalMissing: the extra is not installed.
        """
        if find_spec("temporalio") is None:
            raise TemporalMissing
        # Here, because it is an extra, and a second of start-up for those who chose another engine.
        from answerable.runtime._drivers._temporal import TemporalEngine

        return TemporalEngine(leases, clock, self)
