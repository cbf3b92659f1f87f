"""Pages about schemas for people: one for each schema and an index, as Markdown or as self-contained HTML."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from headwater.schemas.reports.field_rows import FieldRow, field_rows
from headwater.schemas.workspace.fragment_use import FragmentUse, fragment_uses, users_of
from headwater.schemas.workspace.working_copy import SchemaFolder, WorkingCopy, version_text
from headwater.schemas.workspace.yaml_style import yaml_text

_STYLE = """\
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;
border-bottom:1px solid color-mix(in srgb,currentColor 20%,transparent)}code,pre{font:.9em/1.45 ui-monospace,monospace}
pre{overflow:auto;padding:1rem;border:1px solid color-mix(in srgb,currentColor 20%,transparent);border-radius:.4rem}
td.required{white-space:nowrap}td:first-child{min-width:12rem;max-width:20rem;overflow-wrap:break-word}
td:last-child{min-width:18rem}.quiet{opacity:.7}div.wide{overflow-x:auto}"""


@dataclass(frozen=True)
class SchemaPage:
    """The content of a page about one schema, before formatting. Titles in `uses` and `used_by` may lack a page."""

    title: str
    version: str
    versions: Sequence[str]
    description: str
    fields: Sequence[FieldRow]
    examples: Sequence[str]
    uses: Sequence[FragmentUse]
    used_by: Mapping[str, bool]


def schema_pages(copy: WorkingCopy, titles: Iterable[str] | None = None) -> list[SchemaPage]:
    """A page for each schema that has a released version. Raises SchemaInvalid, SchemaNotFound."""
    folders = [copy.folder(title) for title in (copy.schemas if titles is None else titles)]
    uses = fragment_uses(copy, {folder.title for folder in folders})
    return [_page(copy, folder, uses) for folder in folders if folder.files]


def _page(copy: WorkingCopy, folder: SchemaFolder, uses: Sequence[FragmentUse]) -> SchemaPage:
    assert folder.latest is not None
    document = copy.read(folder.versions[folder.latest])
    description, examples = document.get("description"), document.get("examples")
    return SchemaPage(
        folder.title,
        version_text(folder.latest),
        [version_text(version) for version in reversed(list(folder.files))],
        description.strip() if isinstance(description, str) else "",
        field_rows(document),
        [yaml_text(example, exact=True) for example in examples] if isinstance(examples, list) else [],
        [use for use in uses if use.user == folder.title],
        users_of(folder.title, uses),
    )


def page_name(title: str, extension: str) -> str:
    """The file of a schema's page below the pages' directory: `page/edit.md`."""
    return f"{title}.{extension}"


def markdown_page(page: SchemaPage, known: Iterable[str]) -> str:
    """A page as Markdown; links go to pages of `known` titles."""
    known = set(known)
    up = "../" * page.title.count("/")

    def link(title: str) -> str:
        return f"[{title}]({up}{page_name(title, 'md')})" if title in known else title

    lines = [f"# {page.title}", "", page.description, "", f"Version `{page.version}`; all: {', '.join(page.versions)}."]
    if page.fields:
        lines += ["", "## Fields", "", "| Field | Type | Required | Rules | Description |", "|---|---|---|---|---|"]
    lines += [
        f"| `{row.path}` | {row.type} | {'yes' if row.is_required else ''} | {_cell('; '.join(row.constraints))} |"
        f" {_cell(row.description)} |"
        for row in page.fields
    ]
    if page.uses:
        lines += ["", "## Uses", "", *(f"- {text}" for text in _uses(page, link))]
    if page.used_by:
        lines += ["", "## Used by", ""]
        lines += [
            f"- {link(user)}{'' if direct else ' (through another schema)'}" for user, direct in page.used_by.items()
        ]
    if page.examples:
        lines += ["", "## Examples"]
    for example in page.examples:
        fence = "`" * max(3, _longest_run(example) + 1)
        lines += ["", f"{fence}yaml", example.rstrip("\n"), fence]
    return "\n".join(lines) + "\n"


def markdown_index(pages: Sequence[SchemaPage]) -> str:
    """The index page as Markdown."""
    lines = ["# Schemas", "", "| Schema | Version | Description |", "|---|---|---|"]
    for page in pages:
        name = page_name(page.title, "md")
        lines.append(f"| [{page.title}]({name}) | {page.version} | {_cell(_first_sentence(page.description))} |")
    return "\n".join(lines) + "\n"


def html_page(page: SchemaPage, known: Iterable[str]) -> str:
    """A page as self-contained HTML."""
    known = set(known)
    up = "../" * page.title.count("/")

    def link(title: str) -> str:
        text = html.escape(title)
        return f'<a href="{up}{html.escape(page_name(title, "html"))}">{text}</a>' if title in known else text

    parts = [
        f'<p><a href="{up}index.html">Schemas</a></p><h1>{html.escape(page.title)}</h1>',
        f"<p>{html.escape(page.description)}</p>",
        f"<p>Version <code>{page.version}</code> <span class=quiet>all: {', '.join(page.versions)}</span></p>",
    ]
    if page.fields:
        head = "".join(f"<th scope=col>{name}</th>" for name in ("Field", "Type", "Required", "Rules", "Description"))
        rows = "".join(_html_row(row) for row in page.fields)
        parts.append(
            f"<h2>Fields</h2><div class=wide><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        )
    if page.uses:
        parts.append(f"<h2>Uses</h2><ul>{''.join(f'<li>{text}</li>' for text in _uses(page, link))}</ul>")
    if page.used_by:
        users = "".join(
            f"<li>{link(user)}{'' if direct else ' <span class=quiet>through another schema</span>'}</li>"
            for user, direct in page.used_by.items()
        )
        parts.append(f"<h2>Used by</h2><ul>{users}</ul>")
    if page.examples:
        parts.append("<h2>Examples</h2>" + "".join(f"<pre>{html.escape(example)}</pre>" for example in page.examples))
    return _document(page.title, "\n".join(parts))


def html_index(pages: Sequence[SchemaPage]) -> str:
    """The index page as HTML."""
    rows = "".join(
        f'<tr><td><a href="{html.escape(page_name(page.title, "html"))}">{html.escape(page.title)}</a></td>'
        f"<td>{page.version}</td><td>{html.escape(_first_sentence(page.description))}</td></tr>"
        for page in pages
    )
    head = "<tr><th scope=col>Schema</th><th scope=col>Version</th><th scope=col>Description</th></tr>"
    return _document("Schemas", f"<h1>Schemas</h1><table><thead>{head}</thead><tbody>{rows}</tbody></table>")


def _document(title: str, body: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body>{body}</body></html>\n"
    )


def _html_row(row: FieldRow) -> str:
    return (
        f"<tr><td><code>{html.escape(row.path).replace('.', '.<wbr>')}</code></td><td>{html.escape(row.type)}</td>"
        f"<td class=required>{'required' if row.is_required else ''}</td>"
        f"<td>{html.escape('; '.join(row.constraints))}</td><td>{html.escape(row.description)}</td></tr>"
    )


def _uses(page: SchemaPage, link: Callable[[str], str]) -> list[str]:
    versions = sorted({(use.used, use.version or (0, 0, 0), use.latest, use.is_behind) for use in page.uses}, key=str)
    return [
        f"{link(used)} {version_text(version)}"
        + (f" (latest is {version_text(latest)})" if is_behind and latest else "")
        for used, version, latest, is_behind in versions
    ]


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _first_sentence(text: str) -> str:
    return " ".join(text.split(". ", maxsplit=1)[0].split())[:200]


def _longest_run(text: str) -> int:
    longest = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest
