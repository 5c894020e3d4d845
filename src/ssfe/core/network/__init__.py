"""A stock network looked at: where its classifier is, what its modules return, where it may be tapped."""
