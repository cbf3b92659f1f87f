"""The sections of the configuration, by the name that each has in `headwater.yaml`."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

from headwater.settings.events import (
    ConsumptionConfig,
    ControlConfig,
    IntakeConfig,
    LogConfig,
    SchemasConfig,
    SourcesConfig,
    StreamsConfig,
)
from headwater.settings.processing import FlinkConfig, JobsConfig, LakeConfig, LookupsConfig
from headwater.settings.serving import MonitoringConfig, WebConfig

SECTIONS: Mapping[str, type[Any]] = types.MappingProxyType(
    {
        "log": LogConfig,
        "schemas": SchemasConfig,
        "streams": StreamsConfig,
        "sources": SourcesConfig,
        "control": ControlConfig,
        "intake": IntakeConfig,
        "consumption": ConsumptionConfig,
        "jobs": JobsConfig,
        "lookups": LookupsConfig,
        "flink": FlinkConfig,
        "monitoring": MonitoringConfig,
        "lake": LakeConfig,
        "web": WebConfig,
    }
)
