"""Promises on quality: certified on labels, watched on live ones."""
