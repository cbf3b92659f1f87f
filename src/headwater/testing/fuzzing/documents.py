"""Fuzz targets for the files that authors and operators write: schemas, streams, settings, keys, legacy settings."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from headwater.access.key_file import read_keys
from headwater.config import CONFIG_FILE, load_config
from headwater.errors import HeadwaterError
from headwater.schemas.document import parse_document
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.schema import Schema, read_schema
from headwater.schemas.validation.validator import Validator
from headwater.streams.fields import Field
from headwater.streams.legacy.importer import imported
from headwater.streams.legacy.php_arrays import read_legacy_declaration
from headwater.streams.legacy.source import LegacySource
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream_format import SHAPE
from headwater.testing.fuzzing.campaign import Outcome
from headwater.testing.fuzzing.target import AUTHORS_SECONDS_MAX, FromFiles

_YAML_WORDS = (
    b"\n  ",
    b"\n- ",
    b"- ",
    b"{",
    b"}",
    b"[",
    b"]",
    b": ",
    b"&a ",
    b"*a",
    b"<<: *a",
    b"!!str ",
    b"|\n ",
    b"# ",
)


def _names(keys: Mapping[str, Field]) -> Iterator[str]:
    for name, key in keys.items():
        yield name
        yield from _names(key.keys)
        yield from _names(key.item_keys)


class Schemas(FromFiles):
    """Schema documents, compiled and used to validate values."""

    name = "schemas"
    modules: Sequence[str] = (
        *("headwater.schemas.document", "headwater.schemas.schema", "headwater.schemas.validation.validator"),
        *("headwater.schemas.dialect", "headwater.schemas.keyword_shapes", "headwater.schemas.validation.engine"),
        *("headwater.schemas.security", "headwater.schemas.validation.formats", "headwater.declaration"),
    )
    examples: Sequence[bytes] = (
        b"title: a/b\n$id: /a/b/1.0.0\ntype: object\nrequired: [x]\nproperties: {x: {type: integer, default: 5}}\n",
        b'{"allOf":[{"$ref":"#/definitions/d"}],"definitions":{"d":{"type":"object","additionalProperties":false}}}',
        b"$schema: https://json-schema.org/draft/2020-12/schema\nprefixItems: [{type: string}]\nitems: false\n",
        b'{"if":{"properties":{"a":{"const":1}}},"then":{"required":["b"]},"else":{"dependencies":{"a":["b"]}}}',
        b"x: &a {type: string, format: date-time, maxLength: 9}\nproperties: {y: *a, z: {<<: *a, pattern: '^a+$'}}\n",
        b'{"$schema":"http://json-schema.org/draft-04/schema#","properties":{"x":{"minimum":1,"exclusiveMinimum":true}}}',
        b'{"type":"object","properties":{"a":{"enum":[1,"x",null]},"b":{"type":"array","items":{"multipleOf":0.01},'
        b'"uniqueItems":true,"contains":{"minimum":1}}},"patternProperties":{"^x":{"oneOf":[{"type":"integer"},'
        b'{"maximum":3}]}},"additionalProperties":{"not":{"minLength":2}},"minProperties":1,"propertyNames":'
        b'{"maxLength":3},"anyOf":[{"required":["a"]},{"required":["x"]}]}',
        b'{"$ref":"#/$defs/a","$defs":{"a":{"anyOf":[{"$ref":"#/$defs/a"},{"type":["object","null"]}]}}}',
    )
    words: Sequence[bytes] = (
        *(b"type: ", b"properties", b"$ref", b"#/properties/x", b"items", b"allOf", b"anyOf", b"not", b"enum"),
        *(b"pattern: '(a+)+$'", b"format", b"multipleOf: 0.1", b"maximum", b"default", b"$id", b"definitions"),
        *(b"$schema: http://json-schema.org/draft-04/schema#", b"uniqueItems", b"contains", b"additionalProperties"),
        *(b"date-time", b"uri", b"email", b"regex", b"/a/1.0.0#", b"required", b"const", b"minLength", b"oneOf"),
        *(b"object", b"array", b"string", b"integer", b"number", b"boolean", b"null", b"dependencies"),
        *_YAML_WORDS,
    )
    _VALUES: tuple[Any, ...] = (
        *({}, {"x": 1, "a": 1, "b": [1, "2"]}, [1, "x"], "text", 5, None),
        {"a": "x", "b": [0.01, 1, 1.0, 1], "xy": 5, "y": "2026-01-01T00:00:00Z", "z": "aaaaaaaaaaaaaaaaaaaaaa!"},
    )

    def run(self, data: bytes) -> Outcome:
        limits = ValidationLimits()

        class Repository:
            def get(self, uri: str) -> Schema:
                return read_schema(uri, data, limits)

            def uris(self) -> tuple[str, ...]:
                return ()

            def close(self) -> None:
                pass

        try:
            parse_document(data, "a.yaml", limits)
            compiled = Validator(Repository(), limits).compile("/a/1.0.0")
            found = 0
            for value in self._VALUES:
                violations = compiled.violations(value)
                found += len(violations)
                if compiled.is_valid(value) == bool(violations):
                    raise AssertionError(f"valid and violations disagree about {value!r}: {violations[:2]}")
        except HeadwaterError as error:
            return Outcome(error.code)
        return Outcome("compiled, with violations" if found else "compiled")


class _Files:
    """A target that is a file in a directory of its own."""

    stall_seconds_max = AUTHORS_SECONDS_MAX
    file = ""

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        with tempfile.TemporaryDirectory() as name:
            self._directory = Path(name)
            self._file = self._directory / self.file
            yield

    def run(self, data: bytes) -> Outcome:
        self._file.write_bytes(data)
        try:
            self._read(self._file)
        except HeadwaterError as error:
            return Outcome(error.code)
        return Outcome("read")

    def _read(self, file: Path) -> None:
        raise NotImplementedError


class StreamFiles(_Files):
    """Declarations of streams, read as from a file."""

    name = "streams"
    modules: Sequence[str] = (
        *("headwater.streams.registry", "headwater.streams.stream_format", "headwater.streams.stream_file"),
        *("headwater.streams.layers", "headwater.streams.files", "headwater.declaration", "headwater.streams.merge"),
    )
    examples: Sequence[bytes] = (
        b"stream: demo.edit\nschema_title: demo/edit\ndocs: {owner: 'team:x'}\ntransport:\n  partitions: 3\n",
        b"stream: /^jobs\\..+/\nschema_title: job\nprivacy: {class: private}\nproduce: {sample: {rate: 0.5}}\n",
        b"stream: demo.edit\nschema_title: a\nmonitor: {canary: {enabled: true}}\n"
        b"overrides:\n- when: {site: [x]}\n  set: {produce: {enabled: false}}\n  unset: [transport.partitions]\n",
        b'{"apiVersion":"streams/v1","kind":"Stream","stream":"demo.edit","schema_title":"demo/edit","event_time":"dt",'
        b'"exists":true,"lifecycle":{"stage":"stable","since":"2026-01-01","sunset":null},"docs":{"summary":"x",'
        b'"owner":"team:demo","links":[{"title":"a","url":"b"}],"tags":["t"]},"privacy":{"class":"public",'
        b'"pii_fields":["a.b"],"retention_override":"1d"},"transport":{"partitions":2,"message_key_fields":'
        b'{"wiki":"wiki"},"retention":"7d","topic_prefixes":["eqiad."],"compact":true,"retention_bytes":9,'
        b'"kafka":{"partitions":1,"cleanup_policy":["delete"],"retention_ms":5,"compression":"zstd"}},'
        b'"produce":{"enabled":true,"destination_event_service":"x","by":{"p":{"enabled":true}},"sample":{"rate":0.5,'
        b'"unit":"session","algorithm":"hash64","salt":"s"},"headers":{"http.x":"user-agent"},"deduplicate":false},'
        b'"producers":{"external":true},"consume":{"c":{"enabled":true}},"monitor":{"canary":{"enabled":true,'
        b'"period":"1m","required_within":"5m"},"expect":{"min_rate_per_hour":1.5,"max_lateness":"1h"}},"overrides":'
        b'[{"when":{"site":["enwiki"],"realm":"labs","site_group":"g"},"set":{"transport":{"partitions":1}},'
        b'"unset":["monitor"]}],"extra":{"a":[1,null]}}',
    )
    words: Sequence[bytes] = (
        *(name.encode() for name in _names(SHAPE)),
        *(b"7d", b"1m", b"P1D", b"public", b"private", b"enwiki", b"labs", b"delete", b"zstd", b"hash64", b"receive"),
        *_YAML_WORDS,
    )

    def run(self, data: bytes) -> Outcome:
        (self._directory / "families").mkdir(exist_ok=True)
        self._file = self._directory / ("families/x.yaml" if b"/^" in data else "demo.edit.yaml")
        try:
            return super().run(data)
        finally:
            self._file.unlink()

    def _read(self, file: Path) -> None:
        StreamRegistry.load(self._directory).entries()


class Settings(_Files):
    """The project's settings."""

    name = "settings"
    file = CONFIG_FILE
    modules: Sequence[str] = ("headwater.config", "headwater.declaration")
    examples: Sequence[bytes] = (
        b"log: sqlite:///var/events.db\nweb: {port: 8080, host: 127.0.0.1, hosts: [a.example]}\njobs: jobs\n",
        b"log:\n  url: kafka://a:9092,b\n  kafka: {security.protocol: ssl, x: 1}\nschemas:\n  base_uris: [schemas]\n",
        b'{"intake":{"request_bytes_max":2048,"error_stream":null,"dedupe_window_seconds":0.5,"test_events":[{"a":1}]},'
        b'"consumption":{"event_ids":"legacy","redacted_pages":{"a":["b"]},"stream_aliases":{"a":"b"}},'
        b'"monitoring":{"canaries":false,"hours_kept":9},"streams":{"path":"s","site":"x"},"control":{}}',
    )
    words: Sequence[bytes] = (
        *(
            b"log",
            b"url",
            b"schemas",
            b"streams",
            b"intake",
            b"consumption",
            b"jobs",
            b"monitoring",
            b"web",
            b"control",
        ),
        *(b"port", b"host", b"public_url", b"request_bytes_max", b"base_uris", b"kafka", b"hours_kept", b"http://"),
        *_YAML_WORDS,
    )

    def _read(self, file: Path) -> None:
        config = load_config(file.parent, environment={})
        _ = config.schema_base_uris, config.log_path, config.intake.error_stream_name
        if config.log.is_kafka:
            config.kafka_options({})


