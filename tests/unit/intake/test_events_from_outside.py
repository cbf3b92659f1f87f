"""Which streams take events of producers: not those that the platform itself writes, unless their file allows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headwater.errors import StreamClosed
from headwater.intake.gate import Gate, GateSettings
from headwater.intake.outcome import Admitted, Refused
from headwater.schemas.repository import LocalRepository
from headwater.schemas.validation.validator import Validator
from headwater.streams.legacy_settings import document_of
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.streams.stream_file import legacy_settings
from headwater.streams.visibility import Access, Flow

ACCESS = Access(
    error_streams=frozenset({"intake.errors"}),
    flows=(Flow("count", ("shop.order",), output="shop.total", late="shop.late", error="count.error"),),
)
OWN = ("intake.errors", "shop.total", "shop.late", "count.error")


def gate_of(streams: StreamRegistry, **settings: Any) -> Gate:
    return Gate(
        streams,
        Validator(LocalRepository(Path(__file__).parent / "no schemas here")),
        GateSettings(error_stream="intake.errors", **settings),
    )


def registry(*streams: Stream) -> StreamRegistry:
    declared = {stream.name: stream for stream in map(Stream, (*OWN, "shop.order"))}
    return StreamRegistry((declared | {stream.name: stream for stream in streams}).values(), access=ACCESS)


def posted(gate: Gate, stream: str, *, own: bool = False) -> Admitted | Refused:
    event = {"$schema": "/error/1.0.0", "meta": {"stream": stream}, "dt": "2026-01-01T00:00:00Z", "emitter_id": "x"}
    return gate.admit(event | {"message": "made up", "raw_event": "{}"}, own=own)


def is_closed(verdict: Admitted | Refused) -> bool:
    return isinstance(verdict, Refused) and isinstance(verdict.reason, StreamClosed)


@pytest.mark.parametrize("name", OWN)
def test_what_the_platform_writes_is_closed_to_producers_and_open_to_itself(name: str) -> None:
    gate = gate_of(registry(), enforce_streams=False)
    for _ in range(2):
        # Also once the route is known: what one may do must not be remembered for the other.
        assert is_closed(posted(gate, name))
        assert isinstance(posted(gate, name, own=True), Admitted)


def test_a_stream_of_error_events_of_another_service_is_closed_too() -> None:
    gate = gate_of(registry(Stream("other.errors", schema_title="error"), Stream("/^e\\..+/", schema_title="error")))
    assert is_closed(posted(gate, "other.errors"))
    assert is_closed(posted(gate, "e.member"))


def test_other_streams_stay_open() -> None:
    assert isinstance(posted(gate_of(registry(), enforce_streams=False), "shop.order"), Admitted)


@pytest.mark.parametrize("name", OWN)
def test_a_stream_file_may_allow_it(name: str) -> None:
    gate = gate_of(registry(Stream(name, external=True)), enforce_streams=False)
    assert isinstance(posted(gate, name), Admitted)


def test_a_stream_file_may_forbid_it() -> None:
    gate = gate_of(registry(Stream("shop.order", external=False)), enforce_streams=False)
    assert is_closed(posted(gate, "shop.order"))
    assert isinstance(posted(gate, "shop.order", own=True), Admitted)


@pytest.mark.parametrize("alias", ["dc1.shop.total", "alias", "f.total"])
def test_another_name_for_the_same_topic_is_closed_too(alias: str) -> None:
    streams = registry(
        Stream("shop.total", topic_prefixes=("dc1.",)),
        Stream("alias", topics=("dc1.shop.total",)),
        Stream("/^f\\..+/", settings={"topics": ["dc1.shop.total"]}),
    )
    assert is_closed(posted(gate_of(streams, enforce_streams=False), alias))


def test_the_refusal_names_no_job() -> None:
    refused = posted(gate_of(registry(), enforce_streams=False), "shop.total")
    assert isinstance(refused, Refused)
    assert "count" not in str(refused.reason)
    assert "producers: {external: true}" in str(refused.reason.hint)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.yaml", "stream: a\nschema_title: a\nproducers: {external: true}\n"),
        ("all.yaml", "streams:\n  a: {producers: {external: true, web: {enabled: true}}}\n"),
        ("all.json", '{"streams": {"a": {"producers": {"external": true}}}}'),
        ("a.yaml", "stream: a\r\nschema_title: a\r\nproducers:\r\n  external: true\r\n"),
    ],
)
def test_both_forms_of_declaration_say_it(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).write_bytes(text.encode())
    found = StreamRegistry.load(tmp_path)
    assert found.get("a").external is True
    assert found.get("a").settings["producers"]["external"] is True


@pytest.mark.parametrize("external", [True, False])
def test_the_legacy_settings_say_it_and_back(external: bool) -> None:
    document = {"producers": {"external": external}, "produce": {"by": {"web": {"enabled": True}}}}
    assert document_of(legacy_settings(document)) == document


@pytest.mark.parametrize("side", ["producers", "consumers"])
@pytest.mark.parametrize("keys", ["required", "optional"])
def test_both_forms_of_declaration_say_who_needs_a_key(tmp_path: Path, side: str, keys: str) -> None:
    forms = (
        ("a.yaml", f"stream: a\nschema_title: a\n{side}: {{keys: {keys}}}\n"),
        ("all.yaml", f"streams:\n  a: {{{side}: {{keys: {keys}, web: {{enabled: true}}}}}}\n"),
        ("all.json", f'{{"streams": {{"a": {{"{side}": {{"keys": "{keys}"}}}}}}}}'),
    )
    for number, (file, text) in enumerate(forms):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / file).write_text(text, encoding="utf-8")
        found = StreamRegistry.load(directory).get("a")
        assert (found.producer_keys if side == "producers" else found.consumer_keys) == keys
        assert found.settings[side]["keys"] == keys
    document = {side: {"keys": keys}, "consume": {"web": {"enabled": True}}}
    assert document_of(legacy_settings(document)) == document
