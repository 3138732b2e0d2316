"""Writes the HTML standard's named character references as a C++ table.

Usage: html_entities.py OUT. Names stand without '&', most with their ';', in sorted order.
"""

import html.entities
import sys


def literal(text: str) -> str:
    """UTF-8 as octal escapes: unlike hexadecimal ones they end after three digits."""
    return "".join(f"\\{byte:03o}" for byte in text.encode())


with open(sys.argv[1], "w", encoding="ascii") as out:
    for name, text in sorted(html.entities.html5.items()):
        out.write(f'{{"{name}", "{literal(text)}"}},\n')
