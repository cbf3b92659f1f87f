"""The base of contract suites: their contracts, and the classes that a subclass runs them on."""

from __future__ import annotations

from typing import Any, ClassVar


class ContractSuite:
    """The tests that every implementation of one or several contracts passes; subclass it once per implementation.

    A suite names its `contracts`; a subclass names the `implementations`, the classes of the objects that its fixtures
    return. Both are for a test that checks that every implementation passes its suite; without names, a suite does not
    check that.
    """

    contracts: ClassVar[tuple[type[Any], ...]] = ()
    implementations: ClassVar[tuple[type[Any], ...]] = ()

    def check_implementation(self, made: object) -> None:
        """Fail if the suite is run on an object of another class than it names."""
        assert not self.implementations or type(made) in self.implementations, (
            f"{type(self).__name__} names {[one.__name__ for one in self.implementations]}, and is run on a"
            f" {type(made).__name__}"
        )
