from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from streamser.speech.whisper_compute import candidates, choose_compute_type


class Machine:
    """A machine on which models of each compute type take a given time."""

    def __init__(self, favourite: str, device: str = "cpu", load_s: float = 0.1, **runs: float):
        self.favourite, self.device, self.load_s, self.runs = favourite, device, load_s, runs
        self.now = 0.0
        self.loaded: list[str] = []

    def load(self, kind: str) -> Any:
        """Load a model; what has no time does not load."""
        self.now += self.load_s
        self.loaded.append(kind)
        kind = self.favourite if kind == "auto" else kind
        if kind not in self.runs:
            raise ValueError(f"no {kind} here\nand more")
        return SimpleNamespace(model=SimpleNamespace(device=self.device, compute_type=kind))

    def run(self, model: Any) -> None:
        """Let the time of its type pass."""
        self.now += self.runs[model.model.compute_type]

    def choose(self) -> tuple[str, str]:
        """Choose; return the type, and what is told."""
        model, line = choose_compute_type(self.load, self.run, lambda: self.now)
        return model.model.compute_type, line


@pytest.fixture(autouse=True)
def _offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer what CTranslate2 offers on an ordinary processor."""
    import ctranslate2

    offered = {"int8", "int8_float32", "float32", "int16"}
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda device: offered)


def test_the_fastest_type_is_loaded_and_told() -> None:
    """Three are tried at most, each loaded once, CTranslate2's own choice first."""
    machine = Machine("int8_float32", int8_float32=0.3, float32=0.2, int16=0.4)
    assert machine.choose() == (
        "float32",
        "float32, the fastest of int8_float32 300 ms, float32 200 ms, int16 400 ms",
    )
    assert machine.loaded == ["auto", "float32", "int16"]


def test_what_is_alike_changes_nothing() -> None:
    """The favourite stays; a type that does not load is left out with the reason."""
    kind, line = Machine("int8_float32", int8_float32=0.3, float32=0.29).choose()
    assert kind == "int8_float32"
    assert line.endswith("int16 left out (no int16 here)")


def test_a_fast_model_is_loaded_once() -> None:
    """Nothing would be felt."""
    machine = Machine("int8_float32", int8_float32=0.01, float32=0.001)
    assert machine.choose()[0] == "int8_float32"
    assert machine.loaded == ["auto"]


def test_large_models_are_not_loaded_over_and_over() -> None:
    """What would end after 10 s is not tried."""
    machine = Machine("int8_float32", load_s=6.0, int8_float32=0.3, float32=0.1, int16=0.1)
    kind, line = machine.choose()
    assert (kind, machine.loaded) == ("int8_float32", ["auto"])
    assert line.count("no time left to try it") == 2


def test_candidates_are_what_is_offered_and_differs() -> None:
    """Two beside the favourite at most."""
    offered = {"float16", "int8_float16", "bfloat16", "float32", "int8"}
    assert list(candidates("int8_float16", "cuda", offered)) == ["float16", "bfloat16"]
    assert list(candidates("float32", "cpu", {"float32", "int8_float32"})) == ["int8_float32"]
