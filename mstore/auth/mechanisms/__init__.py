"""The mechanisms of ``authproxy-authmech`` that ask others: a module each, and what they ask with beside it.

None imports its library before it is made, for most sites use none of them.
"""
