"""Public models that FunASR runs: emotion2vec+ and SenseVoice, by the optional extra ``funasr``.

No real weights have been through this code (docs/models.md): it follows FunASR 1.4's source, which
emotion2vec+ was tried with, tiny and random.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.hub_models.labels import HubPart, place_labels
from streamser.emotion.hub_models.registry import HubModel
from streamser.emotion.hub_models.torch_models import Given
from streamser.errors import ModelError, first_line
from streamser.taxonomy import CATEGORIES

# Shorter sound has too few frames for its convolutions.
_LEAST: Final = SAMPLE_RATE // 2
# A tag comes without a probability. It counts as often as it is right: the share of IEMOCAP's
# utterances that SenseVoice-Small names rightly, by its own repository.
_TAG_SHARE: Final = 0.657
_TAG: Final = re.compile(r"<\|([A-Z_]+)\|>")


class FunasrReader:
    """Ask a FunASR model about one clip at a time."""

    def __init__(self, ready: HubModel, generate: Callable[..., Any]) -> None:
        self.ready = ready
        self._generate = generate

    def read(self, given: Sequence[Given]) -> list[HubPart]:
        """Judge sounds; raises ``ModelError`` for an answer of another form, or unknown labels."""
        judge = self._scored if self.ready.kind == "emotion2vec" else self._tagged
        return [judge(_filled(item)) for item in given if not isinstance(item, str)]

    def _scored(self, samples: Samples) -> HubPart:
        answer = self._ask(samples, granularity="utterance", extract_embedding=False)
        labels, scores = answer.get("labels"), answer.get("scores")
        if not isinstance(labels, list) or not isinstance(scores, list):
            raise self._odd(answer)
        if len(labels) != len(scores) or not labels:
            raise self._odd(answer)
        # Bilingual labels end in the English name.
        names = [str(label).rpartition("/")[2] for label in labels]
        found, outside = place_labels(self.ready, names).gather(np.array(scores, np.float64))
        return HubPart(modality="audio", scores=found, outside=outside)

    def _tagged(self, samples: Samples) -> HubPart:
        answer = self._ask(samples, cache={}, language="auto", use_itn=False)
        text = answer.get("text")
        if not isinstance(text, str):
            raise self._odd(answer)
        tags = [tag for tag in _TAG.findall(text) if tag in self.ready.labels]
        if not tags:
            return HubPart(modality="audio")
        (place,) = place_labels(self.ready, tags[:1]).of
        if place < 0:
            return HubPart(modality="audio", scores=_even(), outside=1.0)
        rest = (1.0 - _TAG_SHARE) / (len(CATEGORIES) - 1)
        scores = tuple(_TAG_SHARE if place == index else rest for index in range(len(CATEGORIES)))
        return HubPart(modality="audio", scores=scores)

    def _ask(self, samples: Samples, **options: Any) -> Mapping[str, Any]:
        answers = self._generate(input=samples, fs=SAMPLE_RATE, **options)
        if not isinstance(answers, list) or not answers or not isinstance(answers[0], Mapping):
            raise self._odd(answers)
        return answers[0]

    def _odd(self, answer: object) -> ModelError:
        return ModelError(
            f"{self.ready.name}: FunASR answered {str(answer)[:80]!r}, which cannot be read; its"
            " version may be another than 1.4"
        )


def load_funasr(ready: HubModel, directory: Path, *, device: str) -> FunasrReader:
    """Load a model of FunASR from its directory; no code of it is run, and nothing looked up.

    Raises ``ModelError`` where FunASR is not installed or cannot load it.
    """
    try:
        with _calmly():
            from funasr import AutoModel
    except (ImportError, OSError) as error:  # torch without its libraries is an OSError
        raise ModelError(
            f"{ready.name} needs FunASR, which is not installed or cannot be loaded"
            f" ({str(error).partition(chr(10))[0]}): run pip install 'streamser[funasr]'."
        ) from None
    try:
        with _calmly():
            model = AutoModel(
                model=str(directory),
                device=device,
                trust_remote_code=False,
                disable_update=True,
                disable_pbar=True,
            )
    except Exception as error:  # whatever its many parts raise
        raise ModelError(
            f"{ready.name}: FunASR cannot load {directory}: {first_line(error)}"
        ) from None
    return FunasrReader(ready, model.generate)


@contextmanager
def _calmly() -> Iterator[None]:
    """Keep FunASR's chatter from stdout, which is for events, and its hands off the root logger.

    Nobody else writes to stdout while models are loaded.
    """
    root = logging.getLogger()
    handlers, level, disabled = list(root.handlers), root.level, root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
        root.setLevel(level)


def _filled(samples: Samples) -> Samples:
    """Return sound that is long enough, ending in silence."""
    return np.pad(samples, (0, max(0, _LEAST - len(samples))))


def _even() -> tuple[float, ...]:
    return (1.0 / len(CATEGORIES),) * len(CATEGORIES)
