"""What bertx knows of a classifier and its tokenizer, without changing either for good."""
