"""Published text encoders, tiny and random, from their files to gradients and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file, save_file

from streamser.emotion.fused.config import LoraConfig, PretrainedTextConfig
from streamser.emotion.fused.interfaces import TextBatch, TextEncoder
from streamser.emotion.fused.pretrained_encoders import (
    PretrainedText,
    build_pretrained_text,
    load_pretrained_text,
)
from streamser.errors import ModelError
from tests.emotion.fused.tiny import TEXT_FAMILIES, WIDTH, TextFamily, tiny_text

families = pytest.mark.parametrize("family", TEXT_FAMILIES)

Saved = Callable[[TextFamily], Path]

TEXTS = [
    "I am so happy to see you today!",
    "No.",
    "",
    "She said that nothing was wrong, and then she cried. " * 9,
    "naïve – 東京 \U0001f600",
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Return where a family's tiny encoder lies; nobody writes there."""
    root = tmp_path_factory.mktemp("encoders")
    return lambda family: (
        root / family if (root / family).is_dir() else tiny_text(family, root / family)
    )


def load(directory: Path, **settings: Any) -> PretrainedText:
    """Load the encoder in a directory."""
    config = PretrainedTextConfig(name=str(directory), **settings)
    return load_pretrained_text(config, offline=True)


def edit(directory: Path, file: str, **changes: Any) -> None:
    """Change values of a JSON file."""
    path = directory / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def learning(encoder: torch.nn.Module) -> set[str]:
    """Return the names of the weights that have gradients."""
    return {name for name, weight in encoder.named_parameters() if weight.requires_grad}


def step(encoder: PretrainedText, texts: list[str]) -> dict[str, torch.Tensor]:
    """Run forward and backward once; return the gradients there are."""
    encoder.zero_grad()
    encoded = encoder(encoder.prepare(texts))
    (encoded.hidden * torch.linspace(-1, 1, WIDTH)).square().sum().backward()
    return {
        name: weight.grad.clone()
        for name, weight in encoder.named_parameters()
        if weight.grad is not None
    }


@families
def test_item_depends_on_itself_alone(saved: Saved, family: TextFamily) -> None:
    """A text gives the same in a batch of others, longer, shorter and empty, as on its own."""
    encoder = load(saved(family)).eval()
    with torch.inference_mode():
        together = encoder(encoder.prepare(TEXTS))
        for row, text in enumerate(TEXTS):
            alone = encoder(encoder.prepare([text]))
            real = int(alone.mask.sum())
            assert real == int(together.mask[row].sum()) >= 1
            assert together.mask[row, :real].all()
            assert (together.hidden[row, :real] - alone.hidden[0]).abs().max() <= 1e-5
            assert (together.hidden[row, real:] == 0).all()
    assert together.hidden.shape[2] == encoder.width == WIDTH
    assert isinstance(encoder, TextEncoder)


@families
def test_agrees_with_transformers(saved: Saved, family: TextFamily) -> None:
    """Tokens and vectors are those that the library gives for the checkpoint."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(saved(family))
    theirs = transformers.AutoModel.from_pretrained(saved(family)).eval()
    encoder = load(saved(family)).eval()
    given = tokenizer(TEXTS, truncation=True, max_length=48, padding=True, return_tensors="pt")
    batch = load(saved(family), max_tokens=48).prepare(TEXTS)
    assert torch.equal(batch.ids, given["input_ids"])
    assert torch.equal(batch.mask, given["attention_mask"].bool())
    assert batch.ids.shape[1] == 48
    with torch.inference_mode():
        expected = theirs(**given).last_hidden_state
        got = encoder(batch).hidden
    torch.testing.assert_close(got[batch.mask], expected[batch.mask], atol=1e-5, rtol=1e-5)


@families
def test_cuts_long_texts(saved: Saved, family: TextFamily) -> None:
    """A long text keeps its closing token, and never exceeds the model's own positions."""
    encoder = load(saved(family), max_tokens=4000).eval()
    batch = encoder.prepare(["cried " * 500, "No."])
    assert batch.ids.shape == (2, 64)
    assert batch.ids[0, -1] == batch.ids[1][batch.mask[1]][-1]
    assert torch.isfinite(encoder(batch).hidden).all()
    assert load(saved(family), max_tokens=5).prepare(["cried " * 9]).ids.shape == (1, 5)


