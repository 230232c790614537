"""How soon an engine goes on: after a signal, and after its worker was killed. A module for each engine.

A module has three functions. `signal` sends each of some waiting runs a signal, and says how long it took
until the run's next step. `hold` has runs in the middle of a step and calls `told` once all are. `resume`
finds those runs in a new process, sees them through, and says how many it was.
"""

from benchmarks._liveness._work import Errand

__all__ = ["Errand"]
