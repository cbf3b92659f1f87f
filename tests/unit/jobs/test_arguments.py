"""What `@job`, `table` and their neighbours take: anything else is an error with the line and what was meant."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from headwater.cli.main import main
from headwater.errors import JobInvalid
from headwater.jobs import job, table
from headwater.jobs.decorators import JobSettings, TableSettings
from headwater.jobs.loader import load_jobs

HEAD = """from dataclasses import dataclass
from headwater.jobs import Each, Job, PerKey, Retry, Timer, ToStream, job, table, tumbling

WINDOW = tumbling("1h").count("n")


async def awaits(event): ...


@dataclass
class Needy:
    count: int


@dataclass
class Opaque:
    what: object = None


"""
FIRST = HEAD.count("\n") + 1
BODY = "\ndef f(event, context): ...\n"


def refused(tmp_path: Path, text: str) -> JobInvalid:
    (tmp_path / "x.py").write_text(HEAD + text, encoding="utf-8")
    with pytest.raises(JobInvalid) as caught:
        load_jobs(tmp_path, tmp_path)
    assert caught.value.file == "x.py"
    return caught.value


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        ("@job(source='a', sate=int)", "unknown argument `sate`; did you mean `state`?"),
        ("@job(souce='a')", "unknown argument `souce`; did you mean `source`?"),
        ("@job(source='a', Sink='b')", "unknown argument `Sink`; did you mean `sink`?"),
        ("@job(source='a', outoforder=1)", "unknown argument `outoforder`; did you mean `out_of_order`?"),
        ("@job(source='a', zzz=1)", "unknown argument `zzz`."),
        ("@job()", "`source` is missing"),
        ("@job('a')", "all arguments have names"),
        ("@job", "all arguments have names"),
        ("@job(source=None)", "`source` is the name of a stream, or a list of names, not None"),
        ("@job(source=['a', 1])", "`source` is"),
        ("@job(source=[])", "`source` is"),
        ("@job(source={'a'})", "`source` is"),
        ("@job(source='a', sink=('b', '1.0.0'))", "`sink` is text"),
        ("@job(source='a', sink='b:1.0')", "`sink` is `stream` or `stream:1.0.0`, not 'b:1.0'"),
        ("@job(source='a', sink='b:latest')", "`sink` is"),
        ("@job(source='a', sink=':1.0.0')", "`sink` is"),
        ("@job(source='a', key=1, state=int)", "`key` is a dotted path"),
        ("@job(source='a', key='a..b', state=int)", "`key` is a dotted path"),
        ("@job(source='a', key=(), state=int)", "`key` is a dotted path"),
        ("@job(source='a', key=awaits, state=int)", "not `async`"),
        ("@job(source='a', key=lambda: 1, state=int)", "`key` is a function (event)"),
        ("@job(source='a', where='bot')", "`where` is a function (event), not 'bot'"),
        ("@job(source='a', where=awaits)", "not `async`"),
        ("@job(source='a', where=lambda a, b: 1)", "`where` is a function (event)"),
        ("@job(source='a', key='k', window='1h')", "`window` is tumbling(…), sliding(…) or session(…), not '1h'"),
        (
            "@job(source='a', key='k', window=tumbling)",
            "`window` is tumbling(…), sliding(…) or session(…), not tumbling",
        ),
        ("@job(source='a', key='k', window=tumbling('1h'))", "without an aggregate"),
        ("@job(source='a', window=WINDOW)", "no key"),
        ("@job(source='a', key='k', window=WINDOW, state=int)", "not both"),
        ("@job(source='a', key='k', state=0)", "`state` is a function (), not 0"),
        ("@job(source='a', key='k', state=Needy)", "`state` is a function (), and Needy is not"),
        ("@job(source='a', state=int)", "no key"),
        ("@job(source='a', name=3)", "`name` is text, not 3"),
        ("@job(source='a', name='a b')", "cannot name a job"),
        ("@job(source='a', late=True)", "`late` is text"),
        ("@job(source='a', late='a')", "reads the stream it writes"),
        ("@job(source='a', out_of_order='5 minutes')", "`out_of_order`: '5 minutes' is not a duration"),
        ("@job(source='a', idle=None)", "`idle`: None is not a duration"),
        ("@job(source='a', idle=-1)", "is not a duration"),
        ("@job(source='a', idle=float('nan'))", "is not a duration"),
        ("@job(source='a', idle=1e30)", "is not a duration"),
        ("@job(source='a', canaries='no')", "`canaries` is True or False, not 'no'"),
        ("@job(source='a', outputs=3)", "`outputs` is a list of streams"),
        ("@job(source='a', outputs=('b', 3))", "`outputs` is a list of streams"),
        ("@job(source='a', outputs=('b:1',))", "`outputs` is `stream` or `stream:1.0.0`, not 'b:1'"),
        ("@job(source='a', outputs=('b', 'b:1.0.0'))", "two outputs for the stream b"),
        ("@job(source='a', sink='b', outputs='b')", "has b as its output twice"),
        ("@job(source='a', outputs='a')", "reads the stream it writes"),
        ("@job(source='a', output='b')", "unknown argument `output`; did you mean `outputs`?"),
        ("@job(source='a', settings=3)", "`settings` is a mapping of names to defaults"),
        ("@job(source='a', settings={1: 2})", "`settings` is a mapping of names to defaults"),
        ("@job(source='a', settings={'a.b': 2})", "the name of a setting has no dots"),
        ("@job(source='a', settings={'a': {1}})", "the default of a, {1}, is not a JSON value"),
        ("@job(source='a', settings={'a': float('nan')})", "the default of a, nan, is not a JSON value"),
        ("@job(source='a', concurrency=8)", "`concurrency` is for a function that is awaited"),
        ("@job(source='a', timeout='5s')", "`timeout` is for a function that is awaited"),
        ("@job(source='a', retry='60s')", "`retry` is a Retry, such as Retry(within=\"60s\"), not '60s'"),
        ("@job(source='a', retry=Retry)", "`retry` is a Retry"),
        ("@job(source='a', retry=Retry(park='1m', hold_key=True))", "`retry` has hold_key=True, but"),
        ("@job(source='a', retry=Retry(), concurrency=0)", "`concurrency` is a whole number from 1 to 10,000, not 0"),
        ("@job(source='a', retry=Retry(), concurrency=True)", "`concurrency` is a whole number"),
        ("@job(source='a', retry=Retry(), timeout=3)", "this function is not `async`"),
        ("@job(source='a', key='k', retry=Retry(), state=int)", "`state` keeps state, and a function that is retried"),
        ("@job(source='a', key='k', retry=Retry(), window=WINDOW)", "`window` keeps state, and a function"),
        ("@job(source='a', key={}, state=int)", "`key` is a path"),
        ("@job(source='a', key={'b': 'x'}, state=int)", "`key` is given for 'b', which the job does not read"),
        ("@job(source=['aa', 'bb'], key={'aa': 'x', 'bbb': 'y'}, state=int)", "`key` is given for 'bbb'"),
        ("@job(source=['a', 'b'], key={'a': 'x'}, state=int)", "`key` is missing for the source b"),
        ("@job(source='a', key={'a': 3}, state=int)", "`key` is a dotted path, a list of paths"),
        ("@job(source='a', key={'a': None}, state=int)", "`key` is None for the stream a"),
        ("@job(source='a', key={'a': awaits}, state=int)", "not `async`"),
        ("@job(source='a', dedupe='meta.id')", '`dedupe` is Dedupe("meta.id", "1d"), not'),
        ("@job(source='a', key='k', reorder='rev')", '`reorder` is Reorder("field", "1m"), or'),
        ("@job(source='a', key='k', reorder=('a..b', '1m'))", "`reorder`: Reorder: `field` is a dotted path"),
        ("@job(source='a', key='k', window=Retry())", "`window` is tumbling(…), sliding(…) or session(…), not Retry"),
        ("@job(source='a', key='k', rate=2)", '`rate` is Rate(2, "1m"), not 2'),
        ("@job(source='a', key='k', join='b')", '`join` is Join("stream", within="10m"), not'),
        ("@job(source='a', key='k', state=set)", "the state that set begins with"),
        ("@job(source='a', key='k', state=Opaque)", "Opaque.what cannot be state: JSON has no form for object"),
        ("@job(source='a', key='k', state=lambda: {1: 2})", "is not made of what JSON has"),
        ("@job(source='a', state_version=2)", "`state_version` is about the state, and there is none"),
        ("@job(source='a', migrate=lambda a, b: a)", "`migrate` is about the state, and there is none"),
        ("@job(source='a', state_ttl='1d')", "`state_ttl` is about the state, and there is none"),
        ("@job(source='a', key='k', state=int, state_version=0)", "`state_version` is a whole number from 1"),
        ("@job(source='a', key='k', state=int, state_version=2)", "`migrate` belong together"),
        ("@job(source='a', key='k', state=int, migrate=lambda a, b: a)", "`migrate` belong together"),
        ("@job(source='a', key='k', state=int, state_version=2, migrate=lambda a: a)", "`migrate` is a function (old_"),
        ("@job(source='a', key='k', state=int, state_ttl='soon')", "`state_ttl`: 'soon' is not a duration"),
        ("@job(source='a', key='k', state=int, state_ttl=0)", "`state_ttl` is longer than 0"),
    ],
)
def test_an_argument_of_a_job_that_cannot_be_is_named(tmp_path: Path, call: str, complaint: str) -> None:
    error = refused(tmp_path, call + BODY)
    assert complaint in error.detail
    assert error.line == FIRST


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        ("table('t', source='a', column={'x': 'text'})", "unknown argument `column`; did you mean `columns`?"),
        ("table('t', sources='a', columns={'x': 'text'})", "unknown argument `sources`; did you mean `source`?"),
        ("table('t', source='a')", "`columns` is missing"),
        ("table('t', columns={'x': 'text'})", "`source` is missing"),
        ("table(1, source='a', columns={'x': 'text'})", "name is text, not 1"),
        ("table('t', source='a', columns=['x'])", "`columns` is a mapping"),
        ("table('t', source='a', columns={'x': 1})", "`columns` is a mapping"),
        ("table('t', source='a', columns={'x': ('text',)})", "`columns` is a mapping"),
        ("table('t', source='a', columns={1: 'text'})", "`columns` is a mapping"),
        ("table('t', source='a', columns={'x': 'txt'})", "unknown type 'txt'"),
        ("table('t', source='a', columns={})", "needs columns"),
        ("table('t', source='a', columns={'x': 'text'}, key='y')", "The key of table t has 'y'"),
        ("table('t', source='a', columns={'x': 'text'}, key=lambda e: 1)", "`key` is the name of a column"),
        ("table('t', source='a', columns={'x': 'text'}, where=1)", "`where` is a function (event)"),
        ("table('t', source='a', columns={'x': 'text'}, order=1)", "`order` is text"),
        ("table('t', source='a', columns={'x': 'text'}, order='y desc')", "is not an order"),
        ("tumbling('1h', latenes='1m')", "unknown argument `latenes`; did you mean `lateness`?"),
        ("tumbling('1h').count(nam='x')", "unknown argument `nam`; did you mean `name`?"),
        ("tumbling('1h').count('x', where='bot')", "`where`"),
        ("tumbling('1h').sum('x', pth='bytes')", "unknown argument `pth`; did you mean `path`?"),
        ("tumbling(None)", "not a duration"),
        ("Job('j', ('a',), out_of_order=3)", "unknown argument `out_of_order`; did you mean `out_of_order_ms`?"),
        ("Job('j', 'abc')", "`sources` is a tuple of streams"),
        ("Job('j', ('a',), (print,))", "is an Each, an Await or a PerKey"),
        ("Job('j', ('a',), output='b')", "`output` is a ToStream or a ToTable"),
        ("Timer(1, fires_when_idel=True)", "unknown argument `fires_when_idel`; did you mean `fires_when_idle`?"),
        ("ToStream('a', versoin='1.0.0')", "unknown argument `versoin`; did you mean `version`?"),
    ],
)
def test_what_tables_windows_and_steps_do_not_take_is_named(tmp_path: Path, call: str, complaint: str) -> None:
    error = refused(tmp_path, f"made = {call}\n")
    assert complaint in f"{error.detail} {error.hint}"
    assert error.line == FIRST


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("key='k', state=int", "`state` keeps state, and an async function comes before everything that does"),
        ("key='k', window=WINDOW", "`window` keeps state, and an async function"),
        ("timeout=0", "`timeout` is longer than 0"),
        ("timeout='soon'", "`timeout`: 'soon' is not a duration"),
        ("concurrency='8'", "`concurrency` is a whole number from 1 to 10,000, not '8'"),
        ("retry=3", "`retry` is a Retry"),
    ],
)
def test_what_does_not_suit_an_async_function_is_named(tmp_path: Path, arguments: str, complaint: str) -> None:
    error = refused(tmp_path, f"@job(source='a', {arguments})\nasync def f(event, context): ...\n")
    assert complaint in error.detail
    assert error.line == FIRST


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("@f.then(sate=int)\ndef g(event, context): ...", "@f.then: unknown argument `sate`; did you mean `state`?"),
        ("@f.then(state=int)\ndef g(event, context): ...", "`state` keeps something per key, but the job has no key"),
        ("@f.then(source='b')\ndef g(event, context): ...", "unknown argument `source`"),
        ("@f.then(int)\ndef g(event, context): ...", "all arguments have names"),
        ("@f.then(key='k', state=int)\ndef g(event): ...", "`function` is a function (event, context)"),
        ("@f.then(key='k', state=int)\nasync def g(event, context): ...", "`state` keeps state, and an async function"),
        ("@f.on_timer('t')\ndef g(context): ...", "this part keeps no state"),
        ("@s.on_timer(3)\ndef g(context): ...", "the name of a timer is text, not 3"),
        ("@s.on_timer('t')\ndef g(): ...", "`function` is a function (context)"),
        ("@s.on_timer('t')\nasync def g(context): ...", "not `async`"),
        ("@s.on_timer('u')\ndef g(context): ...", "the timer has a function already"),
        ("@s.then()\nasync def g(event, context): ...", "awaits, in its step then, after it keeps state"),
    ],
)
def test_what_a_later_part_and_a_timer_do_not_take_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    before = """@job(source='a')
async def f(event, context): ...

