"""The dashboards: what a model could do when it was evaluated, what it does here, and how the laboratory runs.

Each is a list of figures (diagnosis.dashboards.figures): numbers in a table, drawn by Plotly where that helps, with
one sentence on how to read them, and the same numbers as CSV. Live figures are counted by the database over signed
cases alone, so that nothing here tells a reader what the model says of a case they have not signed.
"""
