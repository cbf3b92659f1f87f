"""`headwater schema`: a repository is started, made, moved on, imported and described from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headwater.cli import main

GIT = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]


def run(*arguments: str, code: int = 0, given: str | None = None) -> Result:
    result = CliRunner().invoke(main, ["schema", *arguments], input=given)
    assert result.exit_code == code, result.output
    return result


def git(*arguments: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run([*GIT, *arguments], check=True, capture_output=True, text=True, env=environment)
    return done.stdout.strip()


def files(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with a fragment and a schema that uses it, both made and committed."""
    root = tmp_path / "schemas"
    root.mkdir()
    monkeypatch.chdir(root)
    git("init", "-q")
    run("new", "fragment/common", "--field", "wiki:string!")
    run("materialize")
    run("new", "page/edit", "--field", "bytes:integer!", "--include", "/fragment/common/1.0.0#")
    run("materialize")
    git("add", ".")
    git("commit", "-qm", "start")
    return root


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_project_comes_with_schemas_that_their_current_files_come_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CliRunner().invoke(main, ["init", str(tmp_path / "project")], catch_exceptions=False)
    monkeypatch.chdir(tmp_path / "project")

    assert run("materialize", "--check").stdout == ""
    run("new", "shop/order", "--field", "total:integer!")
    run("materialize", "shop/order")
    checked = CliRunner().invoke(main, ["check"])
    assert checked.exit_code == 0, checked.output


def test_check_finds_what_is_stale_and_writes_nothing(root: Path) -> None:
    edit(root / "jsonschema/page/edit/current.yaml", "$ref: '#/$id'", "$ref: '#/title'")
    before = files(root)

    assert run("materialize", "--check", code=1).stdout == "changed: jsonschema/page/edit/1.0.0.yaml\n"
    lines = run("materialize", "page/edit", "--dry-run", "--json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"file": "jsonschema/page/edit/1.0.0.yaml", "state": "different", "written": False, "link_to": None}
    ]
    assert files(root) == before
    run("materialize", str(root / "jsonschema/page/edit/current.yaml"))
    assert run("materialize", "--check").stdout == ""


def test_a_failure_anywhere_means_that_nothing_is_written(root: Path) -> None:
    edit(root / "jsonschema/fragment/common/current.yaml", "type: string", "type: integer")
    (root / "jsonschema/bad").mkdir()
    (root / "jsonschema/bad/current.yaml").write_text("$id: /bad/1.0.0\n$ref: /none/1.0.0#\n")
    before = files(root)

    failed = run("materialize", code=2)

    assert "bad/current.yaml refers to /none/1.0.0" in failed.stderr
    assert files(root) == before


def test_what_is_no_schema_never_becomes_a_version(root: Path) -> None:
    edit(root / "jsonschema/page/edit/current.yaml", "type: integer", "type: itneger")
    before = files(root)
    told = run("materialize", "page/edit", code=2)
    lines = (root / "jsonschema/page/edit/current.yaml").read_text(encoding="utf-8").splitlines()
    line = next(number for number, line in enumerate(lines, 1) if "itneger" in line)
    assert f"jsonschema/page/edit/current.yaml:{line}:9: `type` is one of string, integer" in told.output
    assert files(root) == before


def test_standard_input_is_materialized_to_standard_output_or_a_directory(root: Path, tmp_path: Path) -> None:
    current = (root / "jsonschema/page/edit/current.yaml").read_text()
    made = (root / "jsonschema/page/edit/1.0.0.yaml").read_text()

    assert run("materialize", "-", "--stdout", given=current).stdout == made
    run("materialize", "-", "--output-dir", str(tmp_path / "out"), given=current)
    assert (tmp_path / "out/1.0.0.yaml").read_text() == made
    assert "needs --stdout" in run("materialize", "-", code=2, given=current).stderr
    assert "$ref" not in run("dereference", given=current).stdout


