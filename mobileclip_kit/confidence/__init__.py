"""How sure a hit is: a query compared with background texts on the same index, turned into a probability."""
