"""Where to look in each architecture."""
