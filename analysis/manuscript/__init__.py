"""The paper's generated parts, and findings in words."""
