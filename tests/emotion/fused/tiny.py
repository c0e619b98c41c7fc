"""Tiny random encoders of every supported family, saved as their published kin are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

__all__ = [
    "ACOUSTIC_FAMILIES",
    "TEXT_FAMILIES",
    "WIDTH",
    "AcousticFamily",
    "TextFamily",
    "tiny_acoustic",
    "tiny_text",
]

AcousticFamily: TypeAlias = Literal[
    "hubert", "hubert-base", "wav2vec2", "wav2vec2-base", "wavlm", "wavlm-base", "whisper"
]
"""The ``-base`` kin normalise the first convolution over time (group norm), as published."""

TextFamily: TypeAlias = Literal["deberta-v2", "roberta", "bert"]

ACOUSTIC_FAMILIES: tuple[AcousticFamily, ...] = (
    "hubert",
    "hubert-base",
    "wav2vec2",
    "wav2vec2-base",
    "wavlm",
    "wavlm-base",
    "whisper",
)
TEXT_FAMILIES: tuple[TextFamily, ...] = ("deberta-v2", "roberta", "bert")

WIDTH = 32
"""Channels of each tiny encoder."""

_TEXTS = (
    "I am so happy to see you today.",
    "What a wonderful surprise!",
    "Leave me alone, I never want to hear that again.",
    "She said that nothing was wrong, and then she cried.",
    "The train leaves at nine from the second platform.",
)

_CONVOLUTIONS: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


def tiny_acoustic(family: AcousticFamily, directory: Path) -> Path:
    """Save a random acoustic encoder with its preprocessor settings; the same at every call.

    Returns the directory, which ``load_pretrained_acoustic`` takes as a name.
    """
    import transformers as hf

    directory.mkdir(parents=True, exist_ok=True)
    if family == "whisper":
        config = hf.WhisperConfig(
            d_model=WIDTH,
            encoder_layers=2,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            num_mel_bins=80,
            max_source_positions=200,  # 4 s; the published ones take 30
            vocab_size=64,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=3,
            suppress_tokens=None,
            begin_suppress_tokens=None,
        )
        _save(hf.WhisperForConditionalGeneration, config, directory)
        hf.WhisperFeatureExtractor(feature_size=80, chunk_length=4).save_pretrained(directory)
        return directory
    name, _, base = family.partition("-")
    kinds = {
        "hubert": (hf.HubertConfig, hf.HubertModel),
        "wav2vec2": (hf.Wav2Vec2Config, hf.Wav2Vec2Model),
        "wavlm": (hf.WavLMConfig, hf.WavLMModel),
    }
    make_config, make_model = kinds[name]
    config = make_config(
        **_CONVOLUTIONS,
        feat_extract_norm="group" if base else "layer",
        do_stable_layer_norm=not base,
        conv_bias=not base,
        feat_proj_layer_norm=True,
    )
    _save(make_model, config, directory)
    extractor = hf.Wav2Vec2FeatureExtractor(do_normalize=not base, return_attention_mask=not base)
    extractor.save_pretrained(directory)
    return directory


def tiny_text(family: TextFamily, directory: Path) -> Path:
    """Save a random text encoder with a tokenizer learnt from a few lines; always the same.

    Returns the directory, which ``load_pretrained_text`` takes as a name.
    """
    import transformers as hf

    directory.mkdir(parents=True, exist_ok=True)
    sizes: dict[str, Any] = {
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
    }
    tokenizer: Any
    if family == "bert":
        vocabulary = _learn("wordpiece")
        tokenizer = hf.BertTokenizer(vocab=vocabulary["vocab"])
        config = hf.BertConfig(**sizes, vocab_size=len(tokenizer), max_position_embeddings=64)
        _save(hf.BertModel, config, directory)
    elif family == "roberta":
        vocabulary = _learn("bpe")
        merges = [tuple(pair) for pair in vocabulary["merges"]]
        tokenizer = hf.RobertaTokenizer(vocab=vocabulary["vocab"], merges=merges)
        config = hf.RobertaConfig(
            **sizes,
            vocab_size=len(tokenizer),
            max_position_embeddings=66,
            type_vocab_size=1,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        _save(hf.RobertaModel, config, directory)
    else:
        vocabulary = _learn("unigram")
        tokenizer = hf.DebertaV2Tokenizer(vocab=[tuple(piece) for piece in vocabulary["vocab"]])
        config = hf.DebertaV2Config(
            **sizes,
            vocab_size=len(tokenizer),
            max_position_embeddings=64,
            relative_attention=True,
            position_buckets=16,
            pos_att_type=["p2c", "c2p"],
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            position_biased_input=False,
            type_vocab_size=0,
        )
        _save(hf.DebertaV2Model, config, directory)
    tokenizer.save_pretrained(directory)
    return directory


def _save(make: Any, config: Any, directory: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make(config)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        # Norms and biases start as ones and zeros, which would hide a weight that is not loaded.
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    model.save_pretrained(directory)


def _learn(kind: str) -> dict[str, Any]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    if kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(
            vocab_size=120, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        )
        texts = [text.lower() for text in _TEXTS]
    elif kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        texts = list(_TEXTS)
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=100,
            special_tokens=["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"],
            unk_token="[UNK]",
            show_progress=False,
        )
        texts = list(_TEXTS)
    trainer.show_progress = False
    tokenizer.train_from_iterator(texts, trainer)
    learnt: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return learnt
