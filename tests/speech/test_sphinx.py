"""pocketsphinx on real speech."""

from __future__ import annotations

import csv
import sys
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Clip, Samples, to_samples
from streamser.bench.word_errors import bare_words, word_errors
from streamser.errors import ModelError
from streamser.speech.sphinx import SphinxTranscriber
from streamser.speech.transcriber import Transcript
from tests.data import shared_data

HALF_SECOND = SAMPLE_RATE // 2


class Spoken(msgspec.Struct, frozen=True, eq=False):
    """Hold a recording with what is said in it."""

    name: str
    speaker: str
    samples: Samples
    words: list[str]


@pytest.fixture(scope="module")
def folder() -> Path:
    """Find the recordings of plain speech."""
    return shared_data("speech")


def recording(folder: Path, name: str) -> Spoken:
    """Read one recording of the folder by its file name."""
    with (folder / "labels.csv").open(newline="") as table:
        row = next(row for row in csv.DictReader(table) if Path(row["path"]).stem == name)
    samples, rate = soundfile.read(folder / row["path"], dtype="float32")
    assert rate == SAMPLE_RATE
    return Spoken(name, row["speaker"], samples, bare_words(row["text"]))


@pytest.fixture(scope="module")
def transcriber() -> SphinxTranscriber:
    """Return a recogniser with two decoders, shared by tests that use sessions of their own."""
    return SphinxTranscriber(max_decoders=2)


def clips(
    sound: Samples, session: str, utterance: int = 1, start: int = 0, step: int = HALF_SECOND
) -> list[Clip]:
    """Return the clips of a growing utterance, the last of them final."""
    ends = [*range(step, len(sound), step), len(sound)]
    return [Clip(session, utterance, start, sound[:end], final=end == len(sound)) for end in ends]


def heard(transcriber: SphinxTranscriber, growing: Sequence[Clip]) -> list[Transcript]:
    """Recognise clips in order."""
    return [transcriber.transcribe([clip])[0] for clip in growing]


def test_plain_commands_are_understood(folder: Path, transcriber: SphinxTranscriber) -> None:
    """A clear sentence is heard word for word, in lower case, with nothing else."""
    sound = recording(folder, "goforward")
    transcript = heard(transcriber, clips(sound.samples, "plain"))[-1]
    assert transcript.text == "go forward ten meters"
    assert transcript.language == "en"
    assert transcriber.name == "pocketsphinx/en-us"


def test_word_error_rate_stays_below_its_bound(folder: Path) -> None:
    """Six speakers read and command at a word error rate measured as .25, bounded at .32."""
    names = [f"00{n}" for n in range(1, 6)] + ["goforward", "libri_6930-75918-0000"]
    names += ["libri_7902-96591-0000", "LJ001-0006", "LJ001-0008", "sb_spk1_snt1", "sb_spk1_snt5"]
    names += ["sense_and_sensibility_01_austen-0890", "sense_and_sensibility_01_austen-0930"]
    transcriber = SphinxTranscriber()
    wrong = total = 0
    for number, name in enumerate(names):
        sound = recording(folder, name)
        clip = Clip(sound.speaker, number, 0, sound.samples, final=True)
        wrong += word_errors(sound.words, transcriber.transcribe([clip])[0].text.split())
        total += len(sound.words)
    assert total == 97
    assert wrong / total < 0.32


def test_partials_grow_with_the_utterance(folder: Path, transcriber: SphinxTranscriber) -> None:
    """While somebody speaks, more and more is heard; before the first second nothing is."""
    sound = recording(folder, "sense_and_sensibility_01_austen-0890")
    counts = [
        len(transcript.text.split())
        for transcript in heard(transcriber, clips(sound.samples, "growing"))
    ]
    assert counts[0] == 0
    assert counts[-1] >= 8
    assert len(set(counts)) >= 5
    assert all(later >= earlier - 2 for earlier, later in pairwise(counts))


