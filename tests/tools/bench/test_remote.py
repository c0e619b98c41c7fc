"""What a question costs is measured where it is asked: the way apart from the model."""

from __future__ import annotations

import numpy as np

from streamser.emotion.model import PredictorModel
from streamser.emotion.remote.link import RemoteLink
from tests.emotion.remote.deployment import Always, deployed
from tools.bench.remote import Asked, clips, measure_here, measure_remote
from tools.bench.remote_report import Figures, report_lines


def test_clips_are_of_the_length_that_was_asked_for_and_differ() -> None:
    """Eight at once are eight pieces of the conversation, with words."""
    made = clips(2.0, 8)
    assert {len(each.samples) for each in made} == {32_000}
    assert not np.array_equal(made[0].samples, made[1].samples)
    assert all(each.text for each in made)


def test_the_way_is_what_the_model_there_did_not_take() -> None:
    """More is sent of longer clips; a model here has no way at all."""
    with deployed() as there:
        link = RemoteLink(there.url)
        short, long = (measure_remote(link, clips(each, 1), 3) for each in (0.5, 2.0))
    assert short.inside < short.p50 <= short.p95
    assert 31 < short.kib < 33
    assert 125 < long.kib < 127
    here = measure_here(PredictorModel(Always()), clips(0.5, 2), 3)
    assert here.kib == 0.0
    assert here.inside <= here.p50


def test_the_page_has_the_way_apart_from_the_model() -> None:
    """As its table stands there: medians in ms, small ones with a digit more."""
    here = Asked(p50=1345.4, p95=1400.0, cpu=1202.0, inside=1345.4, kib=0.0)
    there = Asked(p50=1478.0, p95=1500.0, cpu=0.61, inside=1461.0, kib=312.5)
    figures = Figures(compact=[here], here=[here], elsewhere=[there], together=[there])
    lines = report_lines(figures, "base", [5.0])
    assert lines[0] == "| one clip of | 5 s |"
    assert "| `base`, here | 1345 |" in lines
    assert "| of which the way | 17 |" in lines
    assert "| CPU of who asks: `base` elsewhere | 0.6 |" in lines
    assert lines[-1] == "The way of 8 clips at once, ms: 5 s (0.3 MiB): 17."
