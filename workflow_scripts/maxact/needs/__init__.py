"""What jobs need of a machine, before they run: `shapes` says how large a checkpoint is, `jobs` what follows, `plan` tells it."""
