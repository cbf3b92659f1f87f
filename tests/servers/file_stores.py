"""The stores for files that sinks of files are tested on, and how each is reached."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from servers.hdfs import HdfsServer
from servers.moto import KEY, MotoServer
from servers.s3proxy import ACCESS_KEY, SECRET_KEY, S3proxyServer

LOCAL = "local"
REMOTE = ("s3", "s3 that checks signatures", "hdfs")


def new_store(kind: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of an empty place for files, with its `location`; that of local files is relative to the project."""
    if kind == LOCAL:
        return {"location": "lake"}
    name = f"lake-{uuid.uuid4().hex}"
    if kind == "hdfs":
        hdfs: HdfsServer = request.getfixturevalue("hdfs")
        return {"location": f"hdfs://{hdfs.address}/{name}", "user": "root"}
    server: MotoServer | S3proxyServer = request.getfixturevalue("moto" if kind == "s3" else "s3proxy")
    keys = (KEY, KEY) if isinstance(server, MotoServer) else (ACCESS_KEY, SECRET_KEY)
    how = {"endpoint": server.endpoint, "region": "us-east-1", "access_key": keys[0], "secret_key": keys[1]}
    return {"location": f"s3://{server.new_bucket(name)}/wmf", **how}
