"""Keeps models within memory and runs batches on them; knows no modality and no queue."""
