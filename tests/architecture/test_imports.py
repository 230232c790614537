"""What import-linter cannot say: private modules stay private, drivers serve their owner."""

import functools

import grimp


@functools.cache
def _graph() -> grimp.ImportGraph:
    return grimp.build_graph("answerable", cache_dir=None)


def _imports() -> list[tuple[str, str]]:
    """Every import between two of our modules; a test may import what it tests."""
    graph = _graph()
    return [
        (importer, imported)
        for importer in sorted(graph.modules)
        if "_tests" not in importer.split(".")
        for imported in sorted(graph.find_modules_directly_imported_by(importer))
    ]


def test_no_package_imports_a_siblings_underscore_module() -> None:
    trespassing = []
    for importer, imported in _imports():
        parts = imported.split(".")
        private = next((i for i, part in enumerate(parts) if part.startswith("_")), None)
        if private is not None and importer.split(".")[:private] != parts[:private]:
            trespassing.append(f"{importer} imports {imported}")

    assert trespassing == []


def test_a_driver_is_imported_only_by_the_package_that_owns_it() -> None:
    trespassing = []
    for importer, imported in _imports():
        owner, found, _ = imported.partition("._drivers")
        if found and not importer.startswith(owner):
            trespassing.append(f"{importer} imports {imported}")

    assert trespassing == []


def test_tests_stay_out_of_what_is_shipped() -> None:
    shipped = [(importer, imported) for importer, imported in _imports() if "_tests" in imported.split(".")]

    assert shipped == []
