"""Compiles regular expressions that people have written into files, with Python's meaning and without its warnings."""

from __future__ import annotations

import functools
import re
import warnings


@functools.lru_cache(maxsize=4096)
def compiled(pattern: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    """The expression, compiled. Raises `re.error`, also for one that is too deep or counts too far for Python."""
    try:
        with warnings.catch_warnings():
            # `[` or `--` in a set is a character now; Python announces that it may mean something else one day.
            warnings.simplefilter("ignore", FutureWarning)
            return re.compile(pattern, flags)
    except (OverflowError, RecursionError) as error:
        raise re.error(f"it is too large ({type(error).__name__})") from None
