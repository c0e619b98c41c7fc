import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models

from streamser.emotion.fused.compact_encoders import (
    CompactText,
    load_compact_text,
    train_word_pieces,
)
from streamser.emotion.fused.config import CompactTextConfig
from streamser.emotion.fused.interfaces import TextBatch, TextEncoder
from streamser.errors import ConfigError, ModelError

TINY = CompactTextConfig(width=16, layers=2, heads=2, vocabulary=200, max_tokens=12)
TEXTS = [
    "I am so happy to see you today!",
    "What a wonderful surprise, I am happy.",
    "Leave me alone. I said: leave me alone!",
    "She never came back, and nobody asked why.",
]
STRANGE = [
    "",
    " \n\t",
    "Ünïcödé ñandú",
    "愛している",
    "🙂🙃",
    "\x00\u200b\ufeff",
    "[PAD] [CLS]",
    "half \ud83d of a pair",
    "a" * 9000,
]


def build(config: CompactTextConfig = TINY) -> CompactText:
    """Build an encoder with the same random weights every time, not training."""
    torch.manual_seed(0)
    return CompactText(config, train_word_pieces(TEXTS, config.vocabulary)).eval()


def tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    """Return the pieces of a text."""
    found: list[str] = tokenizer.encode(text).tokens
    return found


def test_frequent_words_become_one_piece() -> None:
    """Pieces are lower case, continue with ## and put [CLS] first."""
    tokenizer = train_word_pieces(["happy happily"] * 20 + TEXTS, 64)
    assert tokens(tokenizer, "HAPPY")[:2] == ["[CLS]", "happy"]
    assert all(piece.startswith("##") for piece in tokens(tokenizer, "yap")[2:])


def test_every_seen_word_can_be_spelt() -> None:
    """Nothing of the training texts is unknown, and a new word is spelt in known pieces."""
    tokenizer = train_word_pieces(TEXTS, 200)
    for text in [*TEXTS, "happiness"]:
        assert "[UNK]" not in tokens(tokenizer, text)
    assert "".join(tokens(tokenizer, "happiness")[1:]).replace("##", "") == "happiness"


def test_the_vocabulary_never_exceeds_its_size() -> None:
    """Where characters alone are too many, the rarest are unknown."""
    many = [chr(0x4E00 + i) + "x" + chr(0x0430 + i % 30) for i in range(500)] + ["eee"] * 50
    tokenizer = train_word_pieces(many, 64)
    assert tokenizer.get_vocab_size() <= 64
    assert sorted(tokenizer.get_vocab().values()) == list(range(tokenizer.get_vocab_size()))
    assert "[UNK]" not in tokens(tokenizer, "eee")


@pytest.mark.parametrize("texts", [[], [""], ["a"], ["   "], ["🙂"], ["\x00"], ["a\ud800"]])
def test_few_texts_are_enough(texts: list[str]) -> None:
    """A vocabulary comes of anything, be it the special tokens alone."""
    tokenizer = train_word_pieces(texts, 64)
    assert tokens(tokenizer, "") == ["[CLS]"]
    assert {"[PAD]", "[UNK]", "[CLS]"} <= set(tokenizer.get_vocab())


def test_the_same_texts_give_the_same_vocabulary_in_every_process() -> None:
    """No hash table's order is left in the numbers of the pieces."""
    script = (
        "from streamser.emotion.fused.compact_encoders import train_word_pieces;"
        "print(train_word_pieces([f'word{i % 37}ab{i % 11} ca{i % 7}' for i in range(300)], 150)"
        ".to_str())"
    )
    runs = {
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout
        for _ in range(3)
    }
    assert len(runs) == 1


def test_a_size_below_the_least_is_refused() -> None:
    """A vocabulary too small for an alphabet is wrong use."""
    with pytest.raises(ValueError, match="64 at least"):
        train_word_pieces(TEXTS, 63)


def test_it_is_a_text_encoder() -> None:
    """The fused model can use it."""
    assert isinstance(build(), TextEncoder)
    assert build().width == 16


def test_prepare_cuts_and_pads() -> None:
    """[CLS] comes first, long texts are cut, short ones padded with [PAD]."""
    encoder = build()
    ids, mask = encoder.prepare(["", "happy", " ".join(TEXTS)])
    vocabulary = encoder.tokenizer.get_vocab()
    assert ids.shape == mask.shape == (3, 12)
    assert ids.dtype == torch.int64
    assert ids[:, 0].tolist() == [vocabulary["[CLS]"]] * 3
    assert mask.sum(dim=1).tolist()[::2] == [1, 12]
    assert set(ids[~mask].tolist()) == {vocabulary["[PAD]"]}


@pytest.mark.parametrize("text", STRANGE)
def test_any_text_can_be_read(text: str) -> None:
    """Other scripts, control characters, endless words and nothing at all have an encoding."""
    encoder = build()
    hidden, mask = encoder(encoder.prepare([text]))
    assert mask.all()
    assert 1 <= hidden.shape[1] <= 12
    assert hidden.isfinite().all()


