"""A provider that speaks the wire: Anthropic's and OpenAI's protocols on one port; it asks no model."""
