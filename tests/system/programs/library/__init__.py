"""A Django project: sessions, users, and pages that are counted in PostgreSQL."""
