"""Tiny models of each true architecture: random weights, real config, tokenizer, file layout and format.

A module here is a family. It has `MODELS`: card id → a function that writes that model's files into an empty folder,
as its hub repository lays them out, with the card's own dimensions, so that the code that loads the real one loads it.
"""
