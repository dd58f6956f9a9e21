"""Whether the whole is well: checks that every door may run. Each is bounded in time and independent of the others."""
