"""How our answers deliberately differ from recorded ones: rules for the tests of records and for the pages."""
