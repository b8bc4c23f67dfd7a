"""The report on one run, made from its record."""
