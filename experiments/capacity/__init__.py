"""The poster's claim on capacity: in which models the part without the term is ignored."""
