"""Every page has the same header, its links lead on from wherever the page is, and nothing on a page leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urljoin

import httpx

from headwater.cli.init import write_project
from headwater.config import load_config
from headwater.testing.service_kit import served_project
from headwater.web.schema_server import create_schema_app, indexes_of

PAGES = {
    "/": "Live",
    "/repositories/": "Schemas",
    "/repositories/?q=wiki": "Schemas",
    "/repositories/schemas/jsonschema/demo/edit/": "Schemas",
    "/tables": "Tables",
    "/monitoring": "Monitoring",
    "/monitoring?show=broken": "Monitoring",
    "/?doc": "API",
}
HTML = {"accept": "text/html"}


def links_of(page: str) -> list[str]:
    return re.findall(r'(?:href|src)="([^"#]+)', page)


def header_of(page: str, address: str) -> dict[str, str]:
    navigation = re.search(r'<nav class="links".*?</nav>', page, re.DOTALL)
    assert navigation
    found = re.findall(r'href="([^"]+)"[^>]*>([^<]+)<', navigation[0])
    return {name: urljoin(address, path) for path, name in found}


def test_every_page_has_the_same_header_and_no_dead_link(tmp_path: Path) -> None:
    write_project(tmp_path)
    headers: list[dict[str, str]] = []
    links: set[str] = set()
    with served_project(tmp_path) as (address, _), httpx.Client(base_url=address, headers=HTML) as client:
        for path, here in PAGES.items():
            answer = client.get(path)
            assert answer.status_code == 200, path
            headers.append(header_of(answer.text, address + path))
            current = re.search(r'aria-current="page">([^<]+)<', answer.text)
            assert current, path
            assert current[1] == here
            links.update(urljoin(address + path, link.replace("&amp;", "&")) for link in links_of(answer.text))
        assert all(header == headers[0] for header in headers)
        assert list(headers[0]) == ["Live", "Schemas", "Tables", "Monitoring", "API", "Metrics"]
        for link in sorted(links):
            if link.startswith(address) and "/v2/stream/" not in link:  # a stream does not end
                assert client.get(link, follow_redirects=True).status_code == 200, link


async def test_the_schema_service_by_itself_leads_to_no_page_it_does_not_have(tmp_path: Path) -> None:
    write_project(tmp_path)
    app = create_schema_app(indexes_of(load_config(tmp_path, environment={}).schemas.base_uris, tmp_path))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://schemas.test", headers=HTML) as client:
        path = "/repositories/schemas/jsonschema/demo/edit/"
        page = (await client.get(path)).text
        assert '<nav class="links"' not in page
        for link in {urljoin(f"http://schemas.test{path}", link.replace("&amp;", "&")) for link in links_of(page)}:
            assert (await client.get(link)).status_code == 200, link
