"""Report pages: one HTML file each, with its images inside."""
