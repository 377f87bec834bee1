"""Ours beside others': published numbers, tables of the large grids, another study; whether measures order alike.

Imports any other statistic.
"""
