"""What people read of an artifact: report.json, report.html, the model card."""
