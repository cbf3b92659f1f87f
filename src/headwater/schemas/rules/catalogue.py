"""Every rule of a schema repository: its id, its severity, and what it requires."""

from __future__ import annotations

from headwater.finding import Rule, Severity

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

# The rules of jsonschema-tools; ids that begin with `schema-` and are in its documentation are names for its skip
# lists.
_ORIGINAL = (
    Rule("title-in-one-directory", _E, "A title is declared in one directory only.", True),
    Rule("title-matches-directory", _E, "The title is the path of the directory below the base.", True),
    Rule("current-present", _E, "Every schema has a current file.", True),
    Rule("current-without-link", _E, "There is no link from the current file's name without its extension.", True),
    Rule("version-present", _E, "Every schema has at least one version.", True),
    Rule("current-is-greatest", _E, "The current file names the greatest version.", True),
    Rule("current-is-materialized", _E, "The version file equals the materialized current file.", True),
    Rule("latest-links", _E, "The `latest` links lead to the greatest version, if the settings enable them.", True),
    Rule("content-types-present", _E, "Every version has a file of each content type.", True),
    Rule("extensionless-link", _E, "`1.0.0` links to its file, if the settings enable that.", True),
    Rule("version-title", _E, "The title of a version is that of its directory.", True),
    Rule("version-id", _E, "The `$id` of a version is a part of its path.", True),
    Rule("content-types-equal", _E, "The files of one version have the same content.", True),
    Rule("schema-is-valid", _E, "A version is a valid schema of its dialect.", True),
    Rule("schema-is-secure", _E, "No part of a schema makes events slow to validate.", True),
    Rule("schema-snake-case-properties", _E, "Field names are in snake_case.", True),
    Rule(
        "schema-deterministic-types",
        _E,
        "Every field has one type, and arrays and objects declare their content.",
        True,
    ),
    Rule("schema-required-properties-exist", _E, "Required fields are declared.", True),
    Rule("schema-examples-$schema-matches-schema-$id", _E, "The `$schema` of an example is the schema's `$id`.", True),
    Rule("schema-examples-are-valid", _E, "Examples are valid events.", True),
    Rule("schema-enforced-numeric-bounds", _E, "Numbers are bounded to the safe integers of JavaScript.", True),
    Rule("schema-version-compatibility", _E, "A version complies with the compatibility mode of the repository.", True),
)
_OURS = (
    Rule("schema-readable", _E, "Every file can be read within the limits on size, depth and aliases."),
    Rule("schema-materializes", _E, "The version can be made from the current file."),
    Rule(
        "schema-compiles",
        _E,
        "The platform can validate events with it: patterns run in linear time, references resolve.",
    ),
    Rule("file-name", _W, "The files in a schema's directory are a current file, versions or pages."),
    Rule("version-id-exact", _W, "The `$id` of a version is its whole path below the base."),
    Rule("version-text", _N, "A version file is formatted as by materializing."),
    Rule("version-immutable", _E, "A released version does not change."),
    Rule("version-was-changed", _W, "A released version was changed in an earlier commit."),
    Rule("keyword-misspelt", _E, "A keyword is not a misspelling of another one."),
    Rule("keyword-unknown", _W, "Keywords are those of JSON Schema, or begin with `x-`."),
    Rule("keyword-without-effect", _W, "A keyword applies to the type of its schema."),
    Rule("bounds-contradict", _E, "A lower bound is not above the upper one."),
    Rule("value-of-other-type", _W, "Values of `enum`, `const` and `default` are of the type of their schema."),
    Rule("enum-values-distinct", _W, "An `enum` has at least one value, and no value twice."),
    Rule("nested-required-properties-exist", _W, "Required fields inside arrays and maps are declared."),
    Rule("nested-snake-case-properties", _W, "Names inside arrays and maps are in snake_case."),
    Rule("names-collide", _E, "No two fields of an object become the same column."),
    Rule("name-reserved-in-sql", _N, "A name is not a reserved word of SQL."),
    Rule("date-time-name", _N, "Times are named `dt` or `…_dt`."),
    Rule("type-null", _W, "No field is always null."),
    Rule("free-form-object", _W, "Objects are not free-form: they declare their properties, or are maps of one type."),
    Rule("dialect-declared", _W, "A schema names its dialect, which is a supported one."),
    Rule("dialect-name", _W, "The dialect is named as in its specification, so that every reader knows it."),
    Rule("event-schema-present", _W, "Events declare and require `$schema`."),
    Rule("meta-present", _W, "Events declare and require `meta` and `meta.stream`."),
    Rule("dt-present", _W, "Events declare `dt`, the event time."),
    Rule("examples-present", _W, "An event schema has an example of its own."),
    Rule("description-present", _N, "A schema has a description."),
    Rule("fields-described", _N, "Fields have descriptions."),
    Rule("fragment-behind", _N, "Fragments are included at their latest version."),
    Rule("entities-stay-nested", _W, "An entity is not flattened into fields of the event (decision #005)."),
    Rule("meta-is-kept", _W, "Fields of `meta` are neither removed nor deprecated (decision #006)."),
    Rule("title-without-version", _W, "A title contains no version (decision #009)."),
    Rule("user-kinds-are-booleans", _W, "Kinds of users are booleans, not a list (decision #010)."),
    Rule("waiver-expired", _E, "A waiver is renewed or removed before it expires."),
    Rule("waiver-unused", _W, "A waiver covers at least one finding."),
)
RULES: dict[str, Rule] = {rule.id: rule for rule in (*_ORIGINAL, *_OURS)}
