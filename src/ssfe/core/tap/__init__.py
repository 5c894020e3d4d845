"""Features disturbed deeper in a network than at its classifier's input."""
