"""The fault matrix: README.md says what it is."""
