"""Small real spaces and zoos for tests of the engine."""
