"""The commands of `maxact`, one module each.

A module has `add(commands)`, which says what its command takes, and `run(options)`, which does it and gives the exit code. What
needs torch or pandas is imported by `run` alone, so that `maxact --help` answers at once.
"""
