"""Whether a question already has its answer in another: an embedder of our own, and the judge of what it finds near."""
