"""The processes that run models on our own machines; nothing here decides what is called or what it costs."""
