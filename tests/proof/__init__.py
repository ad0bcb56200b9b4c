"""What proves the tests: seeded faults of the operator, each of which a test must notice."""
