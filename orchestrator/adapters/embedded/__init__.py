"""Servers for one machine: data folder, Postgres, Redis and their supervisor; holds no business rule."""
