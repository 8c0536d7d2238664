"""The rules of the study, fixed before any run: checks, contrasts, verdicts."""