def test_chopping_changes_nothing(folder: Path, transcriber: SphinxTranscriber) -> None:
    """The final text and its word times are the same however many partials came before."""
    sound = recording(folder, "sb_spk1_snt2").samples
    rng = np.random.default_rng(0)
    ends = np.sort(rng.integers(1, len(sound), 9))
    ragged = [Clip("ragged", 1, 0, sound[:end], final=False) for end in ends]
    ragged.append(Clip("ragged", 1, 0, sound, final=True))
    at_once = heard(transcriber, clips(sound, "at once", step=len(sound)))[-1]
    assert at_once.text
    assert heard(transcriber, clips(sound, "steps"))[-1] == at_once
    assert heard(transcriber, ragged)[-1] == at_once


@pytest.mark.parametrize("step", [HALF_SECOND, 7_777])
def test_chopping_changes_nothing_in_long_utterances(
    folder: Path, transcriber: SphinxTranscriber, step: int
) -> None:
    """Beyond the 3 s after which pocketsphinx moves its mean, partials change nothing either."""
    names = ["sense_and_sensibility_01_austen-0870", "sense_and_sensibility_01_austen-0890"]
    names += ["sense_and_sensibility_01_austen-0920", "jfk"]
    for name in names:
        sound = recording(folder, name).samples
        session = f"{name} {step}"
        at_once = heard(transcriber, [Clip(f"{session} at once", 1, 0, sound, final=True)])[-1]
        assert heard(transcriber, clips(sound, session, step=step))[-1] == at_once
        transcriber.forget(session)
        transcriber.forget(f"{session} at once")


def test_what_a_decoder_did_before_changes_nothing(folder: Path) -> None:
    """After other speech, noise and silence, a decoder hears what a fresh one hears."""
    rng = np.random.default_rng(0)
    noise = (0.3 * rng.standard_normal(SAMPLE_RATE)).astype(np.float32)
    earlier = [noise, recording(folder, "goforward").samples, np.zeros(SAMPLE_RATE, np.float32)]
    used = SphinxTranscriber(max_decoders=1)
    for number, name in enumerate(("005", "LJ001-0008", "sb_spk1_snt2")):
        heard(used, [Clip(f"earlier {number}", 1, 0, earlier[number], final=True)])
        used.forget(f"earlier {number}")
        clip = Clip(name, 1, 0, recording(folder, name).samples, final=True)
        assert heard(used, [clip]) == heard(SphinxTranscriber(), [clip])


