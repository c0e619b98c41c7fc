"""Who is asked, and how: TLS, tokens, redirects, and connections that end before their time."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamser.emotion.remote.link import RemoteAwayError, RemoteLink
from streamser.emotion.remote.wire import ModelCard, from_bytes
from streamser.errors import ConfigError
from tests.certificates import self_signed
from tests.emotion.remote.deployment import Deployment, deployed

WITHIN_S = 5.0
TOKEN = "what-nobody-may-see"


@pytest.fixture
def there() -> Iterator[Deployment]:
    """Deploy a model that says the same of everything."""
    with deployed() as deployment:
        yield deployment


def name_of(link: RemoteLink) -> str:
    """Ask which model is there."""
    return from_bytes(link.wait_for(None, WITHIN_S), ModelCard).model


def refusal(link: RemoteLink) -> str:
    """Say why there is no answer."""
    with pytest.raises(RemoteAwayError) as away:
        link.wait_for(None, WITHIN_S)
    return str(away.value)


@contextmanager
def secured(folder: Path) -> Iterator[tuple[Deployment, str]]:
    """Deploy with TLS, and give its certificate, which only its owner has signed."""
    certificate, key = self_signed(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with deployed(tls=context) as there:
        yield there, certificate


def test_a_certificate_of_ones_own_is_trusted_where_it_is_named(tmp_path: Path) -> None:
    """Without that, nothing is asked, and the line says which setting it takes."""
    with secured(tmp_path) as (there, certificate):
        assert name_of(RemoteLink(there.url, ca=certificate)) == "big"
        said = refusal(RemoteLink(there.url))
    assert "its certificate is not trusted" in said
    assert said.endswith("goes in emotion.remote_ca")


def test_a_connection_with_tls_that_was_closed_as_it_rested_is_no_loss(tmp_path: Path) -> None:
    """Another is made, for the same question."""
    with secured(tmp_path) as (there, certificate):
        link = RemoteLink(there.url, ca=certificate)
        assert name_of(link) == "big"
        there.stop()
        there.start()
        assert name_of(link) == "big"


def test_https_where_none_is_spoken_is_told(there: Deployment) -> None:
    """As such, and not by a number of OpenSSL."""
    assert refusal(RemoteLink(there.url.replace("http:", "https:"))).startswith("no TLS is spoken")


def test_a_token_is_shown_with_each_question(there: Deployment, tmp_path: Path) -> None:
    """One that wants one refuses others, and the line says where it goes."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    there.token = TOKEN
    assert name_of(RemoteLink(there.url, token_file=str(tmp_path / "token"))) == "big"
    assert refusal(RemoteLink(there.url)) == (
        "it answers 401: who are you; the token it wants goes in emotion.remote_token_file"
    )


@pytest.mark.parametrize("text", ["", "two words", "a\nb", "é", "x" * 5000, None])
def test_what_is_no_token_is_refused(text: str | None, tmp_path: Path) -> None:
    """In a line that names the file, and never what is in it."""
    file = tmp_path / "token"
    if text is not None:
        file.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=r"emotion\.remote_token_file .*write the token") as said:
        RemoteLink("http://gpu/", token_file=str(file))
    assert "words" not in str(said.value)


@pytest.mark.parametrize("text", ["", "no certificate", None])
def test_what_is_no_certificate_is_refused(text: str | None, tmp_path: Path) -> None:
    """In a line that names the file; so is one that would never be looked at."""
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=r"emotion\.remote_ca .*give a PEM file"):
        RemoteLink("https://gpu/", ca=str(file))
    with pytest.raises(ConfigError, match=r"emotion\.remote_ca is for https://"):
        RemoteLink("http://gpu/", ca=str(file))


def test_no_secret_of_an_address_is_told(there: Deployment) -> None:
    """Neither its query, where keys stand, nor a password that does not belong there."""
    assert RemoteLink(f"{there.url}?key={TOKEN}").url == there.url
    for url in (f"http://me:{TOKEN}@gpu/", f"http://g pu/?key={TOKEN}"):
        with pytest.raises(ConfigError) as refused:
            RemoteLink(url)
        assert TOKEN not in str(refused.value)


def test_nobody_is_followed_elsewhere(there: Deployment) -> None:
    """Sound goes to the address that is set; the line says which other one was named."""
    with deployed() as other:
        there.does = lambda body: (307, b"")
        there.headers = {"Location": f"{other.url}v2?key={TOKEN}"}
        said = refusal(RemoteLink(there.url))
        assert other.asked == 0
    assert said == f"it answers 307: it is at {other.url}v2, write that for emotion.remote"


def test_what_a_stranger_says_moves_no_cursor(there: Deployment) -> None:
    """It is told as text: what stands in a line may not write others."""
    there.does = lambda body: (500, b"\x1b[2Jgone\r\nINFO all is well")
    assert refusal(RemoteLink(there.url)) == r"it answers 500: \x1b[2Jgone INFO all is well"
    there.does = lambda body: (502, b"<html><body>a page of a proxy</body></html>")
    assert refusal(RemoteLink(there.url)) == "it answers 502: Bad Gateway"


def test_one_that_drips_can_be_given_up_also_where_it_means_to_hang_up(there: Deployment) -> None:
    """Otherwise nothing could be asked until the last byte of it has come."""
    link = RemoteLink(there.url)
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"

    def drip(body: bytes | None) -> tuple[int, bytes]:
        there.connections[-1].sendall(head)
        while not there.over.wait(0.02):
            there.connections[-1].send(b"y")
        return 200, b""

    there.does = drip
    with pytest.raises(RemoteAwayError, match=r"no answer within 0\.2 s"):
        link.wait_for(None, 0.2)
    there.does = there.well
    assert link._asked is not None
    with pytest.raises(RemoteAwayError):
        link._asked.result(WITHIN_S)
    assert name_of(link) == "big"


def test_an_answer_that_came_too_late_is_none_for_those_who_look_later(there: Deployment) -> None:
    """Nobody waited for it; it says all the same that the other end is slow."""

    def late(body: bytes | None) -> tuple[int, bytes]:
        there.over.wait(0.3)
        return there.well(body)

    there.does = late
    answer = RemoteLink(there.url).begin(None, 0.1)
    with pytest.raises(RemoteAwayError, match="no answer in time"):
        answer.result(WITHIN_S)
