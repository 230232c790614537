"""Which cosignatures are enough, as C2SP tlog-policy has it."""

from itertools import product
from pathlib import Path

import pytest

from answerable.witness import Quorum, QuorumMalformed, parse_quorum, vkey_of
from answerable.witness._tests.people import a_signer

KEYS = [str(vkey_of(a_signer(number), f"w{number}.example", role="witness")) for number in range(1, 7)]
LOG = str(vkey_of(a_signer(9), "log.example", role="log"))
X = "".join(f"witness X{number} {KEYS[number - 1]}\n" for number in (1, 2, 3))
Y = "".join(f"witness Y{number} {KEYS[number + 2]} https://y{number}.example/\n" for number in (1, 2, 3))


def read(tmp_path: Path, text: str) -> Quorum:
    path = tmp_path / "witnesses.policy"
    path.write_text(text)
    return parse_quorum(path)


def test_the_standards_own_example_asks_for_two_of_one_group_and_one_of_the_other(tmp_path: Path) -> None:
    quorum = read(
        tmp_path,
        f"# an example\nlog {LOG}\n\n{X}group X-witnesses 2 X1 X2 X3\n{Y}\tgroup Y-witnesses any Y1 Y2 Y3  \n"
        "group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n",
    )

    names = ["X1", "X2", "X3", "Y1", "Y2", "Y3"]
    for chosen in product([False, True], repeat=6):
        cosigned = {name for name, is_there in zip(names, chosen, strict=True) if is_there}
        assert quorum.is_met(cosigned) == (sum(chosen[:3]) >= 2 and sum(chosen[3:]) >= 1)
    assert quorum.witnesses["Y1"].url == "https://y1.example"
    assert [str(key) for key in quorum.logs] == [LOG]


def test_no_witness_may_be_asked_for(tmp_path: Path) -> None:
    assert read(tmp_path, "quorum none\n").is_met(())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 0),
        (X, 0),
        ("quorum none\nquorum none\n", 2),
        ("quorum A\n", 1),
        (f"{X}group G 4 X1 X2 X3\nquorum G\n", 4),
        (f"{X}group G 0 X1\nquorum G\n", 4),
        (f"{X}group G any X1 X1\nquorum G\n", 4),
        (f"{X}group G any X9\nquorum G\n", 4),
        (f"{X}group G any X1\ngroup H any X1\nquorum H\n", 5),
        (f"{X}group X1 any X2\nquorum X1\n", 4),
        (f"{X}witness X4 {KEYS[0]}\nquorum X4\n", 4),
        (f"witness none {KEYS[0]}\nquorum none\n", 1),
        (f"witness A {LOG}\nquorum A\n", 1),
        (f"log {KEYS[0]}\nquorum none\n", 1),
        (f"log {LOG}\nlog {LOG}\nquorum none\n", 2),
        ("speak\nquorum none\n", 1),
        ("quorum\x0bnone\n", 0),
    ],
)
def test_a_policy_that_is_not_certain_is_refused_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(QuorumMalformed) as caught:
        read(tmp_path, text)

    assert caught.value.line == line
