"""What is done to features: channels discarded, regions discarded, quarter turns."""
