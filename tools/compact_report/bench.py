"""What the sections share: corpora, findings and plays, each made once and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from zlib import crc32

import msgspec
import numpy as np

from streamser.audio.clip import Samples
from streamser.emotion.compact.model import CompactFeatures, CompactModel
from streamser.emotion.frontend import Sound
from streamser.emotion.model import Segment
from streamser.emotion.rules import RulesFeatures, RulesModel
from streamser.errors import AudioError
from streamser.training.manifest import Item
from streamser.training.sounds import Sounds
from tools.compact_report.clips import Corpus, read_corpus
from tools.compact_report.plan import Plan
from tools.compact_report.play import Played, play
from tools.compact_report.streams import Stream, shuffled

__all__ = ["CLEAN", "Bench", "Condition"]


class Condition(msgspec.Struct, frozen=True, eq=False):
    """Say what is done to every clip before it is heard; ``change`` gets a generator of its own."""

    name: str
    change: Callable[[Sound, np.random.Generator], Sound]


CLEAN = Condition("clean", lambda sound, _: sound)


class Bench:
    """Hold data and models, and whatever more than one section needs.

    ``models`` are seeds of one training; the first is the one that ships. What is measured of a
    voice does not depend on the weights, so it is measured once, by the first.
    """

    def __init__(
        self, data: Path, models: Sequence[CompactModel], directories: Sequence[Path], plan: Plan
    ) -> None:
        self.data = data
        self.models = tuple(models)
        self.directories = tuple(directories)
        self.plan = plan
        self.sounds = Sounds()
        self._corpora: dict[str, Corpus] = {}
        self._findings: dict[tuple[str, str], list[CompactFeatures]] = {}
        self._played: dict[tuple[str, str], list[Played]] = {}

    def corpus(self, name: str) -> Corpus:
        """Return a corpus; raises ``ConfigError`` where it is not there."""
        if name not in self._corpora:
            self._corpora[name] = read_corpus(self.data, name, self.plan)
        return self._corpora[name]

    def seconds(self, name: str) -> list[float]:
        """Return how long each clip of a corpus is."""
        return [self.sounds.seconds(clip.item) for clip in self.corpus(name).clips]

    def sound(self, item: Item) -> Sound:
        """Return an item's sound; raises ``AudioError`` where it cannot be read."""
        sound = self.sounds.load(item)
        if sound is None:
            raise AudioError(f"{item.id} has no sound.")
        return sound

    def findings(self, name: str, condition: Condition = CLEAN) -> list[CompactFeatures]:
        """Return what is measured of each clip of a corpus, without words."""
        key = (name, condition.name)
        if key not in self._findings:
            items = [clip.item for clip in self.corpus(name).clips]
            # One at a time: a corpus is not in memory twice.
            self._findings[key] = [
                self.models[0].examine([(self._heard(item, condition), None)])[0] for item in items
            ]
        return self._findings[key]

    def streams(self, name: str) -> list[Stream]:
        """Return the streams in which a corpus is heard: all clips, several random orders."""
        corpus = self.corpus(name)
        return [
            stream for seed in range(self.plan.stream_seeds) for stream in shuffled(corpus, seed)
        ]

    def played(self, name: str, condition: Condition = CLEAN) -> list[Played]:
        """Return what each model says of a corpus in its streams."""
        key = (name, condition.name)
        if key not in self._played:
            streams, seconds = self.streams(name), self.seconds(name)
            findings = self.findings(name, condition)
            self._played[key] = [play(model, streams, findings, seconds) for model in self.models]
        return self._played[key]

    def rules(self, name: str) -> Played:
        """Return what the training-free model says of recordings in the same streams."""
        model = RulesModel()
        findings: list[RulesFeatures] = []
        for clip in self.corpus(name).clips:
            sound = self.samples(clip.item)
            findings += model.extract([Segment(sound, None)])
        return play(model, self.streams(name), findings, self.seconds(name))

    def samples(self, item: Item) -> Samples:
        """Return an item's samples; raises ``AudioError`` where there are none."""
        sound = self.sound(item)
        if not isinstance(sound, np.ndarray):
            raise AudioError(f"{item.id} is no recording.")
        return sound

    def _heard(self, item: Item, condition: Condition) -> Sound:
        # By the id, so that each model and each run hears the same noise.
        rng = np.random.default_rng(crc32(item.id.encode()))
        return condition.change(self.sound(item), rng)
