"""`headwater log repair`: sets damaged parts of an embedded log aside, so that the rest can be used without them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.console import print_json, say
from headwater.cli.log.verbs import URL_PREFIX, Chosen, as_json_option, chosen_log
from headwater.errors import ConfigInvalid
from headwater.times import ms_of, utc_seconds

if TYPE_CHECKING:
    from headwater.log.sqlite.repair import RepairReport


@click.command(
    short_help="Set damaged parts of the log aside.",
    epilog="Example:  headwater log repair --project my-platform --dry-run",
)
@click.option("--dry-run", is_flag=True, help="Print what would be set aside; change nothing.")
@as_json_option
@chosen_log
def command(*, chosen: Chosen, dry_run: bool, as_json: bool) -> None:
    """Set aside what `headwater log verify` finds damaged, so that the rest can be used without it.

    It is first copied into a new directory next to the log. Its offsets stay empty: no other event gets them. The
    server must not be running. The exit code is 1 if damage remains that cannot be repaired.
    """
    from headwater.log.sqlite.owner import require_unowned
    from headwater.log.sqlite.repair import repair

    url = chosen.log_url()
    if not url.startswith(URL_PREFIX):
        raise ConfigInvalid(
            f"{url} is repaired by its brokers.", hint="Use `headwater log repair` for a log in SQLite: sqlite:///PATH."
        )
    path = Path(url.removeprefix(URL_PREFIX))
    if not path.is_file() and not path.with_name(f"{path.name}-wal").is_file():
        raise ConfigInvalid(f"There is no log at {path}.", hint="The first `headwater up` creates it.")
    require_unowned(path)
    now = utc_seconds(ms_of(time.time())).replace("-", "").replace(":", "")
    report = repair(path, path.with_name(f"{path.name}-damaged-{now}"), dry_run=dry_run)
    if as_json:
        print_json(report.as_dict())
    else:
        _say(report)
    if report.left:
        raise click.exceptions.Exit(1)


def _say(report: RepairReport) -> None:
    for one in report.set_aside:
        click.echo(f"{one.where}: {one.reason} → {one.action}")
    for damage in report.left:
        click.echo(f"{damage.where}: {damage.reason} → not repaired")
    if report.set_aside:
        done = f"set aside in {report.directory}" if report.done else f"would be set aside in {report.directory}"
        say(f"{len(report.set_aside)} {'thing' if len(report.set_aside) == 1 else 'things'} {done}.")
        if not report.done:
            say("Nothing was changed. Run it without --dry-run to repair.")
    if report.left:
        say(
            "The rest cannot be repaired in place: copy what can be read into a new log with `headwater log copy`, or"
            " restore the file from a backup."
        )
    elif not report.set_aside:
        say("Nothing is damaged.")
