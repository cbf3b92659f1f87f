"""The fuzz targets: everything that reads bytes of clients, authors, other programs and disks."""

from __future__ import annotations

from headwater.testing.fuzzing.campaign import Target
from headwater.testing.fuzzing.documents import KeyFiles, LegacySettings, Schemas, Settings, StreamFiles
from headwater.testing.fuzzing.served import Bodies, CloudEvents, Requests, Routes
from headwater.testing.fuzzing.texts import Filters, StreamConfigs, Tokens
from headwater.testing.fuzzing.wire import Batches, EventFiles, Events, Feeds, ProducerAnswers, RemoteSchemas

# Bytes from the network come first.
TARGETS: dict[str, Target] = {
    one.name: one
    for one in (
        *(Bodies(), CloudEvents(), Requests(), Routes()),
        *(Events(), Filters(), Tokens(), StreamConfigs()),
        *(RemoteSchemas(), ProducerAnswers(), Feeds(), EventFiles(), Batches()),
        *(Schemas(), StreamFiles(), Settings(), KeyFiles(), LegacySettings()),
    )
}
