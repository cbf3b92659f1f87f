"""What a runner reads at once: a batch worth a commit, or fewer records while one that fails is searched for."""