def test_only_what_is_new_is_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A growing utterance is fed to the decoder once, in pieces of at most 32 ms."""
    from streamser.speech import sphinx

    sound = recording(folder, "goforward").samples
    fed: list[int] = []
    feed = sphinx._feed
    transcriber = SphinxTranscriber()

    class Spy:
        def __init__(self, decoder: object) -> None:
            self.decoder = decoder

        def process_raw(self, pcm: bytes, no_search: bool, full: bool) -> None:
            fed.append(len(pcm) // 2)
            self.decoder.process_raw(pcm, no_search, full)  # type: ignore[attr-defined]

    def spied(decoder: object, new: Samples, *, first: bool) -> None:
        feed(Spy(decoder), new, first=first)

    monkeypatch.setattr(sphinx, "_feed", spied)
    heard(transcriber, clips(sound, "s"))
    assert sum(fed) == len(sound)
    assert max(fed) <= to_samples(32)


def test_a_speculative_final_can_be_followed_by_more(
    folder: Path, transcriber: SphinxTranscriber
) -> None:
    """When speech resumes after a final clip, the longer clip is heard as if it came at once."""
    sound = recording(folder, "005").samples
    half = Clip("resumed", 1, 0, sound[: 2 * SAMPLE_RATE], final=True)
    early, late = heard(transcriber, [half, Clip("resumed", 1, 0, sound, final=True)])
    assert early.text.startswith("eight of spades four of")
    assert late.text.endswith("seven of hearts")
    assert late == heard(transcriber, [Clip("straight", 1, 0, sound, final=True)])[-1]


def test_a_shorter_clip_starts_over(folder: Path, transcriber: SphinxTranscriber) -> None:
    """After a cut, the utterance is what is left of it, not what was heard beyond the cut."""
    sound = recording(folder, "005").samples
    cut = sound[: 2 * SAMPLE_RATE]
    whole = Clip("cut", 1, 0, sound, final=False)
    shorter = heard(transcriber, [whole, Clip("cut", 1, 0, cut, final=True)])[-1]
    assert shorter == heard(transcriber, [Clip("never longer", 1, 0, cut, final=True)])[-1]


def test_sessions_do_not_hear_each_other(folder: Path) -> None:
    """Two interleaved sessions of two utterances each get what each gets alone.

    Also when they share one decoder and so take it from each other at every step.
    """
    first = [recording(folder, name).samples for name in ("002", "004")]
    second = [recording(folder, name).samples for name in ("goforward", "001")]
    clips_a = [clip for u, sound in enumerate(first) for clip in clips(sound, "a", u)]
    clips_b = [clip for u, sound in enumerate(second) for clip in clips(sound, "b", u)]
    alone_a = heard(SphinxTranscriber(), clips_a)
    alone_b = heard(SphinxTranscriber(), clips_b)
    assert alone_a[-1].text
    assert alone_b[-1].text
    for decoders in (2, 1):
        transcriber = SphinxTranscriber(max_decoders=decoders)
        together: dict[str, list[Transcript]] = {"a": [], "b": []}
        for step in range(max(len(clips_a), len(clips_b))):
            batch = [*clips_a[step : step + 1], *clips_b[step : step + 1]]
            for clip, transcript in zip(batch, transcriber.transcribe(batch), strict=True):
                together[clip.session_id].append(transcript)
        assert together["a"] == alone_a
        assert together["b"] == alone_b


def test_a_forgotten_session_starts_afresh(folder: Path, transcriber: SphinxTranscriber) -> None:
    """After ``forget`` the same id is a stranger; unknown ids are ignored."""
    sounds = [recording(folder, name).samples for name in ("goforward", "LJ001-0008")]
    alone = heard(transcriber, [Clip("fresh", 2, 0, sounds[1], final=True)])[-1]
    heard(transcriber, [Clip("again", 1, 0, sounds[0], final=True)])
    transcriber.forget("again")
    assert heard(transcriber, [Clip("again", 2, 0, sounds[1], final=True)])[-1] == alone
    transcriber.forget("never seen")


def test_word_times_are_absolute_and_in_order(folder: Path, transcriber: SphinxTranscriber) -> None:
    """Words follow each other within the clip, at samples of the session."""
    sound = recording(folder, "goforward").samples
    transcript = heard(transcriber, clips(sound, "times", start=1_000_000))[-1]
    assert [word.text for word in transcript.words] == transcript.text.split()
    edges = [edge for word in transcript.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert edges[0] >= 1_000_000
    assert edges[-1] <= 1_000_000 + len(sound)
    # "go" begins after half a second of silence in this recording.
    assert transcript.words[0].start == pytest.approx(1_000_000 + 8_000, abs=2_400)


@pytest.mark.parametrize("samples", [0, 1, 100, 5_000, 3 * SAMPLE_RATE])
def test_silence_of_any_length_is_no_text(transcriber: SphinxTranscriber, samples: int) -> None:
    """Digital silence gives an empty text, also where it is too short for a single frame."""
    silence = np.zeros(samples, np.float32)
    (transcript,) = transcriber.transcribe([Clip(f"silent {samples}", 1, 0, silence, final=True)])
    assert transcript.text == ""
    assert transcript.words == ()


def test_other_threads_get_their_turn(folder: Path) -> None:
    """While a clip is decoded, another thread runs between its pieces."""
    sound = recording(folder, "goforward").samples
    transcriber = SphinxTranscriber()
    done = threading.Event()
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        while not done.wait(0.0001):
            ticks += 1

    thread = threading.Thread(target=tick)
    thread.start()
    transcriber.transcribe([Clip("s", 1, 0, sound, final=True)])
    done.set()
    thread.join()
    assert ticks > len(sound) // 512 // 2


def test_without_pocketsphinx_there_is_a_line_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing package is an error with the command that installs it."""
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(ModelError, match="pip install pocketsphinx"):
        SphinxTranscriber()
