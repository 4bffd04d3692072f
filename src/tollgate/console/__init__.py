"""Console: the pages people look at in a browser, rendered by the server: the catalogue, and the page of each model.

Owns what the pages say and look like, and no data: figures come from the reports and are only written out here. A page
is a value (`model`) that pure rules make of a listing, and a template that puts it into HTML; templates reckon nothing.
"""
