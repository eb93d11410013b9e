"""The authors' published result files: read and checked, and turned into tables of our own schema."""
