"""Runs many trainings: in parallel, each resumable, one study a folder."""
