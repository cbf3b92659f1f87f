"""The PostgreSQL source as a connector."""

from __future__ import annotations

from headwater.connectors.source_spec import SourceSpec
from headwater.connectors.sources.postgres_cdc.options import PostgresCdcOptions, check, filled_by, streams_of
from headwater.connectors.sources.postgres_cdc.source import FEATURES, PostgresCdc

SPEC = SourceSpec(
    name="postgres_cdc",
    summary="Reads rows of PostgreSQL tables, and each of their changes, by logical replication.",
    options=PostgresCdcOptions,
    make=lambda options, context: PostgresCdc(options, context.name),
    features=FEATURES,
    extra="postgres",
    streams=streams_of,
    fields=filled_by,
    check=check,
    example="""\
connector: postgres_cdc
url: ${env:SHOP_DATABASE}
tables:
  public.orders:
    stream: shop.order_change
    fields: {order_id: id, total: total, changelog_kind: $kind, version: $version, dt: $committed_at}
""",
)