@job(source='a', key='k', state=int)
def s(event, context): ...

@s.on_timer('u')
def u(context): ...

"""
    error = refused(tmp_path, f"{before}{text}\n")
    assert complaint in error.detail
    assert error.line is not None
    assert error.line >= FIRST


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        ("async def f(event): ...", "`function` is a function (event, context)"),
        ("async def f(event): yield 1", "`function` is a function (event, context)"),
        ("def f(event): ...", "`function` is a function (event, context)"),
        ("@job(source='b')\ndef f(event, context): ...", "`function` is a function (event, context)"),
        ("class f:\n    async def __call__(self, event, context): ...\nf = job(source='a')(f())", "`function` is a"),
    ],
)
def test_a_function_that_cannot_be_a_job_is_refused(tmp_path: Path, function: str, complaint: str) -> None:
    assert complaint in refused(tmp_path, f"@job(source='a')\n{function}\n").detail


def test_an_argument_is_named_at_its_own_line(tmp_path: Path) -> None:
    error = refused(tmp_path, "@job(\n    source='a',\n    sate=int,\n)" + BODY)
    assert error.line == FIRST + 2


def test_check_says_file_line_and_what_was_meant(tmp_path: Path) -> None:
    project = tmp_path / "mine"
    assert CliRunner().invoke(main, ["init", str(project)]).exit_code == 0
    (project / "jobs" / "more.py").write_text(
        "from headwater.jobs import job\n\n\n@job(source='demo.edit', sate=int)" + BODY, encoding="utf-8"
    )
    result = CliRunner().invoke(main, ["check", "--project", str(project)])
    assert result.exit_code == 1
    assert "jobs/more.py:4: @job: unknown argument `sate`; did you mean `state`?" in result.output


@given(
    st.text(st.characters(codec="ascii", categories=["Ll", "Lu"]), min_size=1), st.none() | st.integers() | st.text()
)
def test_no_argument_is_dropped(name: str, value: object) -> None:
    for make, known in ((job, JobSettings), (lambda **given: table("t", **given), TableSettings)):
        if name not in known.__annotations__:
            with pytest.raises(JobInvalid, match=f"unknown argument `{name}`"):
                make(**{name: value})


def test_type_checkers_learn_that_the_package_has_types() -> None:
    assert (importlib.resources.files("headwater") / "py.typed").is_file()
