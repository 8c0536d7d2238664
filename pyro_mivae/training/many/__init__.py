"""The training of several seeds of a pair as one: parameters stacked, draws of each copy's own."""
