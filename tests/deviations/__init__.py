"""How our answers differ from recorded ones on purpose: rules by which tests judge any record and pages are made."""
