"""FastReID's side of things: our parts inside it, its configs here."""
