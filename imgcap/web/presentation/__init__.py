"""Turn readings and measurements into HTML, figures and colours."""