def test_survives_odd_texts(saved: Saved) -> None:
    """No texts, a lone surrogate and a row of padding alone do no harm."""
    encoder = load(saved("deberta-v2")).eval()
    assert encoder.prepare([]).ids.shape[0] == 0
    assert encoder.prepare(["\ud800 well"]).mask.sum() >= 2
    mask = torch.tensor([[False, False], [True, True]])
    found = encoder(TextBatch(torch.ones(2, 2, dtype=torch.int64), mask))
    assert (found.hidden[0] == 0).all()
    assert torch.isfinite(found.hidden[1]).all()


@families
def test_trains_what_the_paper_trains(saved: Saved, family: TextFamily) -> None:
    """By default all but the embeddings learns, in training mode too, and nothing lies idle."""
    encoder = load(saved(family)).train()
    names = {name for name, _ in encoder.named_parameters()}
    expected = {name for name in names if not name.startswith("model.embeddings.")}
    assert learning(encoder) == expected < names
    grown = {name for name, grad in step(encoder, TEXTS).items() if grad.any()}
    # Softmax does not see a constant added to all keys.
    assert {name for name in expected - grown if "key.bias" not in name} == set()


@families
def test_freezes_all_or_nothing(saved: Saved, family: TextFamily) -> None:
    """Frozen throughout, no graph is built and dropout stays off; else every weight learns."""
    still = load(saved(family), frozen="all").train()
    assert not learning(still)
    batch = still.prepare(TEXTS)
    first = still(batch).hidden
    assert not first.requires_grad
    assert torch.equal(first, still(batch).hidden)
    free = load(saved(family), frozen="none").train()
    assert learning(free) == {name for name, _ in free.named_parameters()}
    assert step(free, TEXTS)["model.embeddings.word_embeddings.weight"].any()


@families
def test_layer_sum_begins_uniform(saved: Saved, family: TextFamily) -> None:
    """The weighted sum is at first the mean over all layers, and its weights learn."""
    import transformers

    theirs = transformers.AutoModel.from_pretrained(saved(family)).eval()
    encoder = load(saved(family), layer_sum=True, frozen="all").eval()
    batch = encoder.prepare(["I am so happy to see you today!"])
    with torch.inference_mode():
        states = theirs(input_ids=batch.ids, output_hidden_states=True).hidden_states
        hidden = encoder(batch).hidden
    assert len(states) == 3
    torch.testing.assert_close(hidden, torch.stack(states).mean(dim=0), atol=1e-5, rtol=1e-5)
    grads = step(encoder, TEXTS)
    assert set(grads) == {"layer_sum.weights"}
    assert grads["layer_sum.weights"].abs().min() > 0


@families
def test_checkpointing_changes_no_gradient(saved: Saved, family: TextFamily) -> None:
    """Computing activations twice gives the same gradients, those of the layer sum included."""
    found = []
    for twice in (False, True):
        encoder = load(saved(family), layer_sum=True, gradient_checkpointing=twice).train()
        for module in encoder.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        found.append(step(encoder, TEXTS))
    plain, again = found
    assert set(plain) == set(again)
    assert "layer_sum.weights" in plain
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, atol=1e-4, rtol=1e-4)


@families
def test_lora_learns_beside_frozen_weights(saved: Saved, family: TextFamily) -> None:
    """Low-rank matrices begin without effect, are all that learns, and then do change it."""
    encoder = load(saved(family), lora=LoraConfig(rank=2, alpha=4)).eval()
    batch = encoder.prepare(TEXTS)
    torch.testing.assert_close(encoder(batch).hidden, load(saved(family)).eval()(batch).hidden)
    names = learning(encoder)
    assert all("lora_" in name for name in names)
    # Two layers, query and value, two matrices each.
    assert len(names) == 8
    before = encoder(batch).hidden.detach()
    step(encoder, TEXTS)
    torch.optim.SGD([w for w in encoder.parameters() if w.requires_grad], lr=0.1).step()
    assert (encoder(batch).hidden - before).abs().max() > 1e-4


