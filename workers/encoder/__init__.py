"""Encoder models without torch: their architecture, graph, session, tokens and input checks; it is no modality."""
