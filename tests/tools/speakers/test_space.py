"""Where voices lie is learnt from people of whom each has moods."""

from __future__ import annotations

import numpy as np

from streamser.audio.clip import SAMPLE_RATE
from streamser.speech.clustering import VoiceSpace
from tools.speakers.space import audible, learn


def test_what_moods_do_counts_for_little_and_what_people_are_for_much() -> None:
    """The first direction is that of people; liveliness is told from the other."""
    rng = np.random.default_rng(1)
    people, moods = np.repeat(np.arange(40), 12), np.tile(np.linspace(-1, 1, 12), 40)
    who = rng.standard_normal(40)
    voices = 0.1 * rng.standard_normal((480, 4))
    voices[:, 0] += who[people]
    voices[:, 1] += moods
    sounds = np.tile(["clean", "room"], 240)
    voices[sounds == "room", 2] += 5.0
    learnt = learn(voices, people.astype(str), sounds, moods, kept=2, shrinkage=0.1)
    space = VoiceSpace(*learnt)
    places = space.points(voices[sounds == "clean"])
    clean = sounds == "clean"
    assert abs(np.corrcoef(places[:, 0], who[people[clean]])[0, 1]) > 0.98
    assert np.corrcoef(places[:, -1], moods[clean])[0, 1] > 0.98
    assert learnt.spread[0] > 5 * learnt.spread[1]


def test_a_spectrogram_becomes_sound_of_the_same_pitch() -> None:
    """A tone at 888 Hz is one again."""
    levels = np.zeros((60, 128), np.uint8)
    # Slaney's bands are 23.4 Hz apart there; the first has its middle at 23.4 Hz.
    levels[:, 37] = 255
    sound = audible(levels, np.random.default_rng(1))
    assert len(sound) == 59 * 256
    spectrum = np.abs(np.fft.rfft(sound))
    loudest = int(spectrum.argmax()) * SAMPLE_RATE / len(sound)
    assert 865 < loudest < 911
