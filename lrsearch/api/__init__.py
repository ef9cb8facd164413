"""One call from Python: a search in a script or a notebook, and what came of it."""

from lrsearch.api.one_call import optimize
from lrsearch.api.search import Search
