"""The settings: the sections of the configuration, each setting with its default, its meaning and its values.

The dataclasses of this package are the reference: a field's name is its key in `headwater.yaml`, its metadata says what
it means and which values are allowed, and docs/reference/configuration.md is generated from them. `config.py` reads
them.
"""

from headwater.settings.events import (
    ConsumptionConfig,
    ControlConfig,
    IntakeConfig,
    LogConfig,
    SchemasConfig,
    SourcesConfig,
    StreamsConfig,
)
from headwater.settings.processing import FlinkConfig, JobsConfig, LakeConfig, LookupsConfig, MediaWikiConfig
from headwater.settings.sections import SECTIONS
from headwater.settings.serving import MonitoringConfig, WebConfig
from headwater.settings.setting import REQUIRED, setting

__all__ = [
    "REQUIRED",
    "SECTIONS",
    "ConsumptionConfig",
    "ControlConfig",
    "FlinkConfig",
    "IntakeConfig",
    "JobsConfig",
    "LakeConfig",
    "LogConfig",
    "LookupsConfig",
    "MediaWikiConfig",
    "MonitoringConfig",
    "SchemasConfig",
    "SourcesConfig",
    "StreamsConfig",
    "WebConfig",
    "setting",
]
