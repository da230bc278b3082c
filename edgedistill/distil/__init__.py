"""Training the student from the store."""
