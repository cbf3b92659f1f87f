"""A query in Flink's SQL that calls a function of Python."""

from headwater.jobs import flink_sql


def tags_of(sensor: str, readings: int) -> list[str]:
    return [sensor.upper(), f"{readings} readings"]


@flink_sql(
    source="readings:1.0.0",
    sink="sums:1.0.0",
    functions={"tags_of": (tags_of, "ARRAY<STRING>")},
    out_of_order="1m",
)
def sums():
    """Readings of each sensor and minute."""
    return """
        SELECT window_end AS dt, sensor, window_start AS `start`, COUNT(*) AS readings, SUM(`value`) AS total,
               tags_of(sensor, COUNT(*)) AS tags
        FROM TABLE(TUMBLE(TABLE `readings`, DESCRIPTOR(`_event_time`), INTERVAL '1' MINUTE))
        GROUP BY sensor, window_start, window_end
    """
