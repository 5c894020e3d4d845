"""All views of a linear layer for little more than the price of one, and the joint loss that never holds them all."""
