"""Learn a vocabulary of word pieces from texts: the same texts give the same vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

__all__ = ["CLASS", "PADDING", "UNKNOWN", "encodable", "train_word_pieces"]

PADDING: Final = "[PAD]"
UNKNOWN: Final = "[UNK]"
CLASS: Final = "[CLS]"

_CONTINUED: Final = "##"
_MOST_CHARACTERS: Final = 1000


def train_word_pieces(texts: Iterable[str], size: int) -> Tokenizer:
    """Learn at most ``size`` word pieces (64 or more) from any number of texts.

    Lower case, accents removed, cut at spaces and punctuation (BERT's rules), [CLS] first, no
    [SEP]. The rarest characters are left to [UNK] where there are very many. Pieces grow by
    the most frequent pairs (WordPiece as the tokenizers library trains it). Raises
    ``ValueError`` for a smaller size.
    """
    if size < 64:
        raise ValueError(f"{size} word pieces are too few: 64 at least")
    tokenizer = _untrained(models.WordPiece(vocab={UNKNOWN: 0}, unk_token=UNKNOWN))
    counts = _count_words(texts, tokenizer)
    special = [PADDING, UNKNOWN, CLASS]
    alphabet, continued = _characters(counts, min(_MOST_CHARACTERS, (size - len(special)) // 2))
    # The trainer numbers the pieces "##x" in the order of a hash table that differs at every
    # run, and settles draws by number. Named as special tokens they get their numbers first.
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=[*special, *alphabet, *(_CONTINUED + letter for letter in continued)],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        continuing_subword_prefix=_CONTINUED,
        show_progress=False,
    )
    repeated = (" ".join([word] * count) for word, count in counts.items())
    tokenizer.train_from_iterator(repeated, trainer)
    # Rebuilt without them: else "[PAD]" or "##s" in a text would pass for the token.
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    trained = _untrained(models.WordPiece(vocab=vocabulary, unk_token=UNKNOWN))
    trained.post_processor = processors.TemplateProcessing(
        single=f"{CLASS} $A", special_tokens=[(CLASS, vocabulary[CLASS])]
    )
    return trained


def encodable(text: str) -> str:
    """Return a text with ``?`` for half surrogate pairs, which the tokenizers library refuses."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _untrained(model: models.WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _count_words(texts: Iterable[str], tokenizer: Tokenizer) -> Counter[str]:
    return Counter(
        word
        for text in texts
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(
            tokenizer.normalizer.normalize_str(encodable(text))
        )
    )


def _characters(counts: Counter[str], most: int) -> tuple[list[str], list[str]]:
    """Return the most frequent characters, and those of them that continue a word, sorted."""
    everywhere: Counter[str] = Counter()
    inside: set[str] = set()
    for word, count in counts.items():
        inside.update(word[1:])
        for letter in word:
            everywhere[letter] += count
    kept = sorted(sorted(everywhere), key=lambda letter: -everywhere[letter])[:most]
    return sorted(kept), sorted(inside.intersection(kept))