class KeyFiles(_Files):
    """The file of API keys, edited by hand or cut short."""

    name = "keys"
    file = "api-keys.json"
    modules: Sequence[str] = ("headwater.access.key_file",)
    examples: Sequence[bytes] = (
        b'[{"name":"a","hash":"' + b"0af9" * 16 + b'","scopes":["streams:read"],"created":"2026-01-01T00:00:00Z"},'
        b'{"name":"b","hash":"' + b"1" * 64 + b'","scopes":["a","b"],"created":"x","expires":"2026-12-31T00:00:00Z"}]',
        b"[]",
    )
    words: Sequence[bytes] = (
        b'"name"',
        b'"hash"',
        b'"scopes"',
        b'"expires"',
        b"null",
        b"[",
        b"]",
        b"{",
        b"},{",
        b"f" * 64,
    )

    def _read(self, file: Path) -> None:
        # A value that is not a list is refused by the caller, with the name of the file.
        with contextlib.suppress(ValueError):
            found = read_keys(file.read_bytes())
            if len(found.faults) != len(found.damaged):
                raise AssertionError("an entry has a fault but is not marked as damaged, or the reverse")


class LegacySettings(_Files):
    """Imports of MediaWiki's stream settings, in PHP or as JSON."""

    name = "legacy"
    modules: Sequence[str] = (
        *(
            "headwater.streams.legacy.php_arrays",
            "headwater.streams.legacy.source",
            "headwater.streams.legacy.importer",
        ),
        *("headwater.streams.legacy_settings", "headwater.streams.legacy_file"),
    )
    examples: Sequence[bytes] = (
        b"<?php\nreturn [ 'wgEventStreams' => [ 'default' => [ 'a.b' => [ 'schema_title' => 'a/b', 'sample' => "
        b"[ 'rate' => 0.5, 'unit' => 'session' ], ], ], '+enwiki' => [ 'a.b' => [ 'x' => true ] ] ] ];\n",
        b"<?php\n$wgEventStreams = array( 'default' => array( '/^x/' => array( 'topics' => [ \"y\\n\", ], ), ), );\n"
        b"// note\n$wgEventStreamsDefaultSettings = [ 'default' => [ 'topic_prefixes' => [ 'eqiad.' ] ] ];\n",
        b'{"streams":{"a.b":{"schema_title":"a/b","stream":"a.b","canary_events_enabled":true,"producers":{"x":{}},'
        b'"message_key_fields":{"a":"b"},"consumers":{"z":{"enabled":true}},"destination_event_service":"q"}}}',
        b'{"site_groups":{"g":["enwiki"]},"labs":{"streams":{"default":{"a":{"topics":["t"]}},"enwiki":{"a":null}}},'
        b'"production":{"default_settings":{"default":{"topic_prefixes":["eqiad."]}}}}',
    )
    words: Sequence[bytes] = (
        *(b"=>", b"[", b"],", b"array(", b")", b"'default'", b"'+enwiki'", b"'a.b'", b"null", b"true", b";", b"$a = "),
        *(b"/*", b"*/", b"//", b"#", b'"\\u{41}"', b"'\\''", b"-0x1F", b"1_000", b"<<<X", b"return ", b"<?php", b"?>"),
        *(b"schema_title", b"producers", b"consumers", b"topics", b"streams", b"default_settings", b"site_groups"),
    )

    def run(self, data: bytes) -> Outcome:
        self._file = self._directory / ("a.json" if data.lstrip()[:1] in (b"{", b"[") else "a.php")
        return super().run(data)

    def _read(self, file: Path) -> None:
        source = LegacySource()
        source.add(read_legacy_declaration(file))
        for name in imported(source).files:
            if (self._directory / name).resolve().parent != self._directory.resolve() and ".." in Path(name).parts:
                raise AssertionError(f"an import would write {name!r}")
