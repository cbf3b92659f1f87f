"""Commits of an Iceberg table: rows and token together, and never on top of what another process has committed.

How this works: the token is a property of the snapshot with the rows, and the newest one among the ancestors of the
branch `main` counts; so after a rollback of the table its rows are written again. It is a property of the table as
well, in case another engine has removed the snapshot. A commit requires the snapshot whose token was compared to be
the branch's last one. PyIceberg itself repeats an append that fails because of that on top of the new last one:
`OneAttempt` does not.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Operation, Snapshot
from pyiceberg.table.update import AssertTableUUID
from pyiceberg.table.update.snapshot import _OverwriteFiles

from headwater.connectors.sinks.iceberg.files import DataFiles
from headwater.connectors.sinks.iceberg.merging import BranchChange

TOKEN = "headwater.token"


class OneAttempt(Transaction):
    """A transaction that is not repeated on top of another commit.

    The property `commit.retry.num-retries` of a table does not do this: with 0, PyIceberg takes a commit that a proxy
    has sent again, because its answer was lost, for one that has failed, and deletes its manifests.
    """

    def commit_transaction(self) -> Table:
        """As PyIceberg's. Raises CommitFailedException, and deletes its files, if another process has committed."""
        requirements = (*self._requirements, AssertTableUUID(uuid=self.table_metadata.table_uuid))
        try:
            self._table._do_commit(self._updates, requirements)
        except CommitFailedException:
            self._table.refresh()
            metadata = self._table.metadata
            if any(metadata.snapshot_by_id(one.snapshot_id) is None for one in self._snapshot_producers):
                for one in self._snapshot_producers:
                    one._clean_all_uncommitted()
                raise
        self._updates, self._requirements, self._snapshot_producers = (), (), []
        return self._table


class _Replacing(_OverwriteFiles):
    """Adds and removes data files in one snapshot, without keeping manifests that have only removed ones."""

    def _existing_manifests(self) -> list[ManifestFile]:
        manifests = super()._existing_manifests()
        return [one for one in manifests if one.has_added_files() or one.has_existing_files()]


def token_of(metadata: TableMetadata) -> str | None:
    """The token that was committed last; None if there is none."""
    tokens = {one.snapshot_id: _token_in(one) for one in metadata.snapshots}
    snapshot = metadata.current_snapshot()
    if snapshot is None:
        return None
    while snapshot is not None:
        token = tokens[snapshot.snapshot_id]
        if token is not None:
            return token or None
        parent = snapshot.parent_snapshot_id
        snapshot = None if parent is None else metadata.snapshot_by_id(parent)
    last = metadata.properties.get(TOKEN)
    # If its snapshot is still there, but is no ancestor, the table was rolled back to before all commits of ours.
    return None if last in tokens.values() else last or None


def _token_in(snapshot: Snapshot) -> str | None:
    return None if snapshot.summary is None else snapshot.summary.additional_properties.get(TOKEN)


def commit(
    table: Table,
    token: str,
    changes: Sequence[BranchChange],
    files: DataFiles,
    transaction: OneAttempt | None = None,
) -> None:
    """Commit the changes, that of `main` first, with the token, in one commit; `transaction` has what comes before.

    Raises CommitFailedException if another process has committed since the table was read: then nothing is changed, and
    `files` are deleted. After any other error they may be part of the table.
    """
    try:
        _commit(table, token, changes, transaction or OneAttempt(table))
    except (CommitFailedException, ValidationException):
        files.discard()
        raise


def _commit(table: Table, token: str, changes: Sequence[BranchChange], transaction: OneAttempt) -> None:
    transaction.set_properties({TOKEN: token})
    for change in changes:
        _stage(transaction, table, token, change)
    transaction.commit_transaction()


def _stage(transaction: OneAttempt, table: Table, token: str, change: BranchChange) -> None:
    # Those of other branches do not show what readers see.
    properties = {TOKEN: token} if change.branch == MAIN_BRANCH else {}
    if not change.removed:
        # It merges manifests, too.
        append = transaction.update_snapshot(properties, branch=change.branch).merge_append()
        for file in change.added:
            append.append_data_file(file)
        append.commit()
        return
    replace = _Replacing(
        operation=Operation.OVERWRITE,
        transaction=transaction,
        io=table.io,
        snapshot_properties=properties,
        branch=change.branch,
    )
    for file in change.removed:
        replace.delete_data_file(file)
    for file in change.added:
        replace.append_data_file(file)
    replace.commit()
