"""Who acts: agents, their keys, and what must be declared before one may act in production."""

from answerable.identity._access_keys import (
    AccessKey,
    AccessKeys,
    AccessKeysProjection,
    AccessKeyUnknown,
    HolderKind,
    RoleInvalid,
    list_access_keys,
)
from answerable.identity._approvers import Approvers
from answerable.identity._credentials import (
    Caller,
    Credential,
    CredentialInvalid,
    CredentialOutOfScope,
    Credentials,
    Grant,
    Grants,
    TokenNotIssued,
)
from answerable.identity._declaration import AgentDeclaration, AgentUndeclared, check_may_start
from answerable.identity._environment import EnvironmentCrossed
from answerable.identity._people import People, PeopleProjection, Person, PersonUnknown, registered_roles
from answerable.identity._ports import Book, Store
from answerable.identity._signing import (
    SignatureInvalid,
    SignerKeyInvalid,
    SignerKeyUnknown,
    SigningKey,
    SigningKeys,
    SigningKeysProjection,
    read_public_key,
    sign_with_file,
    verify_signature,
)
from answerable.identity._vault import (
    CredentialMissing,
    CredentialVault,
    EnvironmentVault,
    KeptSecret,
    SealedVault,
    VaultDamaged,
)

__all__ = [
    "AccessKey",
    "AccessKeyUnknown",
    "AccessKeys",
    "AccessKeysProjection",
    "AgentDeclaration",
    "AgentUndeclared",
    "Approvers",
    "Book",
    "Caller",
    "Credential",
    "CredentialInvalid",
    "CredentialMissing",
    "CredentialOutOfScope",
    "CredentialVault",
    "Credentials",
    "EnvironmentCrossed",
    "EnvironmentVault",
    "Grant",
    "Grants",
    "HolderKind",
    "KeptSecret",
    "People",
    "PeopleProjection",
    "Person",
    "PersonUnknown",
    "RoleInvalid",
    "SealedVault",
    "SignatureInvalid",
    "SignerKeyInvalid",
    "SignerKeyUnknown",
    "SigningKey",
    "SigningKeys",
    "SigningKeysProjection",
    "Store",
    "TokenNotIssued",
    "VaultDamaged",
    "check_may_start",
    "list_access_keys",
    "read_public_key",
    "registered_roles",
    "sign_with_file",
    "verify_signature",
]
