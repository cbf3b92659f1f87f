"""Writes objects of S3 that must not exist yet, by signed conditional requests, which pyarrow has none of."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import re
import time
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlsplit

from headwater.errors import SinkUnavailable
from headwater.times import ms_of, utc_seconds

ANSWER_BYTES_MAX = 65_536
_ALGORITHM = "AWS4-HMAC-SHA256"
_SIGNED = ("host", "if-none-match", "x-amz-content-sha256", "x-amz-date")
_REASON = re.compile(r"<(Code|Message)>([^<]{1,300})<")

# "unknown": the store knows no conditional writes, and says so.
Answer = Literal["created", "exists", "unknown"]


@dataclass(frozen=True, slots=True)
class Signer:
    """Whose requests they are, and in which region; requests are signed with version 4 of Amazon's signatures."""

    region: str
    access_key: str
    secret_key: str

    def headers(self, host: str, path: str, content: bytes, now: float) -> dict[str, str]:
        """The headers of a conditional PUT of this content, at this time (epoch seconds)."""
        moment = utc_seconds(ms_of(now)).replace("-", "").replace(":", "")
        scope = f"{moment[:8]}/{self.region}/s3/aws4_request"
        digest = hashlib.sha256(content).hexdigest()
        headers = dict(zip(_SIGNED, (host, "*", digest, moment), strict=True))
        listed = "".join(f"{name}:{value}\n" for name, value in headers.items())
        request = "\n".join(("PUT", path, "", listed, ";".join(_SIGNED), digest))
        to_sign = "\n".join((_ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()))
        key = f"AWS4{self.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        signed = f"Credential={self.access_key}/{scope}, SignedHeaders={';'.join(_SIGNED)}, Signature={signature}"
        return {**headers, "authorization": f"{_ALGORITHM} {signed}"}


class ConditionalWrites:
    """Creates the objects of one bucket. Calls block; they may come from any thread."""

    def __init__(self, bucket: str, endpoint: str | None, signer: Signer, seconds_max: float) -> None:
        """`endpoint`: of a store that is not Amazon's, `http(s)://HOST:PORT`."""
        self._bucket = bucket
        self._signer = signer
        self._seconds_max = seconds_max
        self._address, self._above = _addressed(bucket, endpoint, signer.region)

    def create(self, key: str, content: bytes) -> Answer:
        """Store an object if there is none of that key. Raises SinkUnavailable; it is not known then whether it was."""
        parts = urlsplit(self._address)
        path = quote(f"{self._above}/{key}", safe="/-_.~")
        headers = self._signer.headers(parts.netloc, path, content, time.time())
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.netloc, timeout=self._seconds_max)
        try:
            connection.request("PUT", path, body=content, headers=headers)
            # It has the socket as long as it is not read to its end.
            with connection.getresponse() as response:
                answer = response.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
            raise SinkUnavailable(f"s3://{self._bucket}/{key} cannot be written: {why}") from error
        finally:
            connection.close()
        if response.status in (200, 201, 204):
            return "created"
        if response.status == 412:
            return "exists"
        if response.status == 501:
            return "unknown"
        found = dict(_REASON.findall(answer.decode("utf-8", "replace")))
        reason = ": ".join(found[name] for name in ("Code", "Message") if name in found)
        raise SinkUnavailable(
            f"s3://{self._bucket}/{key} cannot be written: {reason or f'HTTP status {response.status}'}"
        )


def _addressed(bucket: str, endpoint: str | None, region: str) -> tuple[str, str]:
    """The address of the store, and what is in front of a key in the path of a request."""
    if endpoint is not None:
        return endpoint.rstrip("/"), f"/{bucket}"
    domain = f"s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
    # Amazon's certificates do not cover names with further dots.
    return (f"https://{domain}", f"/{bucket}") if "." in bucket else (f"https://{bucket}.{domain}", "")