def test_modified_and_staged_schemas_are_made_and_staged(root: Path) -> None:
    run("bump", "fragment/common", "--minor")
    run("new", "page/move")
    assert "fragment/common/1.1.0.yaml" in run("materialize", "--modified").stdout
    assert (root / "jsonschema/page/move/1.0.0.yaml").exists()
    assert "A  jsonschema/fragment/common/1.1.0.yaml" in git("status", "--porcelain")

    git("reset", "-q")
    git("add", "jsonschema/fragment/common/current.yaml")
    (root / "jsonschema/fragment/common/1.1.0.yaml").unlink()
    (root / "jsonschema/page/move/1.0.0.yaml").unlink()
    run("materialize", "--staged", "--no-git-add")
    assert (root / "jsonschema/fragment/common/1.1.0.yaml").exists()
    assert not (root / "jsonschema/page/move/1.0.0.yaml").exists()
    assert "A  jsonschema/fragment/common/1.1.0.yaml" not in git("status", "--porcelain")


def test_a_changed_fragment_is_bumped_and_its_users_follow(root: Path) -> None:
    edit(root / "jsonschema/fragment/common/current.yaml", "properties:", "properties:\n  lang:\n    type: string")
    assert json.loads(run("bump", "fragment/common", "--suggest", "--json").stdout)["level"] == "minor"
    run("bump", "fragment/common", "--materialize")

    assert "behind  page/edit" in run("graph", "fragment/common").stdout
    said = run("upgrade-fragment", "fragment/common", "--dry-run").stdout
    assert "/fragment/common/1.0.0# → /fragment/common/1.1.0#" in said
    assert "/page/edit/1.0.0 → /page/edit/1.1.0" in said
    assert not (root / "jsonschema/page/edit/1.1.0.yaml").exists()
    run("upgrade-fragment", "fragment/common")

    assert "lang:" in (root / "jsonschema/page/edit/1.1.0.yaml").read_text()
    assert run("graph", "--behind").stdout == ""
    uses = [json.loads(line) for line in run("graph", "--format", "json").stdout.splitlines()]
    assert [(use["user"], use["version"], use["behind"]) for use in uses] == [("page/edit", "1.1.0", False)]
    assert run("graph", "--format", "dot").stdout.startswith("digraph")
    assert run("materialize", "--check").stdout == ""
    assert git("status", "--porcelain", "jsonschema/page/edit/1.0.0.yaml") == ""


