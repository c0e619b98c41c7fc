from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from streamser.emotion.fused.build import build_model
from streamser.emotion.fused.config import WhisperAcousticConfig
from streamser.emotion.fused.whisper import whisper_input
from streamser.errors import ModelError
from streamser.training.batches import (
    BatchLoader,
    Inputs,
    Variety,
    cut,
    labels_of,
    plan_batches,
    targets_of,
    text_of,
)
from streamser.training.manifest import Item, MelSpan
from streamser.training.settings import AugmentSettings, MaskingSettings, TrainSettings
from streamser.training.sounds import Sounds, whisper_levels
from tests.scripted_whisper import build_babbling_whisper
from tests.training import tiny


def _feed(items: list[Item], settings: TrainSettings) -> BatchLoader:
    texts = [item.text for item in items if item.text]
    model = build_model(settings.model, texts=texts)
    sounds = Sounds()
    targets = targets_of(labels_of(items, settings.model.heads))
    return BatchLoader(
        settings,
        items,
        targets,
        inputs=Inputs(model, sounds),
        sounds=sounds,
        variety=Variety(settings.augment, texts),
    )


def _ears(folder: Path) -> WhisperAcousticConfig:
    place = build_babbling_whisper(folder / "whisper")
    return WhisperAcousticConfig(name=str(place), used_layers=(1, 2))


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Write 24 tones with words."""
    return tiny.items(tmp_path, train=24, dev=0)


@pytest.mark.parametrize(("count", "batch"), [(1, 8), (33, 32), (100, 7), (64, 64), (5, 1)])
def test_every_item_is_in_one_batch_and_no_batch_is_tiny(count: int, batch: int) -> None:
    """Of 33 items in batches of 32 none stays alone: it would have no CCC."""
    sizes = np.random.default_rng(0).random(count)
    plan = plan_batches(sizes, batch=batch, bucket=3, rng=np.random.default_rng(1))
    assert Counter(int(row) for rows in plan for row in rows) == Counter(range(count))
    lengths = {len(rows) for rows in plan}
    assert max(lengths) <= batch
    assert max(lengths) - min(lengths) <= 1


def test_items_of_like_length_go_together() -> None:
    """So that little is padding: within batches lengths differ far less than over all."""
    sizes = np.random.default_rng(0).random(1024)
    plan = plan_batches(sizes, batch=16, bucket=16, rng=np.random.default_rng(1))
    apart = np.mean([np.ptp(sizes[rows]) for rows in plan])
    assert apart < 0.1
    means = [sizes[rows].mean() for rows in plan]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.4


def test_an_epoch_follows_from_seed_and_number(items: list[Item]) -> None:
    """Another epoch goes otherwise, the same one the same way, in another process too."""
    settings = replace(
        tiny.settings(),
        masking=MaskingSettings(mode="item"),
        augment=AugmentSettings(noise=1.0, word_drop=0.3, spec_time=0.3),
    )
    torch.manual_seed(0)
    first = _feed(items, settings)
    torch.manual_seed(0)
    second = _feed(items, settings)
    plan = first.plan(1)
    assert [rows.tolist() for rows in plan] == [rows.tolist() for rows in second.plan(1)]
    assert [rows.tolist() for rows in plan] != [rows.tolist() for rows in first.plan(0)]
    second.batch(0, 0, plan[0], None)
    one, other = (feed.batch(1, 2, plan[2], None) for feed in (first, second))
    assert one.inputs.audio is not None
    assert other.inputs.audio is not None
    assert torch.equal(one.inputs.audio.values, other.inputs.audio.values)
    assert torch.equal(one.inputs.has_text, other.inputs.has_text)


@pytest.mark.parametrize("kind", ["compact", "whisper"])
def test_a_batch_is_what_the_model_would_prepare(
    items: list[Item], kind: str, tmp_path: Path
) -> None:
    """Though what it hears is kept, not prepared anew."""
    config = tiny.model_config()
    if kind == "whisper":
        config = replace(config, acoustic=_ears(tmp_path))
    texts = [item.text for item in items if item.text]
    model = build_model(config, texts=texts)
    sounds = Sounds()
    inputs = Inputs(model, sounds)
    for _ in range(2):
        found = inputs.prepare(items[:5], texts[:5], hears=[True] * 4 + [False])
        clips = [sounds.load(item) for item in items[:4]]
        expected = model.prepare([*clips, None], texts[:5])
        assert found.audio is not None
        assert expected.audio is not None
        assert torch.equal(found.audio.values, expected.audio.values)
        assert torch.equal(found.audio.lengths, expected.audio.lengths)
        assert torch.equal(found.has_audio, expected.has_audio)
        assert found.text is not None
        assert expected.text is not None
        assert torch.equal(found.text.ids, expected.text.ids)


def test_whisper_hears_the_finer_frames_of_an_archive_varied_or_not(tmp_path: Path) -> None:
    """Of a corpus that may only be had as frames; 64 bands are too coarse, in one line."""
    frames = np.random.default_rng(0).integers(150, 256, (60, 128)).astype(np.uint8)
    steps = np.diff(frames, axis=0, prepend=np.zeros((1, 128), np.uint8))
    np.savez(tmp_path / "fine.npz", mel_dt=steps, offset=np.array([0]), n_frames=np.array([60]))
    np.savez(tmp_path / "coarse.npz", mel=frames[:, ::2])
    model = build_model(replace(tiny.model_config(), acoustic=_ears(tmp_path), text=None))
    fine, coarse = (
        Item(id=name, corpus="c", speaker="s", mel=MelSpan(tmp_path / f"{name}.npz", 0, 60))
        for name in ("fine", "coarse")
    )
    inputs = Inputs(model, Sounds())
    plain = inputs.prepare([fine], [None], hears=[True]).audio
    assert plain is not None
    assert plain.values[0].numpy() == pytest.approx(whisper_input(whisper_levels(frames)))
    variety = Variety(AugmentSettings(noise=1.0, snr_db=(0.0, 0.0), spec_time=0.5), [])
    rng = np.random.default_rng(1)
    varied = inputs.prepare([fine], [None], hears=[True], variety=variety, rng=rng).audio
    assert varied is not None
    assert varied.values.shape == plain.values.shape
    assert not torch.equal(varied.values, plain.values)
    assert torch.isfinite(model(inputs.prepare([fine], [None], hears=[True])).dimensions).all()
    with pytest.raises(ModelError, match="frames of 128 bands"):
        inputs.prepare([coarse], [None], hears=[True])


def test_a_masked_modality_is_not_even_prepared(items: list[Item]) -> None:
    """Unless an item has nothing else."""
    feed = _feed(items, tiny.settings())
    plan = feed.plan(0)
    assert feed.batch(0, 0, plan[0], "text").inputs.text is None
    assert feed.batch(0, 0, plan[0], "audio").inputs.audio is None
    silent = [replace(item, audio=None) for item in items]
    kept = _feed(silent, tiny.settings()).batch(0, 0, plan[0], "text").inputs
    assert kept.has_text.all()


def test_labels_go_with_their_items(items: list[Item]) -> None:
    """In the order of the rows."""
    feed = _feed(items, tiny.settings())
    rows = np.array([3, 0, 7])
    targets = feed.batch(0, 0, rows, None).targets
    assert targets.votes.argmax(dim=1).tolist() == [3, 0, 3]


@pytest.mark.parametrize(
    ("asked", "expected"), [("gold", {"said"}), ("asr", {"heard"}), ("mixed", {"said", "heard"})]
)
def test_words_are_those_that_were_asked_for(
    items: list[Item], monkeypatch: pytest.MonkeyPatch, asked: str, expected: set[str]
) -> None:
    """Transcripts, a recogniser's, or each half the time."""
    items = [replace(item, text="said", text_asr="heard") for item in items]
    settings = replace(tiny.settings(batch=24), data=replace(tiny.settings().data, text=asked))
    feed = _feed(items, settings)
    read: set[str] = set()

    def prepare(some: Sequence[Item], texts: Sequence[str | None], **_: object) -> None:
        read.update(text for text in texts if text)

    monkeypatch.setattr(feed._inputs, "prepare", prepare)
    feed.batch(0, 0, feed.plan(0)[0], None)
    assert read == expected


def test_a_recogniser_s_words_do_not_stand_in_for_the_transcript() -> None:
    """Else a test on recognised words would read true ones."""
    item = Item(id="1", corpus="c", speaker="s", text="said")
    assert text_of(item, "gold") == "said"
    assert text_of(item, "asr") is None


def test_the_parts_of_a_batch_are_the_whole(items: list[Item]) -> None:
    """Cut of needless padding."""
    feed = _feed(items, tiny.settings())
    whole = feed.batch(0, 0, feed.plan(0)[0], None)
    parts = cut(whole, 3)
    assert sorted(len(part.targets.votes) for part in parts) == [2, 3, 3]
    assert torch.equal(torch.cat([part.targets.truth for part in parts]), whole.targets.truth)
    lengths = []
    for part in parts:
        assert part.inputs.audio is not None
        assert part.inputs.audio.values.shape[1] == part.inputs.audio.lengths.max()
        lengths += part.inputs.audio.lengths.tolist()
    assert whole.inputs.audio is not None
    assert lengths == whole.inputs.audio.lengths.tolist()
    assert len(cut(whole, 100)) == 8
