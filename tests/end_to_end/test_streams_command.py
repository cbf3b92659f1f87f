"""`headwater streams` and `headwater check` as people use them, on the real configuration and on a new project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from headwater.cli.main import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def imported(fixtures_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose streams were imported from the real configuration."""
    project = tmp_path_factory.mktemp("project")
    streams = fixtures_dir / "streams"
    result = run(
        *("streams", "import", streams / "wikimedia_streams.yaml", streams / "wikimedia_streams_overrides.yaml"),
        *("--into", project / "streams"),
    )
    assert (result.exit_code, "Differs" in result.stderr) == (0, False), result.output
    assert "headwater check" in result.stdout
    schemas = fixtures_dir / "schemas" / "primary" / "jsonschema"
    (project / "headwater.yaml").write_text(f"schemas: ['{schemas}']\n", encoding="utf-8")
    return project


def test_the_real_configuration_goes_through_import_and_export_unchanged(
    imported: Path, fixtures_dir: Path, tmp_path: Path
) -> None:
    result = run("streams", "export", "--legacy", "--project", imported, "--into", tmp_path)
    assert result.exit_code == 0, result.output
    for name, original in (("streams", "wikimedia_streams"), ("overrides", "wikimedia_streams_overrides")):
        ours = yaml.safe_load((tmp_path / f"{name}.yaml").read_text(encoding="utf-8"))
        theirs = yaml.safe_load((fixtures_dir / "streams" / f"{original}.yaml").read_text(encoding="utf-8"))
        assert ours == theirs
    printed = run("streams", "export", "--legacy", "--project", imported, "--json", "--overrides")
    assert json.loads(printed.stdout) == yaml.safe_load((tmp_path / "overrides.yaml").read_text(encoding="utf-8"))


def test_the_check_of_the_real_configuration_lists_findings_with_rule_file_and_line(imported: Path) -> None:
    result = run("check", "--project", imported, "--json")
    problems = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    (canary,) = [one for one in problems if one["rule"] == "canary-impossible"]
    assert "webrequest.page_trending.dev0" in canary["message"]
    assert (canary["file"], canary["severity"]) == ("streams/defaults.yaml", "error")
    assert all(one["file"] and one["line"] and one["hint"] and one["rule"] for one in problems)
    assert "note" not in {one["severity"] for one in problems}
    as_text = run("check", "--project", imported, "--notes")
    assert "[undocumented]" in as_text.stdout
    assert "warning: " in as_text.stdout


def test_explain_says_who_set_what_and_what_that_covered(imported: Path) -> None:
    lines = run(
        "streams", "explain", "mediawiki.web_ui_actions", "--site", "enwiki", "--project", imported
    ).stdout.splitlines()
    assert lines[0] == "mediawiki.web_ui_actions for site enwiki"
    place = next(number for number, line in enumerate(lines) if "produce.sample.rate" in line)
    assert "0.01  ← mediawiki.web_ui_actions.yaml:" in lines[place]
    assert "(site enwiki, realm production)" in lines[place]
    assert "0.2  ← mediawiki.web_ui_actions.yaml:" in lines[place + 1]
    as_json = run("streams", "explain", "mediawiki.web_ui_actions", "--json", "--project", imported)
    keys = {tuple(one["key"]): one for one in map(json.loads, as_json.stdout.splitlines())}
    assert keys["produce", "sample", "rate"]["value"] == 0.2
    assert keys["consume", "analytics_hadoop_ingestion", "enabled"]["layer"] == "defaults.yaml"


def test_explain_finds_families_and_near_names(imported: Path) -> None:
    member = run("streams", "explain", "mediawiki.job.refreshLinks", "--project", imported)
    assert "is a member of the family" in member.stdout
    wrong = run("streams", "explain", "mediawiki.page_chnage.v1", "--project", imported)
    assert (wrong.exit_code, 'Did you mean "mediawiki.page_change.v1"?' in wrong.stderr) == (1, True)
    elsewhere = run("streams", "explain", "desktop_mobile_link_clicks", "--project", imported)
    assert "The stream does not exist on this site" in elsewhere.stdout


def test_list_takes_the_legacy_constraints_and_a_site(imported: Path) -> None:
    asked = ("streams", "list", "--project", imported, "--json", "--where", "sample[unit]=session")
    names = [json.loads(line)["name"] for line in run(*asked).stdout.splitlines()]
    assert "mediawiki.web_ui_actions" in names
    everywhere = run("streams", "list", "--project", imported).stdout
    there = run("streams", "list", "--project", imported, "--realm", "beta", "--site", "enwiki").stdout
    assert ("desktop_mobile_link_clicks" in everywhere, "desktop_mobile_link_clicks" in there) == (False, True)


def test_a_legacy_file_is_explained_and_listed_as_it_is(fixtures_dir: Path) -> None:
    path = fixtures_dir / "streams" / "wikimedia_streams.yaml"
    assert "mediawiki.page_change.v1" in run("streams", "list", "--streams", path).stdout
    assert "produce.sample.rate" in run("streams", "explain", "mediawiki.web_ui_actions", "--streams", path).stdout


def test_the_json_schema_is_printed(imported: Path) -> None:
    schema = json.loads(run("streams", "schema").stdout)
    assert schema["properties"]["transport"]["properties"]["partitions"]["type"] == "integer"


def test_import_leaves_a_directory_with_something_in_it_alone(
    imported: Path, fixtures_dir: Path, tmp_path: Path
) -> None:
    path = fixtures_dir / "streams" / "wikimedia_streams.yaml"
    result = run("streams", "import", path, "--into", imported / "streams")
    assert (result.exit_code, "is not empty" in result.stderr) == (2, True)
    nothing = tmp_path / "nothing.yaml"
    nothing.write_text("a: 1\n", encoding="utf-8")
    unknown = run("streams", "import", nothing, "--into", tmp_path / "new")
    assert (unknown.exit_code, "nothing.yaml:1: is not a stream configuration" in unknown.stderr) == (2, True)
    assert not (tmp_path / "new").exists()


def test_export_says_aloud_what_the_legacy_shape_cannot_say(tmp_path: Path) -> None:
    text = "stream: s\nschema_title: t\noverrides:\n- {when: {site: a, site_group: g}, set: {docs: {summary: x}}}\n"
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    result = run("streams", "export", "--legacy", "--streams", tmp_path)
    assert (result.exit_code, yaml.safe_load(result.stdout)["stream_count"]) == (1, 1)
    assert "Not exported: override 1 of s.yaml" in result.stderr


def test_the_site_of_the_project_decides_what_its_platform_serves(imported: Path, tmp_path: Path) -> None:
    from headwater.config import load_config
    from headwater.platform import build

    rates = {}
    for site in ("enwiki", "testwiki", "dewiki"):
        text = f"schemas: schemas\nstreams: {{path: {imported / 'streams'}, site: {site}}}\n"
        (tmp_path / "headwater.yaml").write_text(text, encoding="utf-8")
        (tmp_path / "schemas").mkdir(exist_ok=True)
        sample = build(load_config(tmp_path)).streams.get("mediawiki.web_ui_actions").sample
        rates[site] = sample["rate"] if sample else None
    assert rates == {"enwiki": 0.01, "testwiki": 1, "dewiki": 0.2}
