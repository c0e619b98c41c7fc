"""Small encoders for two CPU cores: of word pieces learnt from the texts, and of log-mel frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn import functional

from streamser.emotion.frontend import BANDS, Sound, features
from streamser.emotion.fused.config import CompactAcousticConfig, CompactTextConfig
from streamser.emotion.fused.fusion import Transformer
from streamser.emotion.fused.interfaces import AudioBatch, Encoded, TextBatch
from streamser.errors import ModelError

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


_FILE: Final = "tokenizer.json"


class CompactText(nn.Module):
    """Encode texts: one vector for [CLS] and one for each word piece.

    Implements ``TextEncoder``. The vocabulary of the tokenizer decides how many embeddings
    there are. Raises ``ConfigError`` where the heads do not fit the width.
    """

    def __init__(self, config: CompactTextConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config = config
        self.width = config.width
        self.tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self._padding: int = vocabulary[PADDING]
        self.embedding = nn.Embedding(max(vocabulary.values()) + 1, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.transformer = Transformer(config.width, config.layers, config.heads, config.dropout)

    def prepare(self, texts: Sequence[str]) -> TextBatch:
        """Turn texts into token ids [B, L], [CLS] first, cut to ``max_tokens``."""
        found = [
            torch.tensor(encoding.ids[: self.config.max_tokens])
            for encoding in self.tokenizer.encode_batch([encodable(text) for text in texts])
        ]
        if not found:
            return TextBatch(torch.zeros(0, 1, dtype=torch.int64), torch.zeros(0, 1).bool())
        ids = nn.utils.rnn.pad_sequence(found, batch_first=True, padding_value=self._padding)
        lengths = torch.tensor([len(tokens) for tokens in found])
        return TextBatch(ids, torch.arange(ids.shape[1]) < lengths[:, None])

    def forward(self, batch: TextBatch) -> Encoded:
        """Encode a batch into float [B, L, width]."""
        vectors = self.dropout(self.embedding(batch.ids))
        return Encoded(self.transformer(vectors, batch.mask), batch.mask)

    def save_assets(self, directory: Path) -> None:
        """Write the tokenizer beside the weights, as ``tokenizer.json``."""
        self.tokenizer.save(str(directory / _FILE))


def load_compact_text(config: CompactTextConfig, directory: Path) -> CompactText:
    """Build an encoder, weights random, around the tokenizer that ``save_assets`` wrote.

    Raises ``ModelError`` where that is missing, damaged or of another kind.
    """
    path = directory / _FILE
    if not path.is_file():
        raise ModelError(f"{path} is missing: a checkpoint with a compact text encoder needs it")
    try:
        tokenizer = Tokenizer.from_file(str(path))
        vocabulary = tokenizer.get_vocab()
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise ModelError(f"{path} is damaged: {error}; copy the checkpoint again") from None
    if lacking := [word for word in (PADDING, UNKNOWN, CLASS) if word not in vocabulary]:
        raise ModelError(
            f"{path} has no {', '.join(lacking)}: it is not a tokenizer of a compact text encoder"
        )
    return CompactText(config, tokenizer)


_STRIDES: Final = {2: (2, 1), 4: (2, 2), 8: (2, 2, 2)}


class CompactAcoustic(nn.Module):
    """Encode clips or their ready-made log-mel frames; one vector for ``subsampling`` frames.

    An item of T frames gives ceil(T / subsampling) vectors, each 16 ms x ``subsampling`` long.
    Implements ``AcousticEncoder``. Raises ``ConfigError`` where the heads do not fit the width.
    """

    def __init__(self, config: CompactAcousticConfig) -> None:
        super().__init__()
        self.config = config
        self.width = config.width
        self.elastic = True
        self._strides = _STRIDES[config.subsampling]
        inputs = (BANDS,) + (config.width,) * (len(self._strides) - 1)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(channels, config.width, 3, stride, padding=1)
            for channels, stride in zip(inputs, self._strides, strict=True)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.transformer = Transformer(config.width, config.layers, config.heads, config.dropout)

    def prepare(self, clips: Sequence[Sound]) -> AudioBatch:
        """Turn clips into features, float32 [B, T, 64], and their lengths in frames.

        A clip without samples or frames has one frame of silence, which is zero.
        """
        found = [torch.from_numpy(features(clip)) for clip in clips]
        if not found:
            return AudioBatch(torch.zeros(0, 1, BANDS), torch.zeros(0, dtype=torch.int64))
        lengths = torch.tensor([len(frames) for frames in found], dtype=torch.int64)
        return AudioBatch(nn.utils.rnn.pad_sequence(found, batch_first=True), lengths)

    def forward(self, batch: AudioBatch) -> Encoded:
        """Encode a batch into float [B, ceil(T / subsampling), width]."""
        lengths = batch.lengths
        vectors = batch.values.transpose(1, 2)
        for convolution, stride in zip(self.convolutions, self._strides, strict=True):
            real = _real(lengths, vectors.shape[2])
            # Beyond its end an item must meet the zeros that it would meet alone.
            vectors = functional.gelu(convolution(vectors.masked_fill(~real[:, None], 0.0)))
            lengths = torch.div(lengths - 1, stride, rounding_mode="floor") + 1
        mask = _real(lengths, vectors.shape[2])
        hidden = self.transformer(self.dropout(vectors.transpose(1, 2)), mask)
        return Encoded(hidden, mask)


def _real(lengths: Tensor, total: int) -> Tensor:
    """Return which positions are within their item, bool [B, total]."""
    return torch.arange(total, device=lengths.device) < lengths[:, None]
