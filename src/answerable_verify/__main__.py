"""The command `answerable-verify BUNDLE [--trust FILE] [--json] [--html FILE]`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from answerable_verify._page import page
from answerable_verify._trust import BadTrust
from answerable_verify._verify import verify

__all__ = ["main"]

_CODES = """exit codes: 0 verified against the trust file; 2 usage, or a file cannot be read;
3 self-consistent only (no --trust) or undetermined; 4 does not verify"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify a bundle and say what was found; the exit code is the verdict."""
    parser = argparse.ArgumentParser(
        prog="answerable-verify",
        description="Verify an Answerable evidence bundle, offline.",
        epilog=_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="an evidence ZIP, or a .tlog-proof")
    parser.add_argument("--trust", metavar="FILE", help="your own trust file: which keys are whose")
    parser.add_argument("--html", metavar="FILE", help="also write the report as a page")
    parser.add_argument("--json", action="store_true", help="the whole report as JSON")
    chosen = parser.parse_args(arguments)
    # A pipe would never end, and a socket never begin: nothing is opened that is no file.
    if Path(chosen.bundle).exists() and not Path(chosen.bundle).is_file():
        sys.stderr.write(f"answerable-verify: `{chosen.bundle}` cannot be read: it is no regular file\n")
        return 2
    try:
        report = verify(chosen.bundle, chosen.trust)
    except BadTrust as error:
        sys.stderr.write(f"answerable-verify: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"answerable-verify: `{chosen.bundle}` cannot be read: {error.strerror}\n")
        return 2
    if chosen.html:
        try:
            Path(chosen.html).write_text(page(report, of=Path(chosen.bundle).name), "utf-8")
        except OSError as error:
            sys.stderr.write(f"answerable-verify: `{chosen.html}` cannot be written: {error.strerror}\n")
            return 2
    text = json.dumps(report.to_json(), indent=2) if chosen.json else "\n".join(report.lines())
    sys.stdout.write(text + "\n")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
