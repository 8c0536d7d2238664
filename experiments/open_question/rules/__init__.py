"""The rules, fixed before the runs, by which the claims are judged."""
