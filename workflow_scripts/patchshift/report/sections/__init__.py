"""Sections of the report: what each shows, read back from the tables that analyses wrote."""
