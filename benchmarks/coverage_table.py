"""t"""
def write_page(outcomes, total, page): pass
