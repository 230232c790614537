"""Write what follows from the code and its tests: `make regenerate`, then read the difference.

`conformance/requirements.toml` (lists of tests), `docs/reference/errors.md`, `docs/reference/cli.md`,
`docs/reference/configuration.md` and `answerable.schema.json` beside it,
`tests/architecture/public_face.txt`, `conformance/vectors/*.json`, `src/answerable/ledger/_migrations/new_sqlite.sql`.
"""

from conformance.vectors import generate
from tests.architecture import errors, face, schema
from tests.conformance import manifest
from tests.docs import cli_page, config_page


def main() -> None:
    manifest.write_manifest(manifest.regenerated(manifest.read_manifest(), manifest.marked_tests()))
    errors.PAGE.write_text(errors.page())
    cli_page.PAGE.write_text(cli_page.page())
    config_page.PAGE.write_text(config_page.page())
    config_page.SCHEMA.write_text(config_page.schema())
    face.PIN.write_text(face.names())
    schema.PAGE.write_text(schema.page())
    generate.write()


if __name__ == "__main__":
    main()
