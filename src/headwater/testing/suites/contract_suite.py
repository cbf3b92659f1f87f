"""What suites of contracts have in common: the contracts they are of, and the classes a subclass runs them on."""

from __future__ import annotations

from typing import Any, ClassVar


class ContractSuite:
    """The tests that every implementation of one or several contracts passes; subclass it once per implementation.

    A suite names its `contracts`; who runs it names the `implementations` it is run on, whose fixtures are of these
    classes. Both are for a test that asks whether every implementation passes its suite; without names, a suite does
    not ask.
    """

    contracts: ClassVar[tuple[type[Any], ...]] = ()
    implementations: ClassVar[tuple[type[Any], ...]] = ()

    def check_implementation(self, made: object) -> None:
        """Fail where the suite is run on something else than it names."""
        assert not self.implementations or type(made) in self.implementations, (
            f"{type(self).__name__} names {[one.__name__ for one in self.implementations]}, and is run on a"
            f" {type(made).__name__}"
        )
