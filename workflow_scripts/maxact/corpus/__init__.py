"""Which text is measured."""
