"""Keeps an Iceberg table fast to read: small files are merged, old snapshots and their files removed.

How this works: both are done by the sink, after a commit of its own, a bounded part at a time. Merging replaces the
small files of a partition by fewer larger ones, in a commit with the token that is there. Snapshots are expired in
PyIceberg, which only removes them from the metadata. Their files are deleted here if nothing that is left refers to
them: only files that an expired snapshot named are looked at, so that files of others in the same directory are safe.
A process that is killed between the two leaves files behind that cost nothing but room.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io import FileIO
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot

from headwater.connectors.sinks.iceberg.commits import commit, token_of
from headwater.connectors.sinks.iceberg.files import DataFiles, by_partition, delete_files, planned, read_file
from headwater.connectors.sinks.iceberg.merging import DELETED_BRANCH, BranchChange
from headwater.connectors.sinks.iceberg.options import IcebergOptions

# So many snapshots are expired at once, so that this takes a bounded time.
SNAPSHOTS_MAX = 200
_log = logging.getLogger("headwater.connectors.iceberg")


def maintain(table: Table, options: IcebergOptions) -> None:
    """Do what is due. Whatever fails is reported and tried again the next time: the rows are committed already."""
    try:
        if options.small_files_max:
            _merge_small_files(table, options)
        if options.snapshots_seconds is not None:
            _expire(table, options.snapshots_seconds)
    except CommitFailedException:
        _log.info("The table %s is not maintained now: another process has committed.", ".".join(table.name()))
    except Exception as error:  # of any catalog or file system
        _log.warning("The table %s cannot be maintained now: %s", ".".join(table.name()), error)


def _merge_small_files(table: Table, options: IcebergOptions) -> None:
    token = token_of(table.metadata)
    files = DataFiles(table.io, table.metadata, options.file_bytes_max)
    changes = []
    with files:
        left = options.maintenance_bytes_max
        for branch in (MAIN_BRANCH, DELETED_BRANCH):
            before, removed = len(files.written), []
            for group in _groups(planned(table, branch), options, left):
                for task in group:
                    files.add(read_file(table, task, table.schema()))
                    removed.append(task.file)
                    left -= task.file.file_size_in_bytes
                files.finish()
            if removed or branch == MAIN_BRANCH:
                changes.append(BranchChange(branch, removed, files.written[before:]))
    if any(change.removed for change in changes):
        commit(table, token or "", changes, files)


def _groups(tasks: Iterable[FileScanTask], options: IcebergOptions, bytes_max: int) -> Sequence[list[FileScanTask]]:
    """Small files to be merged with each other: of one partition, until they are together no longer small."""
    small = [task for task in tasks if task.file.file_size_in_bytes < options.small_file_bytes_max]
    groups: list[list[FileScanTask]] = []
    for same in by_partition(small).values():
        if len(same) < max(2, options.small_files_max):
            continue
        group: list[FileScanTask] = []
        size = 0
        for task in same:
            bytes_max -= task.file.file_size_in_bytes
            if bytes_max < 0:
                break
            group.append(task)
            size += task.file.file_size_in_bytes
            if size >= options.small_file_bytes_max:
                groups.append(group)
                group, size = [], 0
        groups.append(group)
    # One file alone would only be copied.
    return [group for group in groups if len(group) > 1]


def _expire(table: Table, seconds: float) -> None:
    """Remove snapshots that were replaced so long ago, and delete the files that only they refer to."""
    before = table.metadata
    expired = _expirable(before, round((time.time() - seconds) * 1000))
    if not expired:
        return
    table.maintenance.expire_snapshots().by_ids([one.snapshot_id for one in expired]).commit()
    removed = [one for one in expired if table.metadata.snapshot_by_id(one.snapshot_id) is None]
    _delete_unreferenced(table.io, removed, table.metadata)


def _expirable(metadata: TableMetadata, replaced_before_ms: int) -> list[Snapshot]:
    """The snapshots that are no branch's or tag's, and were replaced by another one before that time, oldest first."""
    heads = {ref.snapshot_id for ref in metadata.refs.values()}
    replaced_ms: dict[int, int] = {}
    for one in metadata.snapshots:
        if one.parent_snapshot_id is not None:
            replaced_ms[one.parent_snapshot_id] = max(one.timestamp_ms, replaced_ms.get(one.parent_snapshot_id, 0))
    expired = [
        one
        for one in metadata.snapshots
        if one.snapshot_id not in heads and replaced_ms.get(one.snapshot_id, one.timestamp_ms) <= replaced_before_ms
    ]
    return sorted(expired, key=lambda one: one.sequence_number or 0)[:SNAPSHOTS_MAX]


def _delete_unreferenced(io: FileIO, expired: Sequence[Snapshot], metadata: TableMetadata) -> None:
    """Delete the files of expired snapshots to which no other snapshot refers.

    A snapshot that is left has some manifests of its oldest ancestor that is left, and those that were written since.
    So it is enough to look at these oldest ones, and at those from which expired ones descend; the last ones of all
    branches and tags are looked at as well.
    """
    present = {one.snapshot_id for one in metadata.snapshots}
    looked_at = {ref.snapshot_id for ref in metadata.refs.values()} | {one.parent_snapshot_id for one in expired}
    kept = [one for one in metadata.snapshots if one.parent_snapshot_id not in present or one.snapshot_id in looked_at]
    kept_manifests = {manifest.manifest_path: manifest for one in kept for manifest in one.manifests(io)}
    manifests = {manifest.manifest_path: manifest for one in expired for manifest in one.manifests(io)}
    unreferenced = [manifest for path, manifest in manifests.items() if path not in kept_manifests]
    candidates = _data_files(io, unreferenced)
    if candidates:
        candidates -= _data_files(io, kept_manifests.values())
    delete_files(io, sorted(candidates))
    # After what they name, so that an end in between leaves the names.
    delete_files(io, [one.manifest_path for one in unreferenced])
    delete_files(io, [one.manifest_list for one in expired])


def _data_files(io: FileIO, manifests: Iterable[ManifestFile]) -> set[str]:
    """The files that are part of a table by these manifests."""
    return {
        entry.data_file.file_path
        for manifest in manifests
        for entry in manifest.fetch_manifest_entry(io, discard_deleted=True)
    }
