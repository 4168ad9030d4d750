"""Values of `data` in a recipe: columns of a table, names of labels and groups, and how images are decoded and made square."""
