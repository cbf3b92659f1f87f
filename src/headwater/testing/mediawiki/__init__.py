"""A stand-in for the web API of MediaWiki wikis: pages, revisions and links from files, failures by rules.

`MediaWikiStandIn` is a whole farm of wikis in one object; `serving()` puts it on a port of the loopback address, and
`python -m headwater.testing.mediawiki` does so from the command line.
"""

from headwater.testing.mediawiki.request_log import LoggedRequest
from headwater.testing.mediawiki.rules import (
    ApiError,
    Close,
    Empty,
    Garbage,
    Http,
    MaxLag,
    Missing,
    NoContent,
    Pass,
    RateLimit,
    Rule,
    Slow,
    read_rules,
)
from headwater.testing.mediawiki.serving import serving, serving_in_thread
from headwater.testing.mediawiki.stand_in import MediaWikiStandIn, StandInSettings

__all__ = [
    "ApiError",
    "Close",
    "Empty",
    "Garbage",
    "Http",
    "LoggedRequest",
    "MaxLag",
    "MediaWikiStandIn",
    "Missing",
    "NoContent",
    "Pass",
    "RateLimit",
    "Rule",
    "Slow",
    "StandInSettings",
    "read_rules",
    "serving",
    "serving_in_thread",
]
