"""The joint classifier: the layer, and the way of its views through a stock network."""
