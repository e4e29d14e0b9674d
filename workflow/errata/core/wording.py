"""Numbers as text, for logs and reports."""


def p_value(p: float) -> str:
    """A p value: "p < 0.0001", "p = 0.0003", "p = 0.27"."""
    if p < 0.0001:
        return "p < 0.0001"
    return f"p = {p:.4f}" if p < 0.1 else f"p = {p:.2f}"


def percent(fraction: float) -> str:
    """A share of 1: "12.5 %"."""
    return f"{100 * fraction:.1f} %"


def duration(seconds: float) -> str:
    """A duration: "0.4 s", "58 s", "3 min 05 s", "2 h 07 min"."""
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
