"""Tables, figures and text from the rows."""
