"""A study in one file, for a machine without weights, text or network: `maxact export` and `maxact import`."""
