"""Every rule of a schema repository: its id, how grave it is, and what it asks."""

from __future__ import annotations

from headwater.finding import Rule, Severity

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

# Those of jsonschema-tools; ids that begin with `schema-` and are in its documentation are names of its skip lists.
_ORIGINAL = (
    Rule("title-in-one-directory", _E, "One title is declared in one directory.", True),
    Rule("title-matches-directory", _E, "The title is the path of the directory below the base.", True),
    Rule("current-present", _E, "Every schema has a current file.", True),
    Rule("current-without-link", _E, "There is no link from the current file's name without its extension.", True),
    Rule("version-present", _E, "Every schema has at least one version.", True),
    Rule("current-is-greatest", _E, "The current file names the greatest version.", True),
    Rule("current-is-materialized", _E, "The version file says what the current file comes to.", True),
    Rule("latest-links", _E, "The `latest` links lead to the greatest version, where the settings ask for them.", True),
    Rule("content-types-present", _E, "Every version has a file of each content type.", True),
    Rule("extensionless-link", _E, "`1.0.0` links to its file, where the settings ask for it.", True),
    Rule("version-title", _E, "The title of a version is that of its directory.", True),
    Rule("version-id", _E, "The `$id` of a version is a part of its path.", True),
    Rule("content-types-equal", _E, "The files of one version say the same.", True),
    Rule("schema-is-valid", _E, "A version is a valid schema of its dialect.", True),
    Rule("schema-is-secure", _E, "Nothing in a schema makes events slow to check.", True),
    Rule("schema-snake-case-properties", _E, "Names of fields are in snake_case.", True),
    Rule(
        "schema-deterministic-types", _E, "Every field has one type, and arrays and objects say what is in them.", True
    ),
    Rule("schema-required-properties-exist", _E, "What is required is declared.", True),
    Rule("schema-examples-$schema-matches-schema-$id", _E, "The `$schema` of an example is the schema's `$id`.", True),
    Rule("schema-examples-are-valid", _E, "Examples are valid events.", True),
    Rule("schema-enforced-numeric-bounds", _E, "Numbers are bounded to what JavaScript holds exactly.", True),
    Rule("schema-version-compatibility", _E, "A version keeps the compatibility rule of the repository.", True),
)
_OURS = (
    Rule("schema-readable", _E, "Every file can be read within the limits on size, depth and aliases."),
    Rule("schema-materializes", _E, "The version can be made from the current file."),
    Rule(
        "schema-compiles", _E, "The platform can check events with it: patterns run in linear time, references lead on."
    ),
    Rule("file-name", _W, "Files in a schema's directory are a current file, versions or pages."),
    Rule("version-id-exact", _W, "The `$id` of a version is its whole path below the base."),
    Rule("version-text", _N, "A version file is written as materializing writes it."),
    Rule("version-immutable", _E, "A released version stays as it was."),
    Rule("version-was-changed", _W, "A released version was changed in an earlier commit."),
    Rule("keyword-misspelt", _E, "A keyword is not one letter away from what was meant."),
    Rule("keyword-unknown", _W, "Keywords are those of JSON Schema, or begin with `x-`."),
    Rule("keyword-without-effect", _W, "A keyword fits the type beside it."),
    Rule("bounds-contradict", _E, "A lower bound is not above the upper one."),
    Rule("value-of-other-type", _W, "Values of `enum`, `const` and `default` are of the type beside them."),
    Rule("enum-values-distinct", _W, "An `enum` names at least one value, and each once."),
    Rule("nested-required-properties-exist", _W, "What is required inside arrays and maps is declared."),
    Rule("nested-snake-case-properties", _W, "Names inside arrays and maps are in snake_case."),
    Rule("names-collide", _E, "No two names beside each other become one column."),
    Rule("name-reserved-in-sql", _N, "A name is no reserved word of SQL."),
    Rule("date-time-name", _N, "Times are named `dt` or `…_dt`."),
    Rule("type-null", _W, "No field is always null."),
    Rule("free-form-object", _W, "Objects do not allow anything: they are declared, or maps of one type."),
    Rule("dialect-declared", _W, "A schema names its dialect, and it is one that is understood."),
    Rule("dialect-name", _W, "The dialect has the name its specification gives it, by which every reader knows it."),
    Rule("event-schema-present", _W, "Events declare and require `$schema`."),
    Rule("meta-present", _W, "Events declare and require `meta` and `meta.stream`."),
    Rule("dt-present", _W, "Events declare `dt`, when they happened."),
    Rule("examples-present", _W, "An event schema has an example of its own."),
    Rule("description-present", _N, "A schema has a description."),
    Rule("fields-described", _N, "Fields have descriptions."),
    Rule("fragment-behind", _N, "Fragments are taken in at their latest version."),
    Rule("entities-stay-nested", _W, "An entity is not flattened into fields of the event (decision #005)."),
    Rule("meta-is-kept", _W, "Fields of `meta` are neither removed nor deprecated (decision #006)."),
    Rule("title-without-version", _W, "A title holds no version (decision #009)."),
    Rule("user-kinds-are-booleans", _W, "Kinds of users are booleans, not a list (decision #010)."),
    Rule("waiver-expired", _E, "A waiver is renewed or removed when its day has come."),
    Rule("waiver-unused", _W, "A waiver covers something."),
)
RULES: dict[str, Rule] = {rule.id: rule for rule in (*_ORIGINAL, *_OURS)}
