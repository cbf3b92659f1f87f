"""Every log that several processes can share keeps that contract."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from headwater.log.contract import Log
from headwater.log.kafka.log import KafkaLog
from headwater.log.kafka.membership import KafkaMembership
from headwater.testing.oracle_kafka import OracleBrokers, OracleKafkaLog, OracleMembership
from headwater.testing.suites.shared_log import GroupLogSuite, NewLog


class TestOracleKafkaLog(GroupLogSuite):
    implementations = (OracleKafkaLog, OracleMembership)

    @pytest.fixture
    async def new_log(self) -> AsyncIterator[NewLog]:
        brokers = OracleBrokers()
        made: list[Log] = []

        async def another() -> Log:
            made.append(OracleKafkaLog(brokers))
            await made[-1].open()
            return made[-1]

        yield another
        for log in made:
            await log.close()


class TestKafkaLog(GroupLogSuite):
    implementations = (KafkaLog, KafkaMembership)

    @pytest.fixture
    async def new_log(self, kafka_server: str) -> AsyncIterator[NewLog]:
        url = f"kafka://{kafka_server}/shared-suite-{uuid.uuid4().hex[:10]}."
        made: list[Log] = []

        async def another() -> Log:
            made.append(KafkaLog(url))
            await made[-1].open()
            return made[-1]

        yield another
        for log in made:
            await log.close()
