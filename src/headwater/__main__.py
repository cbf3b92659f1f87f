"""`python -m headwater`: the `headwater` command, where the directory of commands is not in the PATH."""

from headwater.cli import main

if __name__ == "__main__":
    main()