def test_another_repository_is_imported_and_conflicts_stop_it(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run("new", "shop/order", "-r", str(other))
    run("materialize", "-r", str(other))

    run("import", str(other), "--dry-run")
    assert not (root / "jsonschema/shop").exists()
    run("import", str(other))
    assert (root / "jsonschema/shop/order/1.0.0.yaml").exists()
    assert "0 new files" in run("import", str(other)).stderr

    edit(other / "jsonschema/shop/order/1.0.0.yaml", "title: shop/order", "title: shop/order\nx-more: 1")
    before = files(root)
    assert "exists already with different content" in run("import", str(other), code=2).stderr
    assert files(root) == before


def test_a_repository_is_pinned_at_a_commit_and_its_fragments_resolve(root: Path, tmp_path: Path) -> None:
    secondary = tmp_path / "secondary"
    run("new", "app/click", "-r", str(secondary), "--include", "/fragment/common/1.0.0#")
    assert "is in no schema repository" in run("materialize", "-r", str(secondary), code=2).stderr

    run("import", str(root), "--revision", "HEAD", "--pin", "primary", "-r", str(secondary))
    run("materialize", "-r", str(secondary))
    assert "wiki:" in (secondary / "jsonschema/app/click/1.0.0.yaml").read_text()
    assert f"@{git('rev-parse', 'HEAD')}" in (secondary / ".jsonschema-tools.yaml").read_text()

    edit(secondary / ".headwater/primary/fragment/common/1.0.0.yaml", "string", "integer")
    assert "has changed" in run("materialize", "-r", str(secondary), code=2).stderr


def test_a_registry_export_becomes_titles_and_versions(root: Path, tmp_path: Path) -> None:
    customer = {"type": "object", "properties": {"name": {"type": "string"}}}
    orders = {"type": "object", "properties": {"id": {"type": "integer"}, "by": {"$ref": "customer.json"}}}
    more = {"type": "object", "properties": {**orders["properties"], "note": {"type": "string"}}}
    reference = [{"name": "customer.json", "subject": "customer", "version": 1}]
    entries = [
        {"subject": "orders-value", "version": 2, "schemaType": "JSON", "schema": more, "references": reference},
        {"subject": "orders-value", "version": 1, "schemaType": "JSON", "schema": orders, "references": reference},
        {"subject": "customer", "version": 1, "schemaType": "JSON", "schema": customer},
        {"subject": "old", "version": 1, "schema": {"type": "record"}},
    ]
    export = tmp_path / "export.json"
    export.write_text(json.dumps([{**entry, "schema": json.dumps(entry["schema"])} for entry in entries]))

    said = run("import", str(export), "--prefix", "registry").stderr

    assert "AVRO" in said
    versions = sorted(path.name for path in (root / "jsonschema/registry/orders").iterdir())
    assert versions == ["1.0.0.yaml", "1.1.0.yaml", "current.yaml"]
    assert "name:" in (root / "jsonschema/registry/orders/1.1.0.yaml").read_text()
    assert "$ref: /registry/customer/1.0.0" in (root / "jsonschema/registry/orders/current.yaml").read_text()
    assert run("materialize", "--check").stdout == ""

    export.write_text(json.dumps([{**entries[0], "schema": json.dumps(more), "version": 3}]))
    assert "The export lacks entries" in run("import", str(export), "--prefix", "other", code=2).stderr


def test_pages_say_what_a_schema_holds_and_link_to_each_other(root: Path, tmp_path: Path) -> None:
    edit(root / "jsonschema/page/edit/current.yaml", "'TODO: describe `bytes`.'", "<b>|bytes|")
    run("materialize")

    page = run("docs", "page/edit").stdout
    assert "| `bytes` | integer | yes |  | &lt;b>\\|bytes\\| |" in page
    assert "fragment/common 1.0.0" in page
    run("docs", "--output-dir", str(tmp_path / "site"), "--format", "html")

    links: list[Path] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            links.extend(file.parent / str(value) for name, value in attrs if name == "href")
            assert tag != "b"

    for file in (tmp_path / "site").rglob("*.html"):
        Links().feed(file.read_text())
    assert len(links) >= 6
    assert all(link.is_file() for link in links)


def test_legacy_short_flags_work_and_a_dry_run_writes_nothing(root: Path, tmp_path: Path) -> None:
    current = "jsonschema/page/edit/current.yaml"
    before = files(root)
    settings = root / ".jsonschema-tools.yaml"
    run("legacy", "materialize-all", "-n", "-c", "yaml,json")
    assert files(root) == before

    run("legacy", "materialize", "-c", "yaml", "-c", "json", "-S", "-L", "-D", "-o", str(tmp_path / "out"), current)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1.0.0.json", "1.0.0.yaml"]
    assert "allOf:" in (tmp_path / "out/1.0.0.yaml").read_text()
    assert "allOf:" not in run("legacy", "materialize", "-O", current).stdout
    assert json.loads(run("legacy", "dereference", "-c", "json", current).stdout)["title"] == "page/edit"
    assert "No such command" in run("legacy", "rebuild", code=2).stderr

    settings.write_text("schemaBasePath: jsonschema\ncontentTypes: [yaml]\n")
    run("legacy", "materialize-all")
    assert (root / "jsonschema/page/edit/latest").readlink() == Path("1.0.0.yaml")


def test_the_hook_makes_staged_schemas_and_does_not_block_where_the_tool_is_missing(root: Path) -> None:
    run("legacy", "install-git-hook")
    tools = root.parent / "tools"
    tools.mkdir()
    script = tools / "headwater"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from headwater.cli import main; main()' \"$@\"\n")
    script.chmod(0o755)
    run("bump", "page/edit", "--minor")
    git("add", "jsonschema/page/edit/current.yaml")

    git("commit", "-qm", "with", environment={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"})
    assert "jsonschema/page/edit/1.1.0.yaml" in git("show", "--name-only", "--format=")
    assert "+$id: /page/edit/1.1.0" in run("legacy", "diff").stdout

    run("bump", "page/edit", "--minor")
    git("add", "jsonschema/page/edit/current.yaml")
    script.unlink()
    found = {**os.environ, "PATH": "/usr/bin:/bin"}
    git("commit", "-qm", "without", environment=found)
    assert "1.2.0.yaml" not in git("show", "--name-only", "--format=")
