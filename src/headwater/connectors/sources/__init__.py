"""Sources, one module or package each."""
