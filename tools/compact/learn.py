"""Teach the network: voices first, then words and pairs beside them, by cross-entropy and CCC.

Taught all at once, the voice's half is worth less on strangers: beside words a voice need only be
as plain as they are. So voices come alone, and what comes after leaves alone what they pass.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from streamser.emotion.neural.interfaces import Encoded
from streamser.training.losses import ccc_loss, cross_entropy
from tools.compact.network import Answer, Judge, JudgeSettings, Voice
from tools.compact.occasions import OccasionBatch, Occasions
from tools.compact.streams import StreamBatch
from tools.compact.texts import NO_TEXTS, EncodedTexts

__all__ = ["LearnSettings", "as_voice", "ask", "teach_voices", "teach_words"]

_REPORTED: Final = 500


class LearnSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how long and how fast is learnt.

    ``dimensions`` is the weight of 1 - CCC, for each dimension, against the cross-entropy;
    ``smoothing`` is taken from the targets; the weights that are kept are a running mean of
    those that learn, ``averaging`` of it new at each step.
    """

    steps: int = 1500
    rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    dimensions: float = 0.3
    smoothing: float = 0.05
    averaging: float = 0.005
    clip: float = 1.0


def teach_voices(
    occasions: Occasions,
    judge_settings: JudgeSettings,
    settings: LearnSettings,
    *,
    seed: int,
    tell: Callable[[str], None],
) -> Judge:
    """Train a network from nothing on occasions without words.

    The same seed gives the same weights on the same machine.
    """
    torch.manual_seed(seed)
    return _learn(Judge(judge_settings), occasions, NO_TEXTS, settings, tell)


def teach_words(
    judge: Judge,
    occasions: Occasions,
    texts: EncodedTexts,
    settings: LearnSettings,
    *,
    tell: Callable[[str], None],
) -> Judge:
    """Go on with words alone and with pairs; return a network that hears voices as before.

    Only the branch of the words learns: to say what it knows to bridge tokens and heads as they
    are. The given network is used up.
    """
    judge.requires_grad_(False)
    judge.fusion.branches["text"].requires_grad_(True)
    return _learn(judge, occasions, texts, settings, tell)


def _learn(
    judge: Judge,
    occasions: Occasions,
    texts: EncodedTexts,
    settings: LearnSettings,
    tell: Callable[[str], None],
) -> Judge:
    kept = copy.deepcopy(judge).eval()
    learning = [weights for weights in judge.parameters() if weights.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=settings.rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.rate, total_steps=settings.steps, pct_start=settings.warmup
    )
    total = 0.0
    for step in range(1, settings.steps + 1):
        batch = occasions.draw()
        loss = _loss(ask(judge.train(), batch, texts), batch, settings)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learning, settings.clip)
        optimizer.step()
        schedule.step()
        _follow(kept, judge, max(settings.averaging, 1.0 / (step + 1)))
        total += float(loss.detach())
        if step % _REPORTED == 0:
            tell(f"  step {step}/{settings.steps}  loss {total / _REPORTED:.4f}")
            total = 0.0
    return kept


def ask(judge: Judge, batch: OccasionBatch, texts: EncodedTexts) -> Answer:
    """Let the network answer a batch."""
    # Apart, since padded words cost as much as real ones.
    groups = [np.flatnonzero(rows) for rows in (batch.texts < 0, batch.texts >= 0)]
    answers = [_ask(judge, batch, texts, rows) for rows in groups if len(rows)]
    back = torch.from_numpy(np.argsort(np.concatenate(groups), kind="stable"))
    return Answer(*(torch.cat(parts)[back] for parts in zip(*answers, strict=True)))


def _ask(
    judge: Judge, batch: OccasionBatch, texts: EncodedTexts, rows: npt.NDArray[np.int64]
) -> Answer:
    voice = batch.voice.select(rows)
    words = texts.batch(batch.texts[rows])
    with torch.autocast("cpu", torch.bfloat16):
        answer: Answer = judge(
            as_voice(voice),
            Encoded(words.hidden, words.mask),
            torch.from_numpy(batch.has_audio[rows]),
            torch.from_numpy(batch.texts[rows] >= 0),
        )
    return Answer(answer.logits.float(), answer.dimensions.float())


def as_voice(batch: StreamBatch) -> Voice:
    """Return utterances as the network takes them."""
    relative, absolute, context, variety = (torch.from_numpy(view) for view in batch.views)
    return Voice(relative, absolute, context, variety, torch.from_numpy(batch.known))


def _loss(answer: Answer, batch: OccasionBatch, settings: LearnSettings) -> Tensor:
    targets, truth = torch.from_numpy(batch.categories), torch.from_numpy(batch.dimensions)
    loss = cross_entropy(
        answer.logits, targets, targets.sum(dim=1) > 0, label_smoothing=settings.smoothing
    )
    for source in np.unique(batch.source):
        rows = torch.from_numpy(batch.source == source)
        lost, _ = ccc_loss(answer.dimensions, truth, rows[:, None] & ~torch.isnan(truth))
        loss = loss + settings.dimensions * rows.float().mean() * lost.sum()
    return loss


def _follow(kept: Judge, judge: Judge, share: float) -> None:
    with torch.no_grad():
        for old, new in zip(kept.parameters(), judge.parameters(), strict=True):
            old.lerp_(new, share)
