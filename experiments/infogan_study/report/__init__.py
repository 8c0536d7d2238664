"""The report of the study, from its table."""
