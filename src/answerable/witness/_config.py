"""`log.toml` in the data directory: who watches this gate's logs."""

import importlib.util
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from answerable.core import ConfigError
from answerable.witness._notes import VerifierKeyMalformed, parse_vkey
from answerable.witness._quorum import Quorum, WitnessAt, parse_quorum
from answerable.witness._timestamps import TimestampsNotInstalled

__all__ = ["LogConfig", "LogConfigInvalid", "read_log_config"]

NAME = "log.toml"


@dataclass(eq=False, kw_only=True)
class LogConfigInvalid(ConfigError):
    """`log.toml` cannot be used."""

    code = "config.log_config_invalid"
    what = "`{file}` cannot be used: {problem}"
    why = "a watcher that is misspelt would silently not watch"
    fix = "`docs/guides/watch-the-log.md` lists what it may say"

    file: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """Who is asked to sign for the logs, and how often.

    Args:
        quorum: the witnesses; None where there are none.
        monitors: who follows the logs, and where their signed checkpoints lie.
        timestamps: URLs of time-stamping authorities.
    """

    quorum: Quorum | None = None
    monitors: tuple[WitnessAt, ...] = ()
    timestamps: tuple[str, ...] = ()
    publish_every_s: float = 1.0
    timestamp_every_s: float = 60.0

    @property
    def is_watched(self) -> bool:
        """Whether anybody outside is asked for anything."""
        return bool(self.quorum or self.monitors or self.timestamps)


def read_log_config(directory: Path) -> LogConfig:
    """What `log.toml` in a data directory says; nobody watches where there is none.

    Raises:
        LogConfigInvalid, QuorumMalformed: it cannot be read, or says what is not known.
        TimestampsNotInstalled: it asks for what is not installed.
    """
    path = directory / NAME
    if not path.exists():
        return LogConfig()
    try:
        said = tomllib.loads(path.read_text("utf-8"))
        config = _parsed(path, said)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValueError, VerifierKeyMalformed) as error:
        raise LogConfigInvalid(file=str(path), problem=str(error)) from None
    if config.timestamps and importlib.util.find_spec("rfc3161_client") is None:
        raise TimestampsNotInstalled(file=str(path))
    return config


def _parsed(path: Path, said: dict[str, Any]) -> LogConfig:
    known = {"witnesses", "monitors", "timestamps", "publish_every_s", "timestamp_every_s"}
    if unknown := said.keys() - known:
        raise ValueError(f"it says `{sorted(unknown)[0]}`, which is not known")
    monitors = []
    for line in _texts(said, "monitors"):
        vkey, _, url = line.partition(" ")
        monitors.append(WitnessAt(key=parse_vkey(vkey, role="witness"), url=_url(url)))
    return LogConfig(
        quorum=parse_quorum(path.parent / str(said["witnesses"])) if "witnesses" in said else None,
        monitors=tuple(monitors),
        timestamps=tuple(_url(url) for url in _texts(said, "timestamps")),
        publish_every_s=_seconds(said, "publish_every_s", 1.0),
        timestamp_every_s=_seconds(said, "timestamp_every_s", 60.0),
    )


def _texts(said: dict[str, Any], name: str) -> list[str]:
    found = said.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError(f"`{name}` is not a list of texts")
    return found


def _url(text: str) -> str:
    if not text.strip().startswith(("https://", "http://")):
        raise ValueError(f"`{text}` is no http address")
    return text.strip().rstrip("/")


def _seconds(said: dict[str, Any], name: str, usual: float) -> float:
    found = said.get(name, usual)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0.05 <= found <= 86_400:
        raise ValueError(f"`{name}` is not between 0.05 and 86400 seconds")
    return float(found)
