"""From measurements to tables: pure functions from data frames to data frames."""
