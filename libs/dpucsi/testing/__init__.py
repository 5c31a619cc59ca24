"""For tests, labs and authors of plugins: conformance suites, fakes of far sides, and a whole lab of processes."""
