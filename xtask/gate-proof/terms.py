"""Connectives that work on Python values and on z3 terms alike, so that one definition of the
model serves for replaying logs (values), for proving (terms) and for searching (terms,
printed as C++)."""

import z3


def And(*parts):
    if any(x is False for x in parts):
        return False
    parts = [x for x in parts if x is not True]
    return True if not parts else parts[0] if len(parts) == 1 else z3.And(*parts)


def Or(*parts):
    if any(x is True for x in parts):
        return True
    parts = [x for x in parts if x is not False]
    return False if not parts else parts[0] if len(parts) == 1 else z3.Or(*parts)


def Not(a):
    return z3.Not(a) if z3.is_expr(a) else not a


def Implies(a, b):
    return Or(Not(a), b)


def Iff(a, b):
    return a == b


def If(condition, a, b):
    if not z3.is_expr(condition):
        return a if condition else b
    if isinstance(a, bool) and isinstance(b, bool):
        return a if a == b else condition if a else z3.Not(condition)
    lift = lambda x: z3.BoolVal(x) if isinstance(x, bool) else x
    return z3.If(condition, lift(a), lift(b))


def put(function, key, value):
    """The function that is `value` at `key`, and as before elsewhere."""
    return lambda x: If(x == key, value, function(x))


def among(x, *values):
    return Or(*[x == value for value in values])
