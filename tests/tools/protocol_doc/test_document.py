"""The document of the protocol says all that is true, and nothing else."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
import pytest

import streamser
from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.choose import choose_model
from streamser.emotion.model import Segment
from streamser.emotion.rules import RulesModel
from streamser.emotion.tempo import Tempo
from streamser.events import (
    AnyEvent,
    ErrorRaised,
    Event,
    Overload,
    TranscriptionFailed,
    decode_event,
    encode_event,
)
from streamser.server.dialects.openai_realtime import ClientMessage
from streamser.settings import EmotionSettings
from tests.emotion.voices import speak
from tools.protocol_doc.__main__ import main
from tools.protocol_doc.codes import COMPACT_EVIDENCE, ERROR_CODES, FINAL_EVIDENCE, RULES_EVIDENCE
from tools.protocol_doc.document import protocol_document
from tools.protocol_doc.examples import examples, message_examples

# What takes a code as its first argument.
CODE_FIRST = {
    "Fault",
    "RefusedError",
    "report",
    "server_error",
    "client_error",
    "_refuse",
    "_busy",
}
# What takes it further on.
CODE_LATER = {"Refusal": 2, "refused": 1, "_later": 1}
PROTOCOL_DOCUMENT = Path(streamser.__file__).parents[1] / "docs" / "protocol.md"


def test_the_protocol_document_is_up_to_date(tmp_path: Path) -> None:
    """docs/protocol.md is what `make docs` writes today."""
    written = tmp_path / "protocol.md"
    assert main(["--write", str(written)]) == 0
    assert written.read_text(encoding="utf-8") == PROTOCOL_DOCUMENT.read_text(encoding="utf-8")


def test_the_protocol_document_shows_every_event() -> None:
    """Each has its own section and a real example that decodes to itself."""
    document = protocol_document()
    shown = examples()
    assert {type(example) for example in shown} == set(get_args(AnyEvent))
    numbers = [example.seq for example in shown if isinstance(example, Event)]
    assert numbers == list(range(1, len(numbers) + 1))
    for example in shown:
        assert decode_event(encode_event(example)) == example
        assert f"### `{example.__struct_config__.tag}`" in document
        assert msgspec.json.format(encode_event(example), indent=2).decode() in document


def test_the_protocol_document_shows_every_message() -> None:
    """What a client may send has its own section and a real example that decodes to itself."""
    document = protocol_document()
    shown = message_examples()
    assert {type(example) for example in shown} == set(get_args(ClientMessage))
    for example in shown:
        assert msgspec.json.decode(msgspec.json.encode(example), type=ClientMessage) == example
        assert f"### Message `{example.__struct_config__.tag}`" in document


def codes_in(tree: ast.AST) -> set[str]:
    """Return the error codes that a module gives to faults and exceptions."""
    found: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found += [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in CODE_FIRST:
                found += node.args[:1]
            if (place := CODE_LATER.get(name)) is not None:
                found += node.args[place : place + 1]
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "code":
            value = node.value
            found += [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
    return {
        value.value
        for value in found
        if isinstance(value, ast.Constant) and isinstance(value.value, str)
    }


def test_the_protocol_document_explains_every_error_code() -> None:
    """A code in the source is in the document, and none is there that does not occur."""
    sources = Path(streamser.__file__).parent.rglob("*.py")
    real = [codes_in(ast.parse(source.read_text(encoding="utf-8"))) for source in sources]
    assert set().union(*real) == set(ERROR_CODES)
    document = protocol_document()
    for code, says in ERROR_CODES.items():
        assert f"| `{code}` | {says} |" in document


def test_the_protocol_examples_use_real_codes_and_reasons() -> None:
    """What an example shows can be met in life."""
    shown = examples()
    errors = [each for each in shown if isinstance(each, ErrorRaised | TranscriptionFailed)]
    assert errors
    assert {each.error.code for each in errors} <= set(ERROR_CODES)
    losses = [each for each in shown if isinstance(each, Overload)]
    assert [(loss.kind, loss.reason) for loss in losses] == [("partials", "full")]


def test_the_protocol_document_explains_the_evidence_of_finals() -> None:
    """What is measured whatever the model."""
    document = protocol_document()
    assert set(Tempo.__struct_fields__) < set(FINAL_EVIDENCE)
    for key, (unit, meaning) in FINAL_EVIDENCE.items():
        assert f"| `{key}` | {unit} | {meaning} |" in document


def test_the_protocol_document_explains_the_evidence_of_rules() -> None:
    """A reading of voice and words gives all the keys that the document lists, and no other."""
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    harmonics = np.arange(1, 9)[:, None]
    buzz = np.sum(np.sin(2 * np.pi * 150 * harmonics * time) / harmonics, axis=0)
    voice = (0.1 * buzz).astype(np.float32)
    model = RulesModel()
    (finding,) = model.extract([Segment(samples=voice, text="a wonderful surprise")])
    evidence = model.new_speaker().predict(finding).evidence
    assert set(evidence) == set(RULES_EVIDENCE)
    document = protocol_document()
    for key, (unit, meaning) in RULES_EVIDENCE.items():
        assert f"| `{key}` | {unit} | {meaning} |" in document


def test_the_protocol_document_explains_the_evidence_of_the_bundled_model() -> None:
    """A voice gives all the keys that the document lists, and no other."""
    model = choose_model(EmotionSettings())
    (finding,) = model.extract([Segment(samples=speak(150), text="a wonderful surprise")])
    evidence = model.new_speaker().predict(finding).evidence
    assert set(evidence) == set(COMPACT_EVIDENCE)
    document = protocol_document()
    for key, (unit, meaning) in COMPACT_EVIDENCE.items():
        assert f"| `{key}` | {unit} | {meaning} |" in document


def test_the_schema_knows_every_event(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs in other languages can generate their types from it."""
    assert main(["--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert len(schema["anyOf"]) == len(get_args(AnyEvent))
    assert all(each["$ref"].removeprefix("#/$defs/") in schema["$defs"] for each in schema["anyOf"])


def test_a_protocol_that_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is not there gives one line."""
    assert main(["--write", str(tmp_path / "none" / "protocol.md")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
