"""Analyses of a study's results: tables that figures and the report are made from."""
