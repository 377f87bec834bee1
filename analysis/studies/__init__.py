"""What each study shows (<study>.yaml; README.md says how to write one), and what of its plan its records hold."""
