"""Who acts: agents, and what must be declared before one may act in production."""

from answerable.identity._declaration import AgentDeclaration, AgentUndeclared, check_may_start

__all__ = ["AgentDeclaration", "AgentUndeclared", "check_may_start"]
