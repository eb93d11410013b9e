"""Where the weights of a checkpoint come from: each module has `take(job, source) -> (folder, what the summary says of it)`."""