@families
@pytest.mark.parametrize(
    "settings",
    [{}, {"layer_sum": True, "lora": LoraConfig(rank=2)}],
    ids=["plain", "lora and layer sum"],
)
def test_is_rebuilt_from_its_configuration(
    saved: Saved, family: TextFamily, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Configuration as JSON, tokenizer and state are enough for the same encoder."""
    encoder = load(saved(family), max_tokens=24, **settings).eval()
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(0.01 * torch.randn_like(weight))
    encoder.save_assets(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]
    written = msgspec.json.encode(replace(encoder.config, name="not/there"))
    config = msgspec.json.decode(written, type=PretrainedTextConfig)
    again = build_pretrained_text(config, tmp_path).eval()
    again.load_state_dict(encoder.state_dict(), strict=True)
    assert learning(again) == learning(encoder)
    batch = again.prepare(TEXTS)
    assert torch.equal(batch.ids, encoder.prepare(TEXTS).ids)
    assert torch.equal(batch.mask, encoder.prepare(TEXTS).mask)
    assert torch.equal(again(batch).hidden, encoder(batch).hidden)


def test_rebuilding_needs_its_parts(saved: Saved, tmp_path: Path) -> None:
    """No architecture, no tokenizer, a damaged or a foreign one: one line each."""
    encoder = load(saved("bert"))
    with pytest.raises(ModelError, match="not written down"):
        build_pretrained_text(replace(encoder.config, architecture=None), tmp_path)
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        build_pretrained_text(encoder.config, tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        build_pretrained_text(encoder.config, tmp_path)
    load(saved("roberta")).save_assets(tmp_path)
    with pytest.raises(ModelError, match="do not belong together"):
        build_pretrained_text(encoder.config, tmp_path)
    encoder.save_assets(tmp_path)
    assert encoder.config.architecture is not None
    for wrong in ({"model_type": "hubert"}, {}):
        with pytest.raises(ModelError, match="deberta-v2, roberta, bert"):
            build_pretrained_text(replace(encoder.config, architecture=wrong), tmp_path)


def test_layers_without_end_are_not_built(saved: Saved, tmp_path: Path) -> None:
    """One after another they would take for ever."""
    encoder = load(saved("bert"))
    encoder.save_assets(tmp_path)
    assert encoder.config.architecture is not None
    endless = encoder.config.architecture | {"num_hidden_layers": 2**31}
    with pytest.raises(ModelError, match="num_hidden_layers is 2147483648, and 1000 are the most"):
        build_pretrained_text(replace(encoder.config, architecture=endless), tmp_path)


def test_reads_a_sentencepiece_model(tmp_path: Path) -> None:
    """DeBERTa-v3 as it is published, with ``spm.model`` and no ``tokenizer.json``, loads."""
    sentencepiece = pytest.importorskip("sentencepiece")
    directory = tiny_text("deberta-v2", tmp_path / "model")
    (directory / "tokenizer.json").unlink()
    (tmp_path / "words.txt").write_text("\n".join(TEXTS[:2] + TEXTS[3:4]) * 5)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "words.txt"),
        model_prefix=str(directory / "spm"),
        vocab_size=48,
        hard_vocab_limit=False,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        pad_piece="[PAD]",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        unk_piece="[UNK]",
        minloglevel=2,
    )
    (directory / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    encoder = load(directory)
    batch = encoder.prepare(["I am so happy", "cried"])
    assert batch.ids[:, 0].tolist() == [1, 1]
    assert batch.ids[0][batch.mask[0]][-1] == 2
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(directory / "spm.model"))
    assert batch.ids[0, 1:-1].tolist() == pieces.encode("I am so happy")
    encoder.save_assets(tmp_path)
    again = build_pretrained_text(encoder.config, tmp_path)
    assert torch.equal(again.prepare(TEXTS).ids, encoder.prepare(TEXTS).ids)


def test_takes_a_checkpoint_without_pooler(tmp_path: Path) -> None:
    """What no encoder needs may be missing; a layer may not."""
    directory = tiny_text("roberta", tmp_path / "model")
    path = directory / "model.safetensors"
    state = load_file(path)
    bare = {name: weight for name, weight in state.items() if not name.startswith("pooler.")}
    assert len(bare) == len(state) - 2
    save_file(bare, path, metadata={"format": "pt"})
    assert not any("pooler" in name for name in load(directory).state_dict())
    bare.pop("encoder.layer.0.attention.self.query.bias")
    save_file(bare, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights .* missing, encoder\.layer\.0"):
        load(directory)


def test_says_what_is_wrong_with_a_directory(tmp_path: Path) -> None:
    """Another family, pickled weights, no tokenizer: one line each."""
    directory = tiny_text("bert", tmp_path / "model")
    (directory / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="its tokenizer cannot be loaded") as caught:
        load(directory)
    assert "\n" not in str(caught.value)
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickle"):
        load(directory)
    edit(directory, "config.json", model_type="electra")
    with pytest.raises(ModelError, match=r"electra model .* deberta-v2, roberta, bert"):
        load(directory)
    with pytest.raises(ModelError, match="no such directory"):
        load(tmp_path / "nowhere")
