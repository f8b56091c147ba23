"""Timestamps: published ones, and those of a real authority run by OpenSSL."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from souverain.vault.engine import stamp
from souverain.vault.tests.tsa import authority


@pytest.mark.parametrize("name", ["response-sha256", "response-sha384", "response-sha512"])
def test_published_tokens_are_read(vault_data: Path, name: str) -> None:
    answer = (vault_data / "tsa/sigstage" / f"{name}.tsr").read_bytes()
    assert stamp.read(answer, b"hello").at.year >= 2024
    with pytest.raises(stamp.StampError, match="something else"):
        stamp.read(answer, b"hello.")


@pytest.mark.parametrize("name", ["response-invalid-signature", "response-no-embedded-cert"])
def test_published_tokens_that_do_not_hold_are_refused(vault_data: Path, name: str) -> None:
    with pytest.raises(stamp.StampError):
        stamp.read((vault_data / "tsa/sigstage" / f"{name}.tsr").read_bytes(), b"hello")


def test_a_real_authority_and_every_flipped_byte(tmp_path: Path) -> None:
    import requests

    content = b"a checkpoint"
    with authority(tmp_path / "tsa") as tsa:
        query = stamp.request(content, 424242)
        (tmp_path / "query").write_bytes(query)
        shown = subprocess.run(
            ["openssl", "ts", "-query", "-in", tmp_path / "query", "-text"],
            capture_output=True,
            text=True,
        ).stdout
        assert "Hash Algorithm: sha256" in shown
        headers = {"content-type": "application/timestamp-query"}
        answer = requests.post(tsa.url, query, headers=headers, timeout=10).content
    found = stamp.read(answer, content)
    assert found.nonce == 424242
    start = answer.index(b"a checkpoint") if b"a checkpoint" in answer else 0
    wrong = []
    for at in range(start, len(answer)):
        forged = answer[:at] + bytes([answer[at] ^ 1]) + answer[at + 1 :]
        try:
            if stamp.read(forged, content) != found:
                wrong.append(at)
        except stamp.StampError:
            pass
    assert wrong == [], "a changed token that says something else"


@pytest.mark.parametrize("answer", [b"", b"0", b"\x30\x80", b"MTIzNA==", bytes(1000)])
def test_what_is_no_token_is_refused(answer: bytes) -> None:
    with pytest.raises(stamp.StampError):
        stamp.read(answer, b"")