def test_special_tokens_cannot_be_written_in_a_text() -> None:
    """A text that spells [PAD] is read as text."""
    encoder = build()
    vocabulary = encoder.tokenizer.get_vocab()
    ids = encoder.prepare(["[PAD] happy [CLS]"]).ids[0].tolist()
    assert vocabulary["[PAD]"] not in ids
    assert ids.count(vocabulary["[CLS]"]) == 1


def test_one_alone_is_the_same_as_among_many() -> None:
    """Neighbours and padding are not read."""
    encoder = build()
    texts = [*TEXTS, *STRANGE, "happy"]
    together, mask = encoder(encoder.prepare(texts))
    assert not together[~mask].any()
    for row, real, text in zip(together, mask, texts, strict=True):
        alone, _ = encoder(encoder.prepare([text]))
        assert torch.allclose(row[real], alone[0], rtol=0, atol=1e-5)


def test_what_stands_in_the_padding_is_not_read() -> None:
    """More padding, and other tokens in it, change nothing."""
    encoder = build()
    ids, mask = encoder.prepare([*TEXTS[:1], ""])
    expected, _ = encoder(TextBatch(ids, mask))
    wider = torch.nn.functional.pad(ids, (0, 9), value=5).masked_fill(
        ~torch.nn.functional.pad(mask, (0, 9)), 5
    )
    found, _ = encoder(TextBatch(wider, torch.nn.functional.pad(mask, (0, 9))))
    assert torch.allclose(found[:, : ids.shape[1]], expected, rtol=0, atol=1e-5)
    assert not found[:, ids.shape[1] :].any()


def test_order_of_words_is_read() -> None:
    """The same words in another order mean something else."""
    encoder = build()
    one = encoder(encoder.prepare(["you leave me"])).hidden[0, 0]
    other = encoder(encoder.prepare(["me leave you"])).hidden[0, 0]
    assert (one - other).abs().max() > 1e-4


def test_every_weight_learns() -> None:
    """A gradient reaches each parameter, in the embedding those of tokens that occur alone."""
    encoder = build().train()
    batch = encoder.prepare(TEXTS)
    encoder(batch).hidden.pow(3).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert encoder.embedding.weight.grad is not None
    touched = encoder.embedding.weight.grad.abs().sum(dim=1).nonzero().flatten().tolist()
    assert set(touched) == set(batch.ids[batch.mask].tolist())


def test_the_same_seed_gives_the_same_numbers() -> None:
    """Weights and dropout follow the seed alone."""
    batch = build().prepare(TEXTS)
    assert torch.equal(build()(batch).hidden, build()(batch).hidden)
    assert torch.equal(build().train()(batch).hidden, build().train()(batch).hidden)


def test_an_empty_batch_is_empty() -> None:
    """No texts give no rows."""
    assert build()(build().prepare([])).hidden.shape[0] == 0


def test_saved_and_loaded_it_reads_the_same(tmp_path: Path) -> None:
    """The tokenizer beside the weights is all that must be kept."""
    encoder = build()
    encoder.save_assets(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    loaded = load_compact_text(TINY, tmp_path)
    loaded.load_state_dict(encoder.state_dict())
    texts = [*TEXTS, *STRANGE]
    found, expected = loaded.eval().prepare(texts), encoder.prepare(texts)
    assert torch.equal(found.ids, expected.ids)
    assert torch.equal(found.mask, expected.mask)
    assert torch.equal(loaded(found).hidden, encoder(expected).hidden)


def test_a_missing_tokenizer_is_one_clear_line(tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing") as caught:
        load_compact_text(TINY, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe\x00", b'{"version": "1.0", "model"'])
def test_a_damaged_tokenizer_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    """Truncated, binary and empty files are told as such."""
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json is damaged") as caught:
        load_compact_text(TINY, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_cut_short_is_damaged(tmp_path: Path) -> None:
    """Half a file is not used."""
    build().save_assets(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="damaged"):
        load_compact_text(TINY, tmp_path)


def test_a_foreign_tokenizer_is_refused(tmp_path: Path) -> None:
    """A tokenizer without our special tokens belongs to another model."""
    Tokenizer(models.WordPiece(vocab={"a": 0, "[UNK]": 1}, unk_token="[UNK]")).save(
        str(tmp_path / "tokenizer.json")
    )
    with pytest.raises(ModelError, match=r"no \[PAD\], \[CLS\]"):
        load_compact_text(TINY, tmp_path)


def test_heads_that_do_not_fit_are_refused_in_one_line() -> None:
    """The message says which widths would do."""
    with pytest.raises(ConfigError, match="make the width a multiple of 6"):
        CompactText(CompactTextConfig(width=16, heads=3), train_word_pieces(TEXTS, 64))
