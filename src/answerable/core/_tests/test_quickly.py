import copy
import dataclasses
import inspect
import pickle
from dataclasses import dataclass, field

import pytest

from answerable.core import quickly_made


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    name: str
    size: int = 3
    more: dict[str, int] = field(default_factory=dict)

    @property
    def double(self) -> int:
        return self.size * 2


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Quick:
    name: str
    size: int = 3
    more: dict[str, int] = field(default_factory=dict)

    @property
    def double(self) -> int:
        return self.size * 2


def test_an_object_made_quickly_is_of_its_own_class_and_has_its_fields() -> None:
    made = Quick(name="one", size=4)

    assert type(made) is Quick
    assert dataclasses.asdict(made) == dataclasses.asdict(Usual(name="one", size=4))
    assert repr(made) == repr(Usual(name="one", size=4)).replace("Usual", "Quick")
    assert made.double == 8
    assert not hasattr(made, "__dict__")


@pytest.mark.parametrize("name", ["name", "another"])
def test_it_is_as_frozen_as_any_other(name: str) -> None:
    made = Quick(name="one")

    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)) as usual:
        setattr(Usual(name="one"), name, "two")
    with pytest.raises(usual.type):
        setattr(made, name, "two")
    with pytest.raises(dataclasses.FrozenInstanceError):
        del made.name
    assert made.name == "one"


def test_what_a_factory_makes_is_made_for_each() -> None:
    assert Quick(name="one").more is not Quick(name="one").more
    assert Quick(name="one", more={"a": 1}).more == {"a": 1}


def test_it_is_equal_replaced_copied_and_pickled_as_before() -> None:
    made = Quick(name="one", more={"a": 1})

    assert made == Quick(name="one", more={"a": 1})
    assert made != Quick(name="two", more={"a": 1})
    assert dataclasses.replace(made, size=5) == Quick(name="one", size=5, more={"a": 1})
    assert copy.copy(made) == pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize("given", [{}, {"name": "one", "colour": "red"}])
def test_what_is_missing_or_unknown_is_refused_as_before(given: dict[str, str]) -> None:
    for cls in (Usual, Quick):
        with pytest.raises(TypeError):
            cls(**given)  # type: ignore[arg-type]


def test_its_signature_is_that_of_the_dataclass() -> None:
    quick, usual = inspect.signature(Quick), inspect.signature(Usual)

    assert list(quick.parameters) == list(usual.parameters)
    assert {each.kind for each in quick.parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
