"""What is looked at before anybody may connect: origins, certificates."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from streamser.errors import ConfigError
from streamser.server.app import EmotionServer
from streamser.server.exposure import read_origins, tls_context
from tests.certificates import self_signed
from tests.server.serving import server_settings


@pytest.mark.parametrize(
    "origin",
    [
        "voice.example",
        "https://voice.example/page",
        "https://",
        "//h",
        "http://[::1",
        "https://a b",
    ],
)
def test_an_origin_that_no_browser_would_send_is_refused_at_the_start(origin: str) -> None:
    """It would let nobody in, and nothing would say why."""
    with pytest.raises(ConfigError, match=r"server\.origins: .* write it like https://"):
        EmotionServer(
            server_settings({"server.origins": f"https://h, {origin}"}), lambda line: None
        )


def test_origins_are_read_as_browsers_write_them() -> None:
    """In small letters, and without the slash that address bars show."""
    text = " HTTPS://Voice.example/ ,null,*,capacitor://localhost,http://[::1]:8377"
    origins, hosts = read_origins(text)
    assert origins[:2] == ("https://voice.example", "null")
    assert origins[2:] == ("*", "capacitor://localhost", "http://[::1]:8377")
    assert hosts == ("voice.example", "", "", "localhost", "::1")
    assert read_origins("") == ((), ())


def test_a_key_with_a_password_is_told_and_nobody_is_asked(tmp_path: Path) -> None:
    """A service has no terminal to ask at."""
    cert, key = self_signed(tmp_path)
    locked = str(tmp_path / "locked.pem")
    make = ["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked]
    subprocess.run(make, check=True, capture_output=True)
    for pair in ((cert, locked), (key, cert)):
        with pytest.raises(ConfigError, match="its key, without a password, each a PEM file"):
            tls_context(*pair)
