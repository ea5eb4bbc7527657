"""Text generation behind one interface: requests in, completions out as they finish."""
