"""Layers over a platform's policies: for some tenants or all, declared to narrow or to widen.

    # policy/layers.toml
    environment = "production"   # where all of the folder belongs; left out: anywhere
    [eu]                      # policy/layers/eu/authorize, …/obligations
    may = "narrow"            # forbids and obligations only
    tenants = ["acme"]        # left out: every tenant

The platform's folder says what a layer may do, so that no tenant can widen its own rights by writing policies.
A `forbid` holds whoever permits, so no layer takes away what the platform forbids.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from answerable.policy._cedar import CedarPolicy
from answerable.policy._errors import PolicyInvalid
from answerable.policy._loading import SETS, files_of, read_into, text_of

__all__ = ["DECLARED", "Layer", "environment_of_policies", "read_layers", "with_layers"]

DECLARED = "layers.toml"
_FOLDER = "layers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer, read.

    Args:
        tenants: whom it is for; None for everybody.
    """

    name: str
    may: Literal["narrow", "widen"]
    where: Path
    policies: Mapping[str, CedarPolicy]
    tenants: tuple[str, ...] | None = None

    def covers(self, tenant: str) -> bool:
        """Whether it is for this tenant."""
        return self.tenants is None or tenant in self.tenants


def read_layers(directory: Path) -> tuple[Layer, ...]:
    """The layers that `layers.toml` in a folder of policies declares; none where there is no such file.

    Raises:
        PolicyInvalid: a layer is declared and not there, there and not declared, or permits though it may only narrow.
    """
    declared = _declared(directory / DECLARED)[1]
    folder = directory / _FOLDER
    found = {each.name for each in folder.iterdir() if not each.name.startswith(".")} if folder.is_dir() else set()
    if stray := found - declared.keys():
        # SECURITY: a layer that nobody reads would forbid nothing, and nobody would notice.
        raise PolicyInvalid(where=str(folder / min(stray)), problem=f"`{DECLARED}` declares no such layer")
    return tuple(_read(folder / name, name, said) for name, said in declared.items())


def environment_of_policies(directory: Path) -> str:
    """Where a folder of policies belongs, as its `layers.toml` says; empty for anywhere.

    Raises:
        PolicyInvalid: the file cannot be read.
    """
    return _declared(directory / DECLARED)[0]


def with_layers(base: Mapping[str, CedarPolicy], layers: Iterable[Layer]) -> dict[str, CedarPolicy]:
    """The policies of a tenant: the platform's and those of its layers.

    Raises:
        PolicyInvalid: two of them have the same `@id`, which receipts could not tell apart.
    """
    merged = dict(base)
    for layer in layers:
        for name, policy in layer.policies.items():
            if name in merged:
                raise PolicyInvalid(where=str(layer.where), problem=f"`@id` `{name}` stands in another layer already")
            merged[name] = policy
    return merged


def _declared(file: Path) -> tuple[str, dict[str, dict[str, Any]]]:
    """Where the folder belongs, and its layers by name."""
    if not file.exists():
        return "", {}
    try:
        said = tomllib.loads(text_of(file))
    except tomllib.TOMLDecodeError as error:
        raise PolicyInvalid(where=str(file), problem=f"it is not TOML: {error}") from None
    environment = said.pop("environment", "")
    if isinstance(environment, dict):  # a layer may have that name
        environment, said["environment"] = "", environment
    if not isinstance(environment, str):
        raise PolicyInvalid(where=str(file), problem="`environment` is not a name")
    for name, layer in said.items():
        if not isinstance(layer, dict) or layer.keys() - {"may", "tenants"}:
            raise PolicyInvalid(where=str(file), problem=f"`{name}` is no table of `may` and `tenants`")
        if layer.get("may") not in ("narrow", "widen"):
            raise PolicyInvalid(where=str(file), problem=f'`{name}` says neither `may = "narrow"` nor `may = "widen"`')
        tenants = layer.get("tenants", ["-"])
        if not isinstance(tenants, list) or not tenants or not all(isinstance(each, str) and each for each in tenants):
            raise PolicyInvalid(where=str(file), problem=f"`{name}`: `tenants` is not a list of names")
    return environment, said


def _read(where: Path, name: str, said: Mapping[str, Any]) -> Layer:
    if not where.is_dir():
        raise PolicyInvalid(where=str(where), problem="the layer is declared, and not there")
    if (where / "schema.cedarschema").exists():
        raise PolicyInvalid(where=str(where), problem="a layer has no schema of its own: it uses the platform's")
    read: dict[str, CedarPolicy] = {}
    for kind in SETS:
        for file in files_of(where, kind):
            before = set(read)
            read_into(read, text_of(file), where=str(file), obliges=kind == "obligations")
            widening = [each for each in read.keys() - before if read[each].is_permit and not read[each].obligations]
            if said["may"] == "narrow" and widening:
                problem = f"`{min(widening)}` is a `permit`, and layer `{name}` may only narrow"
                raise PolicyInvalid(where=str(file), problem=problem)
    if not read:
        raise PolicyInvalid(where=str(where), problem="the layer holds no policy")
    tenants = tuple(said["tenants"]) if "tenants" in said else None
    return Layer(name=name, may=said["may"], where=where, policies=read, tenants=tenants)
