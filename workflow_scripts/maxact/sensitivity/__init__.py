"""By how much M depends on choices: variants of a measurement, each with one setting changed."""
