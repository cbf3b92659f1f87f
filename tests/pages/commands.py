"""The `headwater` commands that a text names, and whether the verb and its options exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click

from headwater.cli.main import main

_COMMAND = re.compile(r"(?:^|[\s`(&|;])(?:\.venv/bin/)?headwater (?!import )((?:[^`\n\\]|\\\n)+)", re.MULTILINE)
_ENDS = frozenset({"&&", "||", "|", ">", "<", ";", "#", "…"})


def commands_in(text: str) -> Iterator[list[str]]:
    """The words behind each `headwater` that begins a command, as far as a shell would give them to it."""
    for found in _COMMAND.findall(text):
        lexer = shlex.shlex(found.replace("\\\n", " "), posix=True, punctuation_chars="<>|&;")
        lexer.whitespace_split = True
        words: list[str] = []
        try:
            for word in lexer:
                if word in _ENDS:
                    break
                words.append(word)
        except ValueError:
            # A quotation that goes on in the next line: its end is no option.
            pass
        if words and re.fullmatch(r"[a-z-]+", words[0]):
            yield words


def problem_of(words: list[str]) -> str | None:
    """What is wrong with a command's verb or the options it is given; None where nothing is."""
    command: click.Command = main
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        inner = command.get_command(click.Context(command), name)
        if inner is None:
            return f"there is no {name}"
        command = inner
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    known |= set(command.get_help_option_names(click.Context(command)))
    for word in rest:
        option = word.partition("=")[0]
        if option.startswith("--") and option not in known:
            return f"there is no {option}"
    return None


def help_texts(command: click.Command = main, context: click.Context | None = None) -> Iterator[str]:
    """What `--help` says behind the options, of a command and of all below it."""
    context = click.Context(command, context)
    yield command.epilog or ""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from help_texts(inner, context)
