"""Reading Pyro's traces, and running programs again at given values."""
