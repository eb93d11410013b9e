"""Two measurements of one checkpoint, or of two of a kind, side by side: `maxact compare`."""
