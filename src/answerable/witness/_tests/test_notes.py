"""Notes, keys and cosignatures: read strictly, written as the standards write them."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from answerable.witness import (
    NoteMalformed,
    VerifierKeyMalformed,
    cosign,
    cosigned_at,
    parse_head,
    parse_note,
    parse_vkey,
    vkey_of,
)
from answerable.witness._tests.people import a_signer
from answerable_verify import _checkpoint

# C2SP signed-note, "Verifier keys", "Example".
PUBLISHED_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
PUBLISHED_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()
TEXT = "log.example\n3\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"


def test_the_published_note_verifies_under_the_published_key() -> None:
    key, note = parse_vkey(PUBLISHED_KEY, role="log"), parse_note(PUBLISHED_NOTE)

    assert note.is_signed_by(key)
    assert str(key) == PUBLISHED_KEY
    assert str(note).encode() == PUBLISHED_NOTE


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\n- x AAAAAAAA\n",
        "text\n\n— x AAAAAAAA".encode(),
        "text\n\n— x AAAA\n".encode(),
        "text\n\n— x+y AAAAAAAA\n".encode(),
        "te\rxt\n\n— x AAAAAAAA\n".encode(),
        b"te\xffxt\n\n" + "— x AAAAAAAA\n".encode(),
        "text\n\n— x AAAAAAAB=\n".encode(),
        b"text\n\n" + "— x AAAAAAAA\n".encode() * 101,
    ],
)
def test_what_is_no_note_is_refused_here_and_by_the_verifier(raw: bytes) -> None:
    with pytest.raises(NoteMalformed):
        parse_note(raw)
    with pytest.raises(_checkpoint.BadCheckpoint):
        _checkpoint.read_checkpoint(raw.replace(b"text\n", TEXT.encode()))


@pytest.mark.parametrize(
    "text", ["a\n1\n", "a\n01\n" + "A" * 43 + "=\n", "a\n-1\n" + "A" * 43 + "=\n", "a\n1\nAAAA\n", "a\n1\n\nx\n"]
)
def test_a_note_that_states_no_head_is_no_checkpoint(text: str) -> None:
    with pytest.raises(NoteMalformed):
        parse_head(parse_note((text + "\n— x AAAAAAAA\n").encode()))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a+b",
        PUBLISHED_KEY.replace("530d903a", "530d903b"),
        PUBLISHED_KEY.replace("/foo", "/bar"),
        PUBLISHED_KEY + "A",
        " " + PUBLISHED_KEY,
    ],
)
def test_a_key_whose_hash_is_not_its_own_is_refused(text: str) -> None:
    with pytest.raises(VerifierKeyMalformed):
        parse_vkey(text, role="log")


def test_a_logs_key_is_no_witnesss_key() -> None:
    with pytest.raises(VerifierKeyMalformed):
        parse_vkey(PUBLISHED_KEY, role="witness")


def test_a_cosignature_covers_the_time_and_the_text_and_nothing_else_passes_for_it() -> None:
    signer, other = a_signer(1), a_signer(2)
    line = cosign(signer, "w.example", TEXT, 1_800_000_000)
    key = parse_vkey(str(vkey_of(signer, "w.example", role="witness")), role="witness")

    assert cosigned_at(key, TEXT, line) == 1_800_000_000
    assert cosigned_at(key, TEXT.replace("\n3\n", "\n4\n"), line) is None
    assert cosigned_at(key, TEXT, cosign(other, "w.example", TEXT, 1_800_000_000)) is None
    assert cosigned_at(key, TEXT, cosign(signer, "x.example", TEXT, 1_800_000_000)) is None
    later = type(line)(name=line.name, key_hash=line.key_hash, signature=bytes(7) + b"\1" + line.signature[8:])
    assert cosigned_at(key, TEXT, later) is None


def test_the_message_cosigned_is_that_of_the_standard() -> None:
    # C2SP tlog-cosignature, "Ed25519 signed message", checked with another library than the one that signs.
    signer = a_signer(1)
    line = cosign(signer, "w.example", TEXT, 1679315147)

    message = b"cosignature/v1\ntime 1679315147\n" + TEXT.encode()
    assert line.signature[:8] == (1679315147).to_bytes(8, "big")
    Ed25519PublicKey.from_public_bytes(signer.public_key).verify(line.signature[8:], message)
