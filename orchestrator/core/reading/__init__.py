"""What can be read off a text without asking a model: signals, words, and what was learned of them."""
