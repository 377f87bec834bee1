"""Ours beside others': published numbers, tables of the large grids, another study; whether measures order alike.

May import any other statistic.
"""
