"""Who acts: agents, their keys, and what must be declared before one may act in production."""

from answerable.identity._agent_keys import AgentKey, AgentKeys, AgentKeysProjection, AgentKeyUnknown, list_keys
from answerable.identity._declaration import AgentDeclaration, AgentUndeclared, check_may_start
from answerable.identity._person_keys import (
    PersonKey,
    PersonKeys,
    PersonKeysProjection,
    PersonKeyUnknown,
    RoleInvalid,
    list_person_keys,
)

__all__ = [
    "AgentDeclaration",
    "AgentKey",
    "AgentKeyUnknown",
    "AgentKeys",
    "AgentKeysProjection",
    "AgentUndeclared",
    "PersonKey",
    "PersonKeyUnknown",
    "PersonKeys",
    "PersonKeysProjection",
    "RoleInvalid",
    "check_may_start",
    "list_keys",
    "list_person_keys",
]
