from __future__ import annotations

from huggingface_hub import ModelCard

from streamser.emotion.fused.checkpoint import finished_card


def test_a_card_gets_what_the_hub_reads() -> None:
    """Library, task, tags and the licence, above the text."""
    card = ModelCard(finished_card("# Mine\n\nTrained on: nothing.", "cc-by-sa-4.0"))
    assert card.data.library_name == "streamser"
    assert card.data.license == "cc-by-sa-4.0"
    assert "emotion-recognition" in card.data.tags
    assert card.text.strip() == "# Mine\n\nTrained on: nothing."


def test_without_a_licence_none_is_claimed() -> None:
    """Nobody grants rights by leaving a field out."""
    assert "license" not in finished_card("# Mine")


def test_a_card_with_its_own_head_stays_as_it_is() -> None:
    """Also when it is finished twice."""
    own = "---\nlicense: mit\n---\n\n# Mine\n"
    assert finished_card(own, "cc-by-4.0") == own
    assert finished_card(finished_card("# Mine")) == finished_card("# Mine")


def test_an_empty_card_says_that_it_is_empty() -> None:
    """Better than a page without a title."""
    assert "nobody described it" in finished_card("")
