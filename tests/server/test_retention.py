"""What the page says of its server before anybody consents."""

from __future__ import annotations

from streamser.server.page import read_page, with_statement
from streamser.server.recorder import (
    given_to_plugin,
    kept_in_files,
    retention_html,
    shared_by_redis,
)
from streamser.settings import ServerSettings


def test_a_server_that_keeps_nothing_says_so() -> None:
    """And nothing of files."""
    page = with_statement(read_page(), retention_html(ServerSettings(), ()))
    text = page["/"].body.decode()
    assert page["/"] == page["/index.html"]
    assert "<strong>No sound is stored</strong>" in text
    assert "What is kept" not in text
    assert "the server says it" not in text


def test_a_server_that_keeps_words_says_what_where_and_how_long() -> None:
    """For files, and for extensions, of which it cannot know."""
    text = retention_html(ServerSettings(), [kept_in_files(["csv"], 30), given_to_plugin("diary")])
    assert "into files on its own disk (jsonl, csv)" in text
    assert "removes them 30 days after a session began" in text
    assert "extension “diary”" in text
    assert "until its operator removes them" in retention_html(
        ServerSettings(), [kept_in_files([], None)]
    )


def test_servers_that_share_meetings_say_that_they_do() -> None:
    """It is not in their memory alone, then."""
    text = retention_html(ServerSettings(), [shared_by_redis(3600)])
    assert "by way of a database (Redis)" in text
    assert "gone 3600 s after the meeting’s last event" in text


def test_the_operator_has_a_word_of_their_own() -> None:
    """As text: it makes no elements."""
    own = ServerSettings(purpose="Training <b>", responsible="Acme Ltd", contact="dpo@acme.example")
    text = retention_html(own, ())
    assert "What it is for:</strong> Training &lt;b&gt;" in text
    assert "Who is responsible:</strong> Acme Ltd" in text
    assert "Whom to ask:</strong> dpo@acme.example" in text
