"""What jobs are composed of beyond the steps: one operator in a file, each made of the steps alone."""
