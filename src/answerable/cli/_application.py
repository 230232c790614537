"""Which application a command is about: the one in `answerable.toml`, or one in Python."""

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from answerable.app import Answerable, Config, configured, read_config
from answerable.cli._errors import AppNotFound
from answerable.cli._options import CONFIG

__all__ = ["ConfigFile", "DataInstead", "Found", "find_application"]

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="The configuration file.", dir_okay=False, show_default="answerable.toml"
    ),
]
DataInstead = Annotated[
    Path | None,
    typer.Option("--data", envvar="ANSWERABLE_DATA", help="Instead of the application's own data directory."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An application.

    Args:
        place: where it was found, for people.
        config: what its file says; None where it is Python alone.
    """

    app: Answerable
    place: str
    config: Config | None = None


def find_application(
    place: str,
    config: Path | None = None,
    *,
    data: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Found:
    """The application at `module:attribute`; without one, that of the configuration file.

    Args:
        config: the file, where it is not `answerable.toml`; named together with a place, it adds to it.
        data: a data directory to use instead of the application's own.
        environment: where the secrets are that the file names.

    Raises:
        AppNotFound, ConfigFileInvalid, SecretMissing: there is none, or it cannot be used.
    """
    if place and config is None:
        found = Found(app=_load(place, Path.cwd()), place=place)
    else:
        file = config or CONFIG
        said = read_config(file)
        place = place or said.app or ""
        base = _load(place, file.absolute().parent) if place else None
        app = configured(said, file=file, environment=environment, app=base)
        found = Found(app=app, place=str(file), config=said)
    if data is not None:
        found.app.data = data
    return found


def _load(place: str, folder: Path) -> Answerable:
    """The application at `module:attribute`, with modules of the folder first."""
    module, _, attribute = place.partition(":")
    sys.path.insert(0, str(folder))
    try:
        found = getattr(importlib.import_module(module), attribute or "app")
    except ModuleNotFoundError as error:
        if error.name not in (module, module.partition(".")[0]):
            raise
        raise AppNotFound(place=place, problem=f"there is no module `{module}`") from None
    except AttributeError:
        raise AppNotFound(place=place, problem=f"`{module}` has no `{attribute or 'app'}`") from None
    if not isinstance(found, Answerable):
        raise AppNotFound(place=place, problem=f"it is a `{type(found).__name__}`")
    return found
