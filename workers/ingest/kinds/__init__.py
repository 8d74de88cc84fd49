"""One import per kind of dataset: which rows are good, how they are split, what is told of them."""
