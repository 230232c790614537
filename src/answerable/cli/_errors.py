"""What can be wrong with what was asked on the command line."""

from dataclasses import dataclass

from answerable.core import ConfigError, EvidenceError, ExecutionError

__all__ = ["AppNotFound", "FileUnusable", "InputNotJson", "NotOnRecord", "WorkerStuck"]


@dataclass(eq=False, kw_only=True)
class FileUnusable(ConfigError):
    """A file that was named cannot be used."""

    code = "config.file_unusable"
    what = "`{file}` cannot be used: {reason}"
    fix = "name a file that is there and is what the command takes, or one that can be written"

    file: str
    reason: str


@dataclass(eq=False, kw_only=True)
class InputNotJson(ConfigError):
    """A value on the command line is not JSON."""

    code = "config.input_not_json"
    what = "`{option}` is not JSON: {problem}"
    why = "values are passed on as JSON, so text needs its quotes: '\"like this\"'"
    fix = "write JSON, `@FILE` for a file of JSON, or `-` for standard input"

    option: str
    problem: str


@dataclass(eq=False, kw_only=True)
class AppNotFound(ConfigError):
    """No application was found where one was named."""

    code = "config.app_not_found"
    what = "no application at `{place}`: {problem}"
    why = "an application is named `module:attribute`, looked for from the current directory on"
    fix = "name the module that holds `app = Answerable(…)`, for example `agent:app`"

    place: str
    problem: str


@dataclass(eq=False, kw_only=True)
class NotOnRecord(EvidenceError):
    """Nothing of this name is on the record."""

    code = "evidence.not_on_record"
    what = "no {thing} `{name}` is on the record in `{data}`"
    fix = "`answerable runs list` and `answerable approvals list` say what is; `--data DIR` names another record"

    thing: str
    name: str
    data: str


@dataclass(eq=False, kw_only=True)
class WorkerStuck(ExecutionError):
    """The demo's worker does not get on."""

    code = "execution.worker_stuck"
    what = "the demo's worker {problem}"
    why = "its last words: {words}"
    fix = "read `{log}`; the same command starts the demo anew"

    problem: str
    words: str
    log: str
