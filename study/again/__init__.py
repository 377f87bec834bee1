"""Measures of finished networks taken a second time: by twice the steps, and on other images with other noise."""
