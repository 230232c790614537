"""Layers: for some tenants or all, and never wider than the platform lets them be."""

from pathlib import Path

import pytest

from answerable.policy import PolicyInvalid, PolicySet, Request, check_policies, run_policy_tests
from answerable.policy._tests.conftest import write_policies

PLATFORM = """
@id("up-to-100") permit (principal == Agent::"desk", action == Action::"shop.refund", resource)
when { context has amount_minor && context.amount_minor <= 10000 };
@id("never-at-night") forbid (principal, action == Action::"shop.refund", resource) when { context.hour < 6 };
"""
STRICTER = """
@id("acme-up-to-50") forbid (principal, action == Action::"shop.refund", resource)
when { context has amount_minor && context.amount_minor > 5000 };
"""
WIDER = """
@id("globex-up-to-200") permit (principal == Agent::"desk", action == Action::"shop.refund", resource)
when { context has amount_minor && context.amount_minor <= 20000 };
"""


def platform(directory: Path, declared: str, **layers: str) -> Path:
    write_policies(directory, PLATFORM)
    (directory / "layers.toml").write_text(declared)
    for name, text in layers.items():
        (directory / "layers" / name).mkdir(parents=True)
        (directory / "layers" / name / "authorize.cedar").write_text(text)
    return directory


def both(directory: Path) -> Path:
    declared = '[acme]\nmay = "narrow"\ntenants = ["acme"]\n[globex]\nmay = "widen"\ntenants = ["globex"]\n'
    return platform(directory, declared, acme=STRICTER, globex=WIDER)


def decide(policies: PolicySet, cents: int, hour: int = 12) -> str:
    context = {"amount_minor": cents, "hour": hour}
    return policies.evaluate(
        Request(agent="desk", action="shop.refund", target="order:1", context=context).to_json()
    ).verdict


@pytest.mark.requirement("RT-7", "GV-1")
def test_a_layer_narrows_or_widens_for_its_own_tenant_and_for_nobody_else(tmp_path: Path) -> None:
    sets = PolicySet.load_all(both(tmp_path))

    permitted = {
        tenant: [cents for cents in (5000, 10000, 20000) if decide(each, cents) == "permit"]
        for tenant, each in sets.items()
    }

    assert permitted == {"default": [5000, 10000], "acme": [5000], "globex": [5000, 10000, 20000]}


@pytest.mark.requirement("RT-7")
def test_what_the_platform_forbids_no_layer_permits(tmp_path: Path) -> None:
    globex = PolicySet.load(both(tmp_path), tenant="globex")

    assert (decide(globex, 20000), decide(globex, 20000, hour=3)) == ("permit", "deny")


def test_a_layer_without_tenants_is_for_everybody(tmp_path: Path) -> None:
    directory = platform(tmp_path, '[eu]\nmay = "narrow"\n', eu=STRICTER)

    assert decide(PolicySet.load(directory, tenant="whoever"), 10000) == "deny"
    assert decide(PolicySet.load(directory), 10000) == "deny"


@pytest.mark.requirement("RT-7", "GV-1")
@pytest.mark.parametrize(
    ("declared", "layers", "says"),
    [
        ('[acme]\nmay = "narrow"\n', {"acme": WIDER}, "may only narrow"),
        ('[acme]\nmay = "widen"\n', {"acme": PLATFORM}, "stands in another layer already"),
        ('[acme]\nmay = "please"\n', {"acme": WIDER}, "neither"),
        ("[acme]\n", {"acme": WIDER}, "neither"),
        ('[acme]\nmay = "widen"\ntenants = []\n', {"acme": WIDER}, "not a list of names"),
        ('[acme]\nmay = "widen"\nwho = "acme"\n', {"acme": WIDER}, "no table of"),
        ('[acme]\nmay = "widen"\n', {}, "not there"),
        ("", {"acme": STRICTER}, "declares no such layer"),
        ('environment = 3\n[acme]\nmay = "widen"\n', {"acme": WIDER}, "`environment` is not a name"),
        ('[acme]\nmay = "widen"\n', {"acme": "// nothing yet"}, "holds no policy"),
        ("[acme", {"acme": WIDER}, "not TOML"),
        (
            '[acme]\nmay = "narrow"\n',
            {"acme": '@id("x") forbid (principal, action, resource) when { context.ammount > 1 };'},
            "ammount",
        ),
    ],
)
def test_a_layer_beyond_its_bounds_keeps_all_policies_from_loading(
    tmp_path: Path, declared: str, layers: dict[str, str], says: str
) -> None:
    directory = platform(tmp_path, declared, **layers)

    with pytest.raises(PolicyInvalid, match=says):
        PolicySet.load(directory, tenant="somebody else")


def test_a_layer_has_no_schema_of_its_own(tmp_path: Path) -> None:
    directory = both(tmp_path)
    (directory / "layers" / "acme" / "schema.cedarschema").write_text("type Attributes = {};")

    with pytest.raises(PolicyInvalid, match="schema of its own"):
        PolicySet.load(directory)


def test_a_snapshot_says_which_layer_a_policy_is_from(tmp_path: Path) -> None:
    acme = PolicySet.load(both(tmp_path), tenant="acme")

    again = PolicySet.from_snapshot(acme.snapshot())

    assert (again.digest, dict(again.layers)) == (acme.digest, {"acme-up-to-50": "acme"})
    assert acme.digest != PolicySet.load(tmp_path).digest


def test_the_tables_of_a_tenant_stand_in_its_layers(tmp_path: Path) -> None:
    directory = both(tmp_path)
    (directory / "layers" / "acme" / "tests.toml").write_text(
        '[[test]]\nname = "60 euro are too much"\nagent = "desk"\naction = "shop.refund"\n'
        'context = { amount_minor = 6000 }\nexpect = "deny"\nrules = ["acme-up-to-50"]\n'
    )

    assert run_policy_tests(directory, tenant="acme").is_passed
    assert check_policies(directory).tenants == ("acme", "globex")
    with pytest.raises(PolicyInvalid, match="no layer names the tenant"):
        run_policy_tests(directory, tenant="umbrella")
