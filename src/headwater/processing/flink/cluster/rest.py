"""Requests to the REST interface of a Flink cluster, each with a time limit and a limit on its answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from headwater.errors import FlinkRefused, FlinkUnavailable
from headwater.processing.flink.reasons import java_reason

ANSWER_BYTES_MAX = 33_554_432

_CLASS = re.compile(r"^<?(?:Exception on server side:\s*)?")


class FlinkRest:
    """The interface at `url`. Belongs to one event loop; close it after use."""

    def __init__(
        self, url: str, *, request_seconds_max: float = 10.0, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """`transport`: instead of one that opens connections."""
        self.url = url.rstrip("/")
        # A proxy named by the environment is not used: only the configuration says where requests go.
        self._client = httpx.AsyncClient(timeout=request_seconds_max, transport=transport, trust_env=False)

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        body: Mapping[str, Any] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The answer, a JSON object. Raises FlinkUnavailable, FlinkRefused."""
        answer = await self._answer(path, method, None if body is None else orjson.dumps(body), parameters or {})
        if not isinstance(answer, dict):
            raise self._unreadable(path, "it is not a JSON object")
        return answer

    async def ask_list(self, path: str, parameters: Mapping[str, str] | None = None) -> list[Any]:
        """The answer, a JSON array. Raises FlinkUnavailable, FlinkRefused."""
        answer = await self._answer(path, "GET", None, parameters or {})
        if not isinstance(answer, list):
            raise self._unreadable(path, "it is not a JSON array")
        return answer

    async def _answer(self, path: str, method: str, body: bytes | None, parameters: Mapping[str, str]) -> Any:
        headers = {"content-type": "application/json"} if body is not None else {}
        try:
            async with self._client.stream(
                method, f"{self.url}{path}", content=body, params=dict(parameters), headers=headers
            ) as response:
                content = bytearray()
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > ANSWER_BYTES_MAX:
                        raise self._unreadable(path, f"it has more than {ANSWER_BYTES_MAX} bytes")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise FlinkUnavailable(
                f"The Flink cluster at {self.url} does not answer: {str(error) or type(error).__name__}",
                hint="Is it running, and is flink.url the address of its REST interface?",
            ) from error
        if response.is_success and not content.strip():
            return {}
        try:
            answer = orjson.loads(bytes(content))
        except orjson.JSONDecodeError as error:
            raise self._unreadable(path, f"it is not JSON, and its status is {response.status_code}") from error
        if not response.is_success:
            raise self._refused(response.status_code, answer)
        return answer

    def _refused(self, status: int, answer: Any) -> FlinkRefused | FlinkUnavailable:
        errors = answer.get("errors") if isinstance(answer, dict) else None
        texts = [str(one) for one in errors] if isinstance(errors, list) else []
        # The first of two says nothing: "Internal server error."
        reason = java_reason(_CLASS.sub("", texts[-1])) if texts else f"status {status}"
        if status == 503:
            return FlinkUnavailable(f"The Flink cluster at {self.url} is not ready: {reason}")
        return FlinkRefused(f"The Flink cluster at {self.url} refused: {reason}")

    def _unreadable(self, path: str, why: str) -> FlinkUnavailable:
        return FlinkUnavailable(
            f"What answers at {self.url}{path} is not the REST interface of a Flink cluster: {why}.",
            hint="Set flink.url to its address, such as http://flink:8081.",
        )
